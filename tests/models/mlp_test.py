"""The multilayer perceptron, against matrices multiplied by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.mlp import MLP

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def build(x: Any = X, **options):
  module = MLP(**options)
  return module, jax.jit(lambda: module.init(KEY, x, train=False))()


def evaluate(module, variables, x: Any = X) -> Any:
  return jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, x)


def train(module, variables, seed=0) -> Any:
  rngs = {'dropout': jax.random.key(seed)}
  return jax.jit(lambda v: module.apply(v, X, train=True, rngs=rngs))(variables)


def test_it_is_matrices_with_an_activation_between():
  module, variables = build(widths=(4, 3), activation='tanh', num_classes=2)
  p = jax.tree.map(np.asarray, variables['params'])
  hidden = np.tanh(X @ p['Dense_0']['kernel'] + p['Dense_0']['bias'])
  hidden = np.tanh(hidden @ p['Dense_1']['kernel'] + p['Dense_1']['bias'])
  expected = hidden @ p['head']['kernel'] + p['head']['bias']
  np.testing.assert_allclose(evaluate(module, variables), expected, rtol=1e-5, atol=1e-6)
  features = MLP(widths=(4, 3), activation='tanh', num_classes=0)
  np.testing.assert_allclose(evaluate(features, variables), hidden, rtol=1e-5, atol=1e-6)


def test_inputs_are_flattened():
  module, variables = build(jnp.zeros((6, 12)))
  images = jax.random.normal(KEY, (6, 2, 3, 2))
  np.testing.assert_array_equal(
    evaluate(module, variables, images), evaluate(module, variables, images.reshape(6, 12))
  )


@pytest.mark.parametrize(
  'norm, expected',
  [('none', 5 * 4 + 4 + 4 * 10 + 10), ('batch', 5 * 4 + 2 * 4 + 4 * 10 + 10)],
)
def test_parameters_are_as_many_as_counted_by_hand(norm, expected):
  _, variables = build(widths=(4,), norm=norm)
  assert sum(x.size for x in jax.tree.leaves(variables['params'])) == expected


def test_without_layers_it_is_linear():
  module, variables = build(widths=(), num_classes=3)
  head = variables['params']['head']
  expected = X @ head['kernel'] + head['bias'][None]
  np.testing.assert_allclose(evaluate(module, variables), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_signals_keep_their_size_through_many_rectified_layers():
  # What He et al. derived their initialisation for: 30 layers change it by less than a factor of 4,
  # where a variance of 1 / fan_in would leave 2^-15.
  x = jax.random.normal(KEY, (64, 256))
  module, variables = build(x, widths=(256,) * 30, num_classes=0)
  features = evaluate(module, variables, x)
  assert 0.25 < jnp.mean(jnp.square(features)) / jnp.mean(jnp.square(x)) < 4


def test_dropout_follows_its_key_in_training_and_is_off_otherwise():
  module, variables = build(dropout=0.5)
  first, again, other = (train(module, variables, seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert jnp.abs(first - other).max() > 1e-3
  without = train(MLP(), variables)
  np.testing.assert_allclose(evaluate(module, variables), without, rtol=1e-6)


def test_dropout_keeps_the_mean_of_what_it_drops():
  module, variables = build(widths=(4096,), dropout=0.25, num_classes=0)
  exact = evaluate(module, variables)
  dropped = train(module, variables)
  kept = dropped != 0
  np.testing.assert_allclose(dropped[kept], exact[kept] / 0.75, rtol=1e-5)
  assert abs(float(kept.sum() / (exact != 0).sum()) - 0.75) < 0.02


def test_bfloat16_computes_on_float32_parameters():
  module, variables = build(dtype='bfloat16', norm='layer')
  logits = evaluate(module, variables)
  exact = evaluate(MLP(norm='layer'), variables)
  assert {x.dtype for x in jax.tree.leaves((variables, logits))} == {jnp.dtype('float32')}
  assert 0 < jnp.abs(logits - exact).max() < 0.05 * jnp.abs(exact).max()
