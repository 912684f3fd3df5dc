"""A run is slimmed into another, which is evaluated and trained on like any."""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

from tests.scripts import command
from zoo.experiment import complete_config, make_experiment
from zoo.interop import hub
from zoo.training import make_evaluate, rundir

CONFIG = """
from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
    'model': MODEL,
    'objective': {'name': 'classification', 'ema_decay': 0.5},
    'data': {'train': 'train[:64]', 'test': 'test[:40]', 'batch_size': 16},
    'optimizer': {'learning_rate': 1e-2},
    'train': {'steps': 8},
  })
"""
OF_TEXT = """
from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
    'model': MODEL,
    'objective': {'name': 'language_model'},
    'data': {
      'loader': 'text', 'name': 'text:PATH', 'train': 'train[:80%]', 'validation': 'train[80%:]',
      'tokenizer': 'char', 'length': 8, 'batch_size': 8,
    },
    'train': {'steps': 4, 'best': 'bits_per_byte', 'best_mode': 'min'},
  })
"""
OF_LAYERS = {'num_layers': 1, 'width': 8, 'num_heads': 2}
MODELS = {
  'cnn': {'name': 'cnn', 'widths': (4,), 'convs_per_block': 2},
  'vit': {'name': 'vit_ti16', 'patch_size': 4, 'ffn_width': 16, **OF_LAYERS},
  'gpt2': {'name': 'gpt2', 'context_length': 8, **OF_LAYERS},
}


class Slimmed(NamedTuple):
  """Two run directories, and what the script said of them."""

  whole: Any
  slim: Any
  report: dict[str, Any]


@functools.cache
def slimmed(name):
  folder = Path(tempfile.mkdtemp(dir=command.home()))  # of this worker's own
  (folder / 'text.txt').write_text('the quick brown fox jumps over the lazy dog\n' * 20)
  text = OF_TEXT if name == 'gpt2' else CONFIG
  text = text.replace('MODEL', repr(MODELS[name])).replace('PATH', str(folder / 'text.txt'))
  (folder / 'tiny.py').write_text(text)
  command.train_to_end(folder / 'whole', f'--config={folder / "tiny.py"}')
  arguments = [f'--workdir={folder / "whole"}', f'--out={folder / "slim"}']
  done = command.run('prune', *arguments, '--nospeed', '--json')
  assert done.returncode == 0, done.stderr
  return Slimmed(folder / 'whole', folder / 'slim', json.loads(done.stdout))


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_the_report_is_of_two_networks(name):
  report = slimmed(name).report
  if name == 'cnn':
    assert report['widths'] == [[4], [2]]
    # 1 -> 4 -> 4 and 1 -> 2 -> 2 channels, in windows of 3 x 3; scales and biases; ten logits.
    sizes = [9 * c + 9 * c * c + 4 * c + 10 * c + 10 for c in (4, 2)]
    assert report['parameters'] == sizes
  else:
    assert (report['num_heads'], report['head_dim']) == ([2, 1], [None, 4])
    # One head of four channels: queries, keys and values of width 8 with biases, and their reader.
    assert report['parameters'][0] - report['parameters'][1] == 3 * 4 * (8 + 1) + 4 * 8
  summary = json.loads((slimmed(name).whole / 'summary.json').read_text())
  assert report['metrics'][0] == summary['metrics']


@pytest.mark.slow
@pytest.mark.parametrize('name', ['cnn', 'vit'])
def test_what_was_written_is_a_run_with_these_figures(name):
  run = slimmed(name)
  values = rundir.read_config(run.slim)
  fields = {'cnn': {'widths': [2]}, 'vit': {'num_heads': 1, 'head_dim': 4}}[name]
  assert {field: values['model'][field] for field in fields} == fields
  state, expected = command.restored(run.slim).state, run.report['metrics'][1]['test']
  assert set(state.extras) == {'inner', 'ema'}
  experiment = make_experiment(complete_config(values), devices=jax.devices()[:1])
  [source] = experiment.dataset.evaluation.values()
  parallel = experiment.parallel
  figures = make_evaluate(experiment.objective, source, parallel, parallel.shared(state))(state)
  assert figures == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_a_network_without_some_heads_is_evaluated_fine_tuned_and_exported(tmp_path):
  run = slimmed('vit')
  done = command.run('evaluate', f'--workdir={run.slim}', '--json')
  assert done.returncode == 0, done.stderr
  assert json.loads(done.stdout)['metrics'] == run.report['metrics'][1]

  command.train_to_end(
    tmp_path / 'tuned',
    f'--config={run.slim.parent / "tiny.py"}',
    f'--config.train.init_from={run.slim}',
    '--config.model.num_heads=1',
    '--config.model.head_dim=4',
    '--config.optimizer.learning_rate=0.0',  # so that it must end where it began
  )
  summary = json.loads((tmp_path / 'tuned' / 'summary.json').read_text())
  assert summary['parameters'] == run.report['parameters'][1]
  assert summary['metrics']['test'] == pytest.approx(run.report['metrics'][1]['test'], rel=1e-5)

  done = command.run('export', f'--workdir={run.slim}', f'--out={tmp_path / "weights"}')
  assert done.returncode == 0, done.stderr
  assert 'for zoo.load_pretrained' in done.stdout  # no layout of others has such heads
  module: Any = hub.load_pretrained(tmp_path / 'weights')[0]
  assert (module.num_heads, module.head_dim) == (1, 4)


@pytest.mark.slow
def test_speed_is_measured_of_tokens_too(tmp_path):
  arguments = [f'--workdir={slimmed("gpt2").whole}', f'--out={tmp_path / "slim"}', '--json']
  done = command.run('prune', *arguments, '--batch_size=2', '--by=l1')
  assert done.returncode == 0, done.stderr
  speed = json.loads(done.stdout)['speed']
  assert 0 < speed['p10'] <= speed['median'] <= speed['p90']


@pytest.mark.slow
def test_what_cannot_be_slimmed_is_refused_in_one_line(tmp_path):
  out = f'--out={tmp_path / "slim"}'
  done = command.run('prune', f'--workdir={command.finished()}', out)
  assert 'holds a MLP: CNN, BERT, GPT2, Transformer, ViT can be slimmed' in command.refusal(done)
  done = command.run('prune', f'--workdir={slimmed("vit").whole}', out, '--by=scale')
  assert "unknown criterion 'scale'; " in command.refusal(done)
  done = command.run('prune', f'--workdir={slimmed("vit").whole}', out, '--keep=1.5')
  assert 'keep must be in (0, 1], not 1.5' in command.refusal(done)
  assert not (tmp_path / 'slim').exists()
