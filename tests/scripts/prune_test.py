"""A run is slimmed into another, which is evaluated and trained on like any."""

import json
from typing import Any, NamedTuple

import jax
import pytest

from tests.scripts import command
from zoo.experiment import complete_config, make_experiment
from zoo.training import make_evaluate, rundir

CONFIG = """
from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
    'model': {'name': 'cnn', 'widths': (4,), 'convs_per_block': 2},
    'objective': {'name': 'classification', 'ema_decay': 0.5},
    'data': {'train': 'train[:64]', 'test': 'test[:40]', 'batch_size': 16},
    'optimizer': {'learning_rate': 1e-2},
    'train': {'steps': 8},
  })
"""


class Slimmed(NamedTuple):
  """Two run directories, and what the script said of them."""

  whole: Any
  slim: Any
  report: dict[str, Any]


@pytest.fixture(scope='module')
def slimmed(tmp_path_factory):
  folder = tmp_path_factory.mktemp('prune')
  (folder / 'tiny.py').write_text(CONFIG)
  command.train_to_end(folder / 'whole', f'--config={folder / "tiny.py"}')
  arguments = [f'--workdir={folder / "whole"}', f'--out={folder / "slim"}']
  done = command.run('prune', *arguments, '--nospeed', '--json')
  assert done.returncode == 0, done.stderr
  return Slimmed(folder / 'whole', folder / 'slim', json.loads(done.stdout))


@pytest.mark.slow
def test_the_report_is_of_two_networks(slimmed):
  report = slimmed.report
  assert report['widths'] == [[4], [2]]
  # 1 -> 4 -> 4 and 1 -> 2 -> 2 channels, in windows of 3 x 3; scales and biases; ten logits.
  sizes = [9 * c + 9 * c * c + 4 * c + 10 * c + 10 for c in (4, 2)]
  assert report['parameters'] == sizes
  summary = json.loads((slimmed.whole / 'summary.json').read_text())
  assert report['metrics'][0] == summary['metrics']


@pytest.mark.slow
def test_what_was_written_is_a_run_with_these_figures(slimmed):
  values = rundir.read_config(slimmed.slim)
  assert values['model']['widths'] == [2]
  state, expected = command.restored(slimmed.slim).state, slimmed.report['metrics'][1]['test']
  assert set(state.extras) == {'inner', 'ema'}
  experiment = make_experiment(complete_config(values), devices=jax.devices()[:1])
  [source] = experiment.dataset.evaluation.values()
  parallel = experiment.parallel
  figures = make_evaluate(experiment.objective, source, parallel, parallel.shared(state))(state)
  assert figures == pytest.approx(expected, rel=1e-5)
