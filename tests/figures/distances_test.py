"""Distances of sets of features: against formulas by hand, and what they mean."""

import numpy as np
import pytest

from zoo.figures.distances import frechet, frechet_and_floor, precision_recall

RNG = np.random.default_rng(0)


def normalized(count, width):
  """Examples whose mean is 0 and whose covariance is 1, exactly."""
  x = RNG.normal(size=(count, width))
  x -= x.mean(0)
  return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T


def test_frechet_of_normal_distributions_by_hand():
  x, y = normalized(50, 3), normalized(80, 3)
  assert frechet(x, y) == pytest.approx(0, abs=1e-9)
  # Means apart by (1, 2, 2); deviations 1 and (1, 3, 0.5): 9 + 0 + 4 + 0.25.
  assert frechet(x, y * [1, 3, 0.5] + [1, 2, 2]) == pytest.approx(13.25)
  # In one dimension: (m - n)^2 + (s - t)^2.
  a, b = RNG.normal(2, 3, (40, 1)), RNG.normal(-1, 2, (60, 1))
  expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
  assert frechet(a, b) == pytest.approx(expected)


def test_frechet_of_covariances_that_do_not_commute():
  scipy = pytest.importorskip('scipy.linalg')
  a, b = (RNG.normal(size=(30, 4)) @ RNG.normal(size=(4, 4)) for _ in range(2))
  A, B = (np.cov(x, rowvar=False) for x in (a, b))
  root = np.real(scipy.sqrtm(A @ B))
  expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(A + B - 2 * root)
  assert frechet(a, b) == pytest.approx(expected)
  assert frechet(b, a) == pytest.approx(expected)
  constant = np.tile(a[:1], (9, 1))  # no covariance: all that can be said is the mean
  assert frechet(constant, constant) == pytest.approx(0, abs=1e-9)


def test_what_is_made_as_the_real_is_made_is_at_the_floor():
  real, same, other = (RNG.normal(size=(200, 5)) for _ in range(3))
  distance, floor = frechet_and_floor(real, same, draws=20)
  assert 0.5 < distance / floor < 2
  distance, again = frechet_and_floor(real, other + 1, draws=20)
  assert again == floor and distance > 10 * floor
  assert frechet_and_floor(real, same, draws=3) == frechet_and_floor(real, same, draws=3)


def test_precision_and_recall_by_hand():
  real = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
  # Balls of the nearest neighbour: 1 around each. So 3 of these 4 are among the real; of the balls
  # around them (0, 0, 9, 9: distances to the next) those of 12 reach the real ones from 3 to 21.
  fake = np.array([[0.5], [0.5], [12.0], [21.0]])
  precision, recall = precision_recall(real, fake, k=1)
  assert precision == 0.75
  assert recall == pytest.approx(3 / 6)


def test_copies_have_both_a_single_mode_has_no_recall_and_noise_no_precision():
  centres = np.array([[0, 0], [9, 0], [0, 9]])
  real = np.concatenate([c + RNG.normal(size=(60, 2)) for c in centres])
  assert precision_recall(real, real) == (1, 1)
  precision, recall = precision_recall(real, RNG.normal(size=(60, 2)))
  assert precision > 0.9 and recall < 0.4
  precision, recall = precision_recall(real, RNG.uniform(-30, 30, (180, 2)))
  assert precision < 0.2


def test_more_rows_than_are_held_at_a_time_change_nothing(monkeypatch):
  real, fake = RNG.normal(size=(50, 3)), RNG.normal(size=(40, 3)) + 0.5
  expected = precision_recall(real, fake)
  monkeypatch.setattr('zoo.figures.distances.ROWS', 7)
  assert precision_recall(real, fake) == expected
