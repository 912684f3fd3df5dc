"""A whole run through the script: what it leaves, what it compiles, what it says."""

import json
import re

import pytest

from tests.scripts import command
from zoo.training import rundir


@pytest.fixture(scope='module')
def workdir():
  return command.finished()


def test_the_run_directory_holds_what_the_contract_says(workdir):
  for name in ('config.json', 'timing.jsonl', 'normalization.json'):
    assert (workdir / name).stat().st_size
  for picture in ('curves.png', 'previews/confusion_matrix_00000080.png'):
    assert (workdir / picture).read_bytes().startswith(b'\x89PNG')
  assert (workdir / 'previews' / 'worst_mistakes_00000080.png').exists()
  assert list((workdir / 'tensorboard').glob('events.out.tfevents.*'))
  steps = sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())
  assert steps[-2:] == [76, 80]
  assert len(steps) in (2, 3)  # two newest, and the best


def test_the_log_has_every_line_it_should(workdir):
  records = rundir.read_metrics(workdir / 'metrics.jsonl')
  training = [r for r in records if 'train/loss' in r]
  validation = [r for r in records if 'validation/loss' in r]
  assert [r['step'] for r in training] == list(range(2, 81, 2))
  assert [r['step'] for r in validation] == list(range(10, 81, 10))
  assert training[-1]['train/loss'] < training[0]['train/loss']
  assert not any('seconds' in key or 'second' in key for r in records for key in r)


def test_the_summary_tells_what_the_figures_were_made_with(workdir):
  summary = rundir.read_summary(workdir)
  log = rundir.read_metrics(workdir / 'metrics.jsonl')
  last = next(r for r in reversed(log) if 'validation/loss' in r)
  assert summary['metrics']['validation']['accuracy'] == pytest.approx(last['validation/accuracy'])
  assert set(summary['metrics']) == {'validation', 'test'}
  assert summary['steps'] == 80
  assert summary['strategy'] == 'jit'
  # 64 inputs into 8 units with batch normalisation (scale and bias), 10 classes.
  assert summary['parameters'] == 64 * 8 + 2 * 8 + 8 * 10 + 10
  assert summary['provenance']['platform'] == 'cpu'
  assert str(workdir) not in json.dumps(summary)


def test_each_program_is_compiled_once(workdir):
  """The step; and the evaluation of each split, whose last batch is short, eight times called."""
  log = (workdir.parent / 'finished.log').read_text()
  compiled = re.findall(r'Compiling jit\((\w+)\)', log)
  assert compiled.count('run') == 1, compiled  # the step, called 80 times
  assert compiled.count('over_all') == 2, compiled  # validation and test
  assert len(compiled) < 30, compiled  # and nothing else over and over


def test_a_complete_run_is_left_alone(workdir):
  before = {p: p.stat().st_mtime_ns for p in workdir.rglob('*') if p.name != '.lock'}
  printed = command.train_to_end(workdir)
  assert printed.startswith(f'the run in {workdir} is complete: ')
  assert 'validation accuracy ' in printed
  assert len(printed.splitlines()) == 1
  after = {p: p.stat().st_mtime_ns for p in workdir.rglob('*') if p.name != '.lock'}
  assert after == before


def test_what_it_printed(workdir):
  printed = (workdir.parent / 'finished.log').read_text()
  assert re.search(r'^step 80/80  loss \d\.\d{4}  accuracy \d\.\d{4} ', printed, re.MULTILINE)
  assert re.search(r'^complete after \d+ s: validation accuracy .* test accuracy', printed, re.M)
  assert f'checkpoint {workdir}/checkpoints/80\n' in printed
