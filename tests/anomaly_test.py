"""From a config of anomaly detection to its figures and pictures."""

import runpy

import jax
import numpy as np
import pytest

from tests.scripts import command
from zoo.experiment import complete_config, make_experiment
from zoo.figures import detection
from zoo.judge import make_judges
from zoo.preview import make_preview
from zoo.training import build


@pytest.fixture(scope='module')
def judged():
  """(experiment, its first state, figures by split), on all devices."""
  path = command.ROOT / 'configs' / 'breast_cancer_anomaly.py'
  values = runpy.run_path(str(path))['get_config']().to_dict()
  values['data'] |= {'dir': str(command.home() / 'tfds'), 'eval_batch_size': 16}
  values['objective']['draws'] = 2
  experiment = make_experiment(complete_config(values))
  program = build(
    experiment.objective, experiment.tx, experiment.dataset.train, experiment.parallel
  )
  state, _ = program.init(jax.random.key(0))
  judges = make_judges(experiment, program.state)
  shown = make_preview(experiment, program.state)(state)
  return (
    experiment,
    jax.device_get(state.params),
    {s: j(state)[0] for s, j in judges.items()},
    shown,
  )


def scores_of(experiment, params, split):
  data = experiment.dataset.evaluation[split].data
  return np.asarray(experiment.objective.predict(params, {}, data)), data['label']


def test_the_threshold_is_of_normal_validation_examples_alone(judged):
  experiment, params, figures, _ = judged
  scores, labels = scores_of(experiment, params, 'validation')
  threshold = np.quantile(scores[labels == 0], detection.QUANTILE)
  for split in ('validation', 'test'):
    assert figures[split]['threshold'] == pytest.approx(threshold, rel=1e-4)
  scores, labels = scores_of(experiment, params, 'test')
  called = scores > threshold
  assert figures['test']['accuracy'] == pytest.approx(np.mean(called == labels), abs=0.01)


def test_the_figures_are_of_all_examples_of_a_split(judged):
  experiment, params, figures, _ = judged
  scores, labels = scores_of(experiment, params, 'test')
  odd, normal = scores[labels == 1], scores[labels == 0]
  assert (len(odd), len(normal)) == (53, 89)
  wins = np.mean(odd[:, None] > normal[None, :])
  assert figures['test']['auroc'] == pytest.approx(wins, abs=1e-3)
  assert figures['test']['loss'] == pytest.approx(normal.mean(), rel=1e-4)
  assert figures['test']['anomaly_loss'] == pytest.approx(odd.mean(), rel=1e-4)


def test_features_have_a_histogram_and_no_pictures(judged):
  assert list(judged[-1]) == ['scores']
