"""Classical methods and codes: what they make of what is known, and how settings are chosen."""

import itertools

import numpy as np
import pytest

from tests.scripts import command

SCRIPT = command.names('baselines')
Method, Corrupted, chosen = (SCRIPT[name] for name in ('Method', 'Corrupted', 'chosen'))
LEVELS = 5


def test_a_setting_is_chosen_in_validation_and_judged_in_test():
  data = {'validation': 3, 'test': 5}
  method = Method('add', lambda x, a, b: x + 10 * a + b, {'a': (0, 1), 'b': (0, 2, 4)})
  judge = lambda x, found: {'distance': abs(found - 4 * x)}
  found = chosen([method, Method('as it is', lambda x: x)], data, judge, 'distance', min)
  assert found['add'] == ({'a': 1, 'b': 0}, {'distance': 5})  # 13 of 12, then 15 of 20
  assert found['as it is'] == ({}, {'distance': 15})
  assert chosen([method], data, judge, 'distance')['add'][0] == {'a': 0, 'b': 0}


def all_values(size):
  return np.array(list(itertools.product(range(LEVELS), repeat=size)))


def total(code, size, **setting):
  """The sum over all pictures of the probability that a code's length stands for."""
  return sum(2 ** (-size * code(values[None], **setting)) for values in all_values(size))


def test_codes_spend_all_probability_and_no_more():
  rng = np.random.default_rng(0)
  train = rng.integers(0, LEVELS, (50, 3))
  train[:, 2] = (train[:, 0] + train[:, 1]) // 2
  assert total(SCRIPT['histogram_code'](train, LEVELS), 3, added=0.5) == pytest.approx(1)
  for fit in ('principal', 'factors'):
    code = SCRIPT['gaussian_code'](*SCRIPT[fit](train, 1), LEVELS)
    assert total(code, 3, uniform=0.0) == pytest.approx(1)
    assert total(code, 3, uniform=0.2) == pytest.approx(1)


def test_a_histogram_by_hand():
  code = SCRIPT['histogram_code'](np.array([[0], [0], [3]]), LEVELS)
  assert code(np.array([[0]]), added=1.0) == pytest.approx(np.log2(8 / 3))
  assert code(np.array([[3], [4]]), added=1.0) == pytest.approx((np.log2(8 / 2) + 3) / 2)


def test_what_follows_from_values_before_costs_less():
  rng = np.random.default_rng(0)
  first = rng.integers(0, LEVELS, (400, 1))
  same = np.hstack([first, first, first])
  single = SCRIPT['gaussian_code'](first.mean(0), np.array([[first.var()]]), LEVELS)
  triple = SCRIPT['gaussian_code'](*SCRIPT['factors'](same, 1), LEVELS)
  # The second and third cost next to nothing.
  assert triple(same, uniform=0.0) == pytest.approx(single(first, uniform=0.0) / 3, rel=0.05)


def test_principal_components_keep_the_variance_and_its_directions():
  rng = np.random.default_rng(0)
  train = rng.normal(size=(2000, 4)) * [5, 0.5, 0.5, 0.5] + 3
  mean, covariance = SCRIPT['principal'](train, 1)
  np.testing.assert_allclose(mean, train.mean(0))
  assert np.trace(covariance) == pytest.approx(np.trace(np.cov(train.T, bias=True)))
  np.testing.assert_allclose(covariance, np.diag([25, 0.25, 0.25, 0.25]), atol=1.2)


@pytest.fixture(scope='module')
def corrupted():
  pytest.importorskip('skimage')
  rows, columns = np.mgrid[:24, :20]
  clean = 0.5 + 0.2 * np.sin(rows / 5)[..., None] + 0.2 * np.cos(columns / 7)[..., None]
  clean = np.stack([clean * [1, 0.8, 0.6]] * 2).astype(np.float32)
  noise = np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32)
  return clean, noise


def gain(data, restored):
  """By how many dB the restored are nearer to the truth."""
  quality = SCRIPT['quality']
  return quality(data, restored)['psnr'] - quality(data, data.left)['psnr']


def test_filters_take_noise_away(corrupted):
  clean, noise = corrupted
  data = Corrupted(clean, clean + noise, np.ones((2, 24, 20, 1)))
  assert gain(data, SCRIPT['median'](data, size=3)) > 5
  settings = {'sigma': 0.1, 'patch': 3, 'distance': 5, 'strength': 0.6}
  assert gain(data, SCRIPT['non_local_means'](data, **settings)) > 5


def test_inpainting_fills_holes_and_keeps_the_rest(corrupted):
  clean, _ = corrupted
  known = np.ones((2, 24, 20, 1), np.float32)
  known[:, 8:12, 9:13] = 0
  data = Corrupted(clean, clean * known, known)
  restored = SCRIPT['biharmonic'](data)
  assert gain(data, restored) > 20
  np.testing.assert_allclose(restored * known, data.left, atol=1e-6)


def test_a_blur_is_undone_as_far_as_it_can_be(corrupted):
  clean, _ = corrupted
  from zoo.figures.image_quality import filtered
  from zoo.objectives.corruption import blurring

  stripes = (clean + 0.3 * (np.arange(20)[None, None, :, None] // 5 % 2)).astype(np.float32) / 2
  left = np.asarray(filtered(stripes, (blurring(24, 1.5), blurring(20, 1.5))))
  data = Corrupted(stripes, left, np.ones((2, 24, 20, 1)))
  assert gain(data, SCRIPT['wiener'](data, sigma=1.5, balance=1e-4)) > 3


def test_a_model_without_baselines_is_named():
  message = command.refusal(command.run('baselines', '--config=configs/digits_cnn.py'))
  assert "unknown objective with baselines 'classification'" in message
