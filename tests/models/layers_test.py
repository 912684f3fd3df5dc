"""Activations and norms by name, against formulas in NumPy."""

import operator
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.layers import (
  ACTIVATIONS,
  activation,
  compute_dtype,
  normalization,
  stochastic_depth,
)

X = 3 + 2 * np.random.default_rng(0).normal(size=(4, 5, 6, 32)).astype(np.float32)


class Norm(nn.Module):
  kind: str
  momentum: float = 0.9
  axis_name: str | None = None
  synchronise: bool = True

  @nn.compact
  def __call__(self, x, *, train):
    return normalization(
      self.kind,
      x.shape[-1],
      train=train,
      momentum=self.momentum,
      axis_name=self.axis_name,
      synchronise=self.synchronise,
    )(x)


def normalized(kind, x, train=True):
  module = Norm(kind)
  variables = module.init(jax.random.key(0), x, train=train)
  return module.apply(variables, x, train=train, mutable=['batch_stats'])


def standardized(x, axes):
  x = np.asarray(x, np.float64)
  return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize('name', ACTIVATIONS)
def test_an_activation_maps_each_element_by_itself_and_keeps_the_type(name):
  x = jnp.linspace(-3, 3, 7)
  act = activation(name)
  one_by_one = jnp.stack([act(v) for v in x])
  np.testing.assert_allclose(act(x), one_by_one, rtol=1e-6, atol=1e-6)
  assert act(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_relu_is_relu():
  np.testing.assert_array_equal(activation('relu')(jnp.array([-1.0, 0.0, 2.0])), [0, 0, 2])


@pytest.mark.parametrize('kind, axes', [('batch', (0, 1, 2)), ('layer', (3,)), ('none', None)])
def test_norms_standardize_over_their_axes(kind, axes):
  y, _ = normalized(kind, X)
  expected = X if axes is None else standardized(X, axes)
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('channels, size', [(32, 16), (16, 16), (8, 8), (24, 24)])
def test_group_norm_standardizes_groups_of_16_channels_or_all(channels, size):
  x = X[..., :channels]
  y, _ = normalized('group', x)
  groups = x.reshape(*x.shape[:3], channels // size, size)
  expected = standardized(groups, (1, 2, 4)).reshape(x.shape)
  np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def test_batch_statistics_are_averaged_with_the_momentum():
  module = Norm('batch', momentum=0.75)
  variables = module.init(jax.random.key(0), X, train=True)
  _, updates = module.apply(variables, X, train=True, mutable=['batch_stats'])
  stats: Any = updates['batch_stats']['BatchNorm_0']
  np.testing.assert_allclose(stats['mean'], 0.25 * X.mean((0, 1, 2)), rtol=1e-4)
  np.testing.assert_allclose(stats['var'], 0.75 + 0.25 * X.var((0, 1, 2)), rtol=1e-4)


def test_outside_training_the_averages_are_used_and_kept():
  y, updates = normalized('batch', X, train=False)
  np.testing.assert_allclose(y, X / np.sqrt(1 + 1e-5), rtol=1e-5)  # of the initial 0 and 1
  np.testing.assert_array_equal(updates['batch_stats']['BatchNorm_0']['mean'], np.zeros(32))


@pytest.mark.parametrize('kind', ['batch', 'group', 'layer'])
def test_norms_compute_in_float32_and_return_the_type_of_their_input(kind):
  x = jnp.asarray(X, jnp.bfloat16)
  with jax.numpy_dtype_promotion('strict'):
    y, _ = normalized(kind, x)
    expected, _ = normalized(kind, x.astype(jnp.float32))
  chex.assert_trees_all_equal(y, expected.astype(jnp.bfloat16))


@pytest.mark.parametrize('kind', ['batch', 'group', 'layer'])
def test_parameters_are_called_after_their_norm(kind):
  params = Norm(kind).init(jax.random.key(0), X, train=True)['params']
  name = f'{kind.title()}Norm_0'
  assert set(params) == {name} and set(params[name]) == {'scale', 'bias'}


def test_statistics_shared_over_devices_are_those_of_the_whole_batch():
  x = jnp.arange(8 * 3 * 2, dtype=jnp.float32).reshape(8, 3, 2) ** 2
  variables = Norm('batch').init(jax.random.key(0), x[0], train=True)

  def apply(module, x):
    return module.apply(variables, x, train=True, mutable=['batch_stats'])

  shared = jax.pmap(lambda x: apply(Norm('batch', axis_name='data'), x), 'data', out_axes=(0, None))
  y, updates = shared(x)
  whole, expected = apply(Norm('batch'), x.reshape(24, 2))
  np.testing.assert_allclose(y.reshape(24, 2), whole, rtol=1e-5, atol=1e-5)
  chex.assert_trees_all_close(updates, expected, rtol=1e-5)


@pytest.mark.parametrize(
  'call, message',
  [
    (lambda: activation('rellu'), "unknown activation 'rellu'; did you mean 'relu'?"),
    (lambda: activation('softmax'), "unknown activation 'softmax'"),  # not elementwise
    (lambda: compute_dtype('bfloat'), "unknown dtype 'bfloat'; did you mean 'bfloat16'?"),
    (lambda: normalized('batchnorm', X), "unknown norm 'batchnorm'; did you mean 'batch'?"),
  ],
)
def test_unknown_names_are_answered_with_the_nearest(call, message):
  with pytest.raises(ValueError) as error:
    call()
  assert str(error.value).startswith(message) and '\n' not in str(error.value)


def test_devices_that_share_no_statistics_share_the_averages():
  x = jnp.arange(8 * 3 * 2, dtype=jnp.float32).reshape(8, 3, 2) ** 2
  module = Norm('batch', axis_name='data', synchronise=False)
  variables = Norm('batch').init(jax.random.key(0), x[0], train=True)
  chex.assert_trees_all_equal(module.init(jax.random.key(0), x[0], train=False), variables)
  apply = lambda module, x: module.apply(variables, x, train=True, mutable=['batch_stats'])
  y, updates = jax.pmap(lambda x: apply(module, x), 'data')(x)
  alone = [apply(Norm('batch'), share) for share in x]
  np.testing.assert_allclose(y, jnp.stack([y for y, _ in alone]), rtol=1e-5, atol=1e-5)
  mean = jax.tree.map(lambda *shares: sum(shares) / 8, *(stats for _, stats in alone))
  for device in range(8):
    share = jax.tree.map(operator.itemgetter(device), updates)
    chex.assert_trees_all_close(share, mean, rtol=1e-5)


def test_stochastic_depth_drops_whole_examples_and_scales_the_others():
  x = jax.random.normal(jax.random.key(0), (400, 3, 2))
  drop = stochastic_depth(0.25, x.ndim)
  y: Any = drop.apply({}, x, deterministic=False, rngs={'dropout': jax.random.key(1)})
  kept = np.asarray((y != 0).any((1, 2)))
  np.testing.assert_allclose(y[kept], x[kept] / 0.75, rtol=1e-6)
  assert not y[~kept].any()
  assert 0.68 < kept.mean() < 0.82  # three standard deviations
  np.testing.assert_array_equal(drop.apply({}, x, deterministic=True), x)
