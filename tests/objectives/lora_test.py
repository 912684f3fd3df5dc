import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo import paths
from zoo.data import arrays
from zoo.objectives import lora, with_ema
from zoo.training import build, parallelize, run
from zoo.types import Objective

TARGETS = (r'Dense_.*/kernel',)


def adapted(axis_name=None, rank=2, alpha=8.0, targets=TARGETS):
  return lora.with_lora(toy.objective(axis_name), rank=rank, alpha=alpha, targets=targets)


def batch(size=16):
  return jax.tree.map(jnp.asarray, arrays_of(size) | {'weight': np.ones(size, np.float32)})


def arrays_of(size):
  return toy.data(size)


def moved(params):
  """Factors as after some training: B is no longer zero."""
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(7), len(leaves))
  return tree.unflatten(
    [x + jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
  )


def trained(strategy, wrap=lambda objective: objective, steps=20):
  parallel = parallelize(strategy)
  source = arrays.epochs(toy.data(100), 32)
  program = build(wrap(adapted(parallel.axis_name)), optax.sgd(0.1), source, parallel)
  first = jax.device_get(program.init(jax.random.key(0))[0].extras)
  state, source_state = program.init(jax.random.key(0))
  for state, source_state, scalars in run(program, source, state, source_state, steps=steps):
    pass
  return first, state, scalars


@pytest.mark.slow
def test_it_starts_as_the_objective_it_wraps():
  key, plain, wrapped = jax.random.key(0), toy.objective(), adapted()
  params, extras = plain.init(key, batch())
  factors, lora_extras = wrapped.init(key, batch())
  chex.assert_trees_all_equal(lora_extras['base'], params)
  value, (inner, scalars) = plain.loss(params, extras, batch(), key)
  same, (lora_inner, same_scalars) = wrapped.loss(factors, lora_extras, batch(), key)
  chex.assert_trees_all_equal((same, same_scalars), (value, scalars))
  chex.assert_trees_all_equal(lora_inner, {'inner': inner, 'base': params})
  figures = wrapped.evaluate(factors, lora_extras, batch(), key)
  assert figures.compute() == plain.evaluate(params, extras, batch(), key).compute()


def test_the_number_of_trained_parameters_by_hand():
  params, _ = adapted(rank=2).init(jax.random.key(0), batch())
  # Dense_0 is 6 x 16 and Dense_1 is 16 x 3, so at rank 2: 2 (6 + 16) + 2 (16 + 3).
  assert sum(x.size for x in jax.tree.leaves(params)) == 2 * (6 + 16) + 2 * (16 + 3) == 82
  assert [path for path, _ in paths.named_leaves(params)] == [
    'lora/Dense_0/kernel/a',
    'lora/Dense_0/kernel/b',
    'lora/Dense_1/kernel/a',
    'lora/Dense_1/kernel/b',
  ]


def test_a_is_normal_with_the_inverse_of_its_inputs_as_variance_and_b_zero():
  base = {'w': jnp.zeros((400, 300))}
  factors = lora.factors(jax.random.key(0), base, 50, ('w',))['w']
  np.testing.assert_allclose(factors['a'].std(), 1 / 20, rtol=0.02)
  assert not factors['b'].any()


def test_the_change_by_hand():
  base = {'x': {'w': jnp.ones((2, 2)), 'bias': jnp.ones(2)}}
  change = {'x': {'w': {'a': jnp.array([[1.0], [2.0]]), 'b': jnp.array([[3.0, 5.0]])}}}
  merged = lora.merge(base, change, alpha=0.5)
  # 1 + 0.5 / 1 * outer([1, 2], [3, 5])
  np.testing.assert_array_equal(merged['x']['w'], [[2.5, 3.5], [4.0, 6.0]])
  np.testing.assert_array_equal(merged['x']['bias'], [1, 1])


def test_stacked_layers_change_each_by_its_own_factors():
  layers = {'kernel': jax.random.normal(jax.random.key(0), (3, 4, 5)), 'bias': jnp.ones((3, 5))}
  stacked = moved(lora.factors(jax.random.key(1), layers, 2, ('.*',)))
  assert stacked['kernel']['a'].shape == (3, 4, 2)
  assert 'bias' not in stacked
  whole = lora.merge(layers, stacked, 3.0)['kernel']
  for i in range(3):
    a, b = stacked['kernel']['a'][i], stacked['kernel']['b'][i]
    np.testing.assert_allclose(whole[i], layers['kernel'][i] + 1.5 * a @ b, rtol=1e-6, atol=1e-6)


class TwoLayers(nn.Module):
  """A linear network that may carry the factors as layers of its own: the paper's figure 1."""

  rank: int = 0

  @nn.compact
  def __call__(self, x):
    for name, size in (('one', 5), ('two', 3)):
      y = nn.Dense(size, name=name)(x)
      if self.rank:
        down = nn.Dense(self.rank, use_bias=False, name=f'{name}_a')(x)
        y += 4.0 / self.rank * nn.Dense(size, use_bias=False, name=f'{name}_b')(down)
      x = jnp.tanh(y)
    return x


@pytest.mark.slow
def test_merged_weights_and_gradients_are_those_of_a_parallel_path():
  x = jax.random.normal(jax.random.key(0), (8, 4))
  base = TwoLayers().init(jax.random.key(1), x)['params']
  factors = moved(lora.factors(jax.random.key(2), base, 2, ('.*/kernel',)))

  def merged(factors):
    return TwoLayers().apply({'params': lora.merge(base, factors, 4.0)}, x).sum()

  def unmerged(factors):
    own = {f'{n}_{f}': {'kernel': factors[n]['kernel'][f]} for n in factors for f in 'ab'}
    return TwoLayers(rank=2).apply({'params': base | own}, x).sum()

  value, grads = jax.value_and_grad(merged)(factors)
  expected, expected_grads = jax.value_and_grad(unmerged)(factors)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  chex.assert_trees_all_close(grads, expected_grads, rtol=1e-4, atol=1e-6)


def test_training_moves_the_factors_and_leaves_the_base_bit_for_bit():
  first, state, scalars = trained('jit')
  chex.assert_trees_all_equal(jax.device_get(state.extras['base']), first['base'])
  assert scalars['loss'] < 0.9
  assert all(np.abs(x).max() > 0 for x in jax.tree.leaves(state.params))
  target = state.extras['inner']['target']  # the wrapped refresh sees parameters, not factors
  assert jax.tree.structure(target) == jax.tree.structure(first['base'])
  chex.assert_trees_all_close(
    target, lora.merge(state.extras['base'], state.params['lora'], 8.0), rtol=1e-6
  )


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ['pmap', 'sharded'])
def test_every_strategy_gives_the_same_factors(strategy):
  _, expected, expected_scalars = trained('jit')
  _, state, scalars = trained(strategy)
  toy.assert_same(state.params, expected.params)
  toy.assert_same(state.extras, expected.extras)
  toy.assert_same(scalars, expected_scalars)


def test_an_average_over_it_averages_the_factors_and_is_used_merged():
  _, state, _ = trained('jit', lambda objective: with_ema(objective, 0.9), steps=3)
  chex.assert_trees_all_equal_shapes(state.extras['ema'], state.params)
  used = with_ema(adapted(), 0.9).variables(state.params, state.extras)
  base = state.extras['inner']['base']
  chex.assert_trees_all_equal(used['params'], lora.merge(base, state.extras['ema']['lora'], 8.0))


def test_it_predicts_by_the_merged_parameters():
  def predict(params, extras, batch):
    del extras
    return batch @ params['w']

  plain = Objective(
    lambda key, batch: ({'w': jnp.eye(3)}, {}), lambda *_: None, lambda *_: None, predict=predict
  )
  wrapped = lora.with_lora(plain, rank=1, alpha=2.0, targets=('w',))
  params, extras = wrapped.init(jax.random.key(0), jnp.ones((2, 3)))
  params = moved(params)
  out = wrapped.predict(params, extras, jnp.ones((2, 3)))
  factors = params['lora']['w']
  np.testing.assert_allclose(
    out[0], (jnp.eye(3) + 2 * factors['a'] @ factors['b']).sum(0), rtol=1e-5
  )
  assert adapted().predict is None


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'rank': 0}, 'rank must be at least 1, not 0'),
    ({'targets': ()}, 'targets must be a tuple of patterns, and not empty'),
    ({'targets': 'Dense_0/kernel'}, "got 'Dense_0/kernel'"),
    (
      {'targets': (*TARGETS, 'Dense_0/kernle')},
      "LoRA target pattern 'Dense_0/kernle' matches no parameter; the nearest is 'Dense_0/kernel'",
    ),
    ({'targets': ('.*/bias',)}, "LoRA target pattern '.*/bias' matches no parameter"),
    ({'rank': 4}, 'LoRA rank 4 is more than Dense_1/kernel, (16, 3), can have'),
  ],
)
def test_bad_input_is_named(options, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    adapted(**options).init(jax.random.key(0), batch())


def test_a_convolution_is_no_target():
  with pytest.raises(ValueError, match=re.escape('target w has the shape (3, 3, 4, 8)')):
    lora.factors(jax.random.key(0), {'w': jnp.zeros((3, 3, 4, 8))}, 2, ('.*',))


@pytest.mark.slow
def test_what_is_trained_in_full_is_no_target_and_takes_adopted_weights():
  plain = toy.objective()
  wrapped = lora.with_lora(plain, rank=2, alpha=8.0, targets=TARGETS, full=('Dense_1/.*',))
  params, extras = wrapped.init(jax.random.key(0), batch())
  base = extras['base']
  assert set(params['lora']) == {'Dense_0'}
  chex.assert_trees_all_equal(params['full'], {'Dense_1': base['Dense_1']})

  changed = jax.tree.map(lambda x: x + 1, params)
  used = wrapped.variables(changed, extras)['params']
  chex.assert_trees_all_equal(used['Dense_1'], jax.tree.map(lambda x: x + 1, base['Dense_1']))
  grads = jax.grad(lambda p: wrapped.loss(p, extras, batch(), jax.random.key(1))[0])(params)
  assert all(jnp.any(x != 0) for x in jax.tree.leaves(grads['full']))

  weights = jax.tree.map(lambda x: x * 2, base)
  adopted = wrapped.adopt(params, extras, {'params': weights})
  chex.assert_trees_all_equal(wrapped.variables(*adopted)['params'], weights)


def test_a_pattern_of_what_is_trained_in_full_that_matches_nothing_is_refused():
  wrapped = lora.with_lora(toy.objective(), rank=2, targets=TARGETS, full=('head/.*',))
  with pytest.raises(ValueError, match=re.escape("lora_full pattern 'head/.*' matches no")):
    wrapped.init(jax.random.key(0), batch())
