"""The U-Net: any size, what the time changes, and what its parts do, by hand."""

from functools import partial
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.unet import UNet, extend, fold, sinusoids, unfold

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(jax.random.key(1), (2, 7, 5, 3))
TIMES = jnp.array([3.0, 40.0])
SMALL: dict[str, Any] = {'widths': (4, 6)}


def initial(module, x, time=None):
  """Variables, all of them random: as they start, the last convolution hides the others."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(lambda: module.init(KEY, x, time, train=False))
  draw = lambda leaf: jnp.asarray(rng.uniform(0.1, 0.5, leaf.shape), jnp.float32)
  return jax.tree.map(draw, shapes)


@partial(jax.jit, static_argnums=0)
def apply(module, variables, x, time=None):
  return module.apply(variables, x, time, train=False)


@pytest.mark.parametrize('patch_size', [1, 2])
@pytest.mark.parametrize('shape', [(1, 1), (7, 5), (9, 16)])
def test_any_size_in_and_the_same_size_out(shape, patch_size):
  module = UNet(widths=(4, 4, 4), patch_size=patch_size, out_channels=2)
  x = jnp.zeros((2, *shape, 3))
  out, _ = jax.eval_shape(lambda x: module.init_with_output(KEY, x, train=True), x)
  assert out.shape == (2, *shape, 2) and out.dtype == jnp.float32


def test_an_odd_picture_is_one_that_was_extended_by_its_border():
  module = UNet(**SMALL)
  variables = initial(module, IMAGES)
  found = apply(module, variables, IMAGES)
  whole = apply(module, variables, extend(IMAGES, 2))
  assert whole.shape == (2, 8, 6, 3)
  chex.assert_trees_all_close(found, whole[:, :7, :5], rtol=1e-5, atol=1e-6)


def test_a_residual_one_starts_as_its_input():
  module = UNet(**SMALL, residual=True, out_channels=2)
  start, _ = jax.jit(lambda: module.init_with_output(KEY, IMAGES, train=False))()
  np.testing.assert_array_equal(start, IMAGES[..., :2])


def test_the_residual_is_what_is_added():
  variables = initial(UNet(**SMALL), IMAGES)
  added = apply(UNet(**SMALL, residual=True), variables, IMAGES) - IMAGES
  np.testing.assert_allclose(added, apply(UNet(**SMALL), variables, IMAGES), atol=1e-6)


def test_time_changes_the_result_of_its_own_example_alone():
  module = UNet(**SMALL)
  variables = initial(module, IMAGES, TIMES)
  before = apply(module, variables, IMAGES, TIMES)
  after = apply(module, variables, IMAGES, TIMES.at[1].set(41.0))
  np.testing.assert_array_equal(after[0], before[0])
  assert jnp.abs(after[1] - before[1]).max() > 1e-3


def test_sinusoids_by_hand():
  waves = sinusoids(jnp.array([0.0, 2.0]), 5)
  expected = [[0, 0, 1, 1, 0], [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02), 0]]
  np.testing.assert_allclose(waves, expected, atol=1e-6)


def gradient_of(module, variables):
  rest = {k: v for k, v in variables.items() if k != 'params'}

  def loss(params):
    out, _ = module.apply(
      {'params': params, **rest}, IMAGES, TIMES, train=True, mutable=['batch_stats']
    )
    return jnp.sum(jnp.sin(out))

  return jax.grad(loss)


@pytest.mark.parametrize('norm', ['none', 'group'])
def test_a_gradient_reaches_every_parameter(norm):
  module = UNet(**SMALL, norm=norm, patch_size=2)
  variables = initial(module, IMAGES, TIMES)
  gradient = jax.jit(gradient_of(module, variables))(variables['params'])
  assert all(jnp.abs(leaf).max() > 1e-6 for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_compiled_and_eager_gradients_agree():
  module = UNet(widths=(4,), norm='batch')
  variables = initial(module, IMAGES, TIMES)
  gradient = gradient_of(module, variables)
  compiled = jax.jit(gradient)(variables['params'])
  with jax.disable_jit():
    eager = gradient(variables['params'])
  chex.assert_trees_all_close(compiled, eager, rtol=1e-3, atol=1e-4)


def test_parameters_are_as_many_as_counted_by_hand():
  module = UNet(widths=(4, 6), norm='none', out_channels=2)
  params = jax.eval_shape(lambda: module.init(KEY, IMAGES, train=False))['params']
  conv = lambda i, o: 9 * i * o + o
  dense = lambda i, o: i * o + o
  expected = conv(3, 4) + 2 * conv(4, 4)  # the finest, on the way down
  expected += dense(4 * 4, 6) + 2 * conv(6, 6)
  expected += dense(6, 4 * 4) + conv(8, 4) + conv(4, 4) + dense(8, 4)  # with the skip
  expected += conv(4, 2)
  assert sum(x.size for x in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize('side', [1, 2, 3])
def test_folding_is_undone_and_is_what_strided_convolutions_see(side):
  x = jax.random.normal(KEY, (2, 6, 12, 5))
  np.testing.assert_array_equal(unfold(fold(x, side), side), x)
  kernel = jax.random.normal(KEY, (side, side, 5, 4))
  strided = nn.Conv(4, (side, side), (side, side), use_bias=False)
  expected = strided.apply({'params': {'kernel': kernel}}, x)
  np.testing.assert_allclose(fold(x, side) @ kernel.reshape(-1, 4), expected, rtol=1e-4, atol=1e-5)


def test_computes_in_the_type_it_is_told():
  x = jnp.zeros((1, 4, 4, 3))
  module = UNet(**SMALL, dtype='bfloat16')
  text = str(jax.make_jaxpr(lambda x: module.init_with_output(KEY, x, train=False)[0])(x))
  assert 'bf16[1,4,4,4]' in text and 'conv_general_dilated' in text
  params = jax.eval_shape(lambda: module.init(KEY, x, train=False))
  assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
  ('options', 'shape', 'message'),
  [
    ({}, (2, 4, 4), 'pictures'),
    ({'widths': ()}, (1, 4, 4, 3), 'widths'),
    ({'patch_size': 0}, (1, 4, 4, 3), 'patch_size'),
    ({'residual': True, 'out_channels': 4}, (1, 4, 4, 3), 'cannot add 3 channels to 4'),
    ({'norm': 'bacth'}, (1, 4, 4, 3), "did you mean 'batch'"),
  ],
)
def test_bad_input_is_named(options, shape, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda: UNet(**options).init(KEY, jnp.zeros(shape), train=False))
