import numpy as np

from tests.scripts import command

BASELINE = command.names('anomaly_baseline')


def test_a_forest_finds_what_lies_far_away():
  rng = np.random.default_rng(0)
  near, far = rng.normal(size=(60, 2)), rng.normal(size=(20, 2)) + 8
  judged = (np.concatenate([near[:20], far]), np.arange(40) // 20)
  figures = BASELINE['forest']({'train': (near, None), 'validation': judged, 'test': judged}, 0)
  assert figures['auroc'] == 1.0
  assert figures['accuracy'] > 0.9


def test_runs_are_described_by_mean_and_spread():
  assert BASELINE['described']([{'auroc': 0.5}, {'auroc': 1.0}]) == 'auroc 0.7500 +- 0.3536'
