"""Restoration: what a corruption leaves, what is kept of it, and what the figures depend on."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.data import arrays
from zoo.objectives import restoration
from zoo.objectives.corruption import make_corruption
from zoo.objectives.keys import keys_of
from zoo.objectives.restoration import over_symmetries
from zoo.training import build, make_evaluate, parallelize, run

KEY = jax.random.key(0)
PICTURES = np.random.default_rng(0).integers(0, 256, (24, 12, 12, 3), dtype=np.uint8) / 255.0
PICTURES = PICTURES.astype(np.float32)


class Filter(nn.Module):
  """One convolution to three channels."""

  @nn.compact
  def __call__(self, x, *, train):
    del train
    return nn.Conv(3, (3, 3))(x)


class Constant(nn.Module):
  """One colour everywhere, which no picture has."""

  @nn.compact
  def __call__(self, x, *, train):
    del train
    return self.param('colour', nn.initializers.constant(2.0), (3,)) * jnp.ones((*x.shape[:3], 3))


@pytest.fixture(autouse=True)
def ranks():
  with jax.numpy_rank_promotion('allow'):  # of the modules above
    yield


def corrupt(pictures=PICTURES, key=KEY, **options):
  corruption = make_corruption(**options)
  pictures = jnp.asarray(pictures)
  return jax.jit(jax.vmap(corruption.apply))(keys_of(key, pictures), pictures)


def test_noise_has_the_deviation_that_is_asked_for():
  noise = corrupt(noise=(25.0,))[0] - PICTURES
  assert float(noise.std()) * 255 == pytest.approx(25, rel=0.02)
  assert abs(float(noise.mean())) * 255 < 1
  each = (corrupt(noise=(5.0, 50.0))[0] - PICTURES).std(axis=(1, 2, 3)) * 255
  assert 5 < each.min() < 15 and 40 < each.max() < 53  # of a picture each


def test_missing_pixels_are_zero_and_known_ones_as_they_were():
  left, known = corrupt(missing=0.4, holes=2, hole_size=3)
  assert set(np.unique(known)) == {0, 1}
  np.testing.assert_array_equal(left, PICTURES * known)
  share = 1 - float(corrupt(missing=0.4)[1].mean())
  assert share == pytest.approx(0.4, abs=0.03)


def test_holes_are_squares_of_their_size():
  _, known = corrupt(holes=1, hole_size=4)
  for mask in np.asarray(known[..., 0]):
    rows, columns = np.nonzero(mask == 0)
    assert np.ptp(rows) == np.ptp(columns) == 3 and len(rows) == 16
  places = {tuple(np.argwhere(mask == 0)[0]) for mask in np.asarray(known[..., 0])}
  assert len(places) > 10
  assert (corrupt(holes=1, hole_size=12)[1] == 0).all()  # as large as the picture


def test_blur_of_a_point_is_a_gaussian_and_keeps_what_is_constant():
  point = np.zeros((1, 11, 11, 1), np.float32)
  point[0, 5, 5] = 1
  spread = np.asarray(corrupt(point, blur=1.0)[0])[0, ..., 0]
  assert spread.sum() == pytest.approx(1, rel=1e-5)
  assert spread[5, 6] / spread[5, 5] == pytest.approx(np.exp(-1 / 2), rel=1e-4)
  assert spread[3, 6] / spread[5, 5] == pytest.approx(np.exp(-(4 + 1) / 2), rel=1e-4)
  np.testing.assert_allclose(corrupt(np.full((1, 7, 5, 1), 0.3), blur=2.0)[0], 0.3, rtol=1e-5)


def test_a_lower_resolution_forgets_fine_stripes_and_keeps_a_slope():
  columns = np.arange(16)
  stripes = np.broadcast_to((columns % 2)[None, None, :, None], (1, 16, 16, 1)).astype(np.float32)
  slope = np.broadcast_to((columns / 16)[None, None, :, None], (1, 16, 16, 1)).astype(np.float32)
  assert np.ptp(np.asarray(corrupt(stripes, factor=2)[0])[:, :, 4:-4]) < 0.05
  kept = np.asarray(corrupt(slope, factor=2)[0])[:, :, 4:-4]
  np.testing.assert_allclose(kept, slope[:, :, 4:-4], atol=1e-3)


@pytest.mark.slow
def test_what_an_example_goes_through_depends_on_it_alone():
  alone = corrupt(PICTURES[5:6], noise=(25.0,), holes=1, hole_size=3)
  among = corrupt(PICTURES[[3, 5, 7]], noise=(25.0,), holes=1, hole_size=3)
  chex.assert_trees_all_equal(alone, jax.tree.map(lambda x: x[1:2], among))
  other = corrupt(PICTURES[5:6], noise=(25.0,), holes=1, hole_size=3, key=jax.random.key(1))
  assert jnp.abs(other[0] - alone[0]).max() > 0.05
  changed = PICTURES[5:6].copy()
  changed[0, 0, 0, 0] = (changed[0, 0, 0, 0] + 0.5) % 1
  assert (keys_of(KEY, jnp.asarray(changed)) != keys_of(KEY, jnp.asarray(PICTURES[5:6]))).all()


def started(module, **options):
  objective = restoration(module, **options)
  batch = {'image': jnp.asarray(PICTURES)}
  params, extras = jax.jit(objective.init)(KEY, batch)
  return objective, params, extras, batch


def test_known_pixels_stay_and_the_module_fills_the_others():
  objective, params, extras, batch = started(Constant(), noise=(), holes=2, hole_size=4)
  shown = jax.jit(objective.predict)(params, extras, batch)
  known = np.broadcast_to(shown['known'] == 1, PICTURES.shape)
  np.testing.assert_array_equal(np.asarray(shown['restored'])[known], PICTURES[known])
  assert (np.asarray(shown['restored'])[~known] == 1).all()  # 2, cut to [0, 1]
  # Noisy pixels are known too, but not what they should be.
  objective, params, extras, batch = started(Constant(), noise=(25.0,), holes=2, hole_size=4)
  assert (jax.jit(objective.predict)(params, extras, batch)['restored'] == 1).all()


@pytest.mark.parametrize(
  ('distance', 'value'),
  [
    ('l1', 1.4),
    ('l2', 1.4**2),
    ('charbonnier', np.hypot(1.4, 1e-3)),
    ('psnr', 20 * np.log10(1.4)),
  ],
)
def test_losses_by_hand(distance, value):
  objective, params, extras, _ = started(Constant(), distance=distance)
  batch = {'image': jnp.full((2, 12, 12, 3), 0.6)}
  found, _ = objective.loss(params, extras, batch, KEY)
  assert float(found) == pytest.approx(value, rel=1e-5)
  figures = objective.evaluate(params, extras, batch, KEY).compute()
  assert figures['loss'] == pytest.approx(value, rel=1e-5)
  assert figures['psnr'] == pytest.approx(-20 * np.log10(0.4), rel=1e-5)  # cut to 1


def test_the_figures_of_a_noisy_picture_are_those_of_its_noise():
  objective, params, extras, batch = started(Constant())
  figures = jax.jit(objective.evaluate)(params, extras, batch, KEY).compute()
  assert figures['input_psnr'] == pytest.approx(20 * np.log10(255 / 25), abs=0.1)


@pytest.mark.slow
def test_an_ensemble_turns_and_mirrors_as_the_picture_does_and_is_a_mean():
  ramp = jnp.arange(6.0)[:, None, None] * jnp.ones((6, 8, 1))  # from 0 to 5 by rows

  def lopsided(x):  # adds what depends on the place, so that turning matters
    height, width = x.shape[1:3]
    return 2 * x[..., :1] + (ramp if height == 6 else ramp.swapaxes(0, 1)[:height, :width])

  x = jnp.asarray(PICTURES[:2, :6, :8])
  found = over_symmetries(lopsided, x)
  np.testing.assert_allclose(found, 2 * x[..., :1] + 2.5, rtol=1e-5)  # the mean of a ramp, mirrored
  objective, params, extras, batch = started(Filter(), noise=(), factor=2, ensemble=True)
  restored = jax.jit(lambda x: objective.predict(params, extras, {'image': x})['restored'])
  for turn in (lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x.swapaxes(1, 2)):
    turned = turn(batch['image'])
    np.testing.assert_allclose(restored(turned), turn(restored(batch['image'])), atol=1e-5)


def trained(strategy, eval_batch_sizes=(8,)):
  """(parameters, figures) after two steps of SGD: Adam hides a gradient that is n times too big.

  All steps draw alike: the key that a step gives to the loss depends on its device.
  """
  parallel = parallelize(strategy, None if strategy != 'jit' else jax.devices()[:1])
  options = {'noise': (25.0,), 'holes': 1, 'hole_size': 3, 'distance': 'l2'}
  objective = restoration(Filter(), axis_name=parallel.axis_name, **options)
  fixed = objective._replace(
    loss=lambda params, extras, batch, key: objective.loss(params, extras, batch, KEY)
  )
  source = arrays.epochs({'image': PICTURES}, 16)
  program = build(fixed, optax.sgd(0.3), source, parallel)
  state, source_state = program.init(KEY)
  for state, _, _ in run(program, source, state, source_state, steps=2):
    pass
  judged = [arrays.one_pass({'image': PICTURES[:20]}, size) for size in eval_batch_sizes]
  judges = [make_evaluate(objective, source, parallel, program.state) for source in judged]
  return jax.device_get(state.params), [judge(state) for judge in judges]


@pytest.mark.slow
def test_jit_pmap_and_sharded_train_and_judge_alike_with_batches_of_any_size():
  params, (figures, same) = trained('jit', eval_batch_sizes=(8, 7))
  assert same == pytest.approx(figures, rel=1e-5)
  for strategy in ('pmap', 'sharded'):
    other, (same,) = trained(strategy)
    chex.assert_trees_all_close(other, params, rtol=1e-4, atol=1e-6)
    assert same == pytest.approx(figures, rel=1e-4)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'noise': ()}, 'nothing to restore'),
    ({'noise': (0.0,)}, 'nothing to restore'),
    ({'noise': (25.0, 5.0)}, 'ascending order, not (25.0, 5.0)'),
    ({'noise': (-1.0,)}, 'one number >= 0'),
    ({'missing': 1.0}, 'missing in [0, 1)'),
    ({'factor': 0}, 'factor >= 1'),
    ({'distance': 'charbonier'}, "'charbonier'; did you mean 'charbonnier'"),
    ({'factor': 5}, 'pictures of 12 x 12 cannot be made smaller by a factor of 5'),
    ({'holes': 1, 'hole_size': 13}, 'holes of 13 pixels do not fit pictures of 12 x 12'),
    ({'input_key': 'picture'}, "unknown input of the batch 'picture'"),
  ],
)
def test_bad_input_is_named(options, message):
  with pytest.raises(ValueError) as error:
    started(Filter(), **options)
  assert message in str(error.value)


def test_a_module_that_returns_something_else_is_named():
  objective = restoration(nn.Sequential([lambda x, train: x[..., :2]]))
  with pytest.raises(ValueError, match=r'returns \(2, 12, 12, 2\), not pictures \(2, 12, 12, 3\)'):
    objective.predict({}, {}, {'image': jnp.zeros((2, 12, 12, 3))})
