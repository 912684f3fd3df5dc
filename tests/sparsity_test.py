import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.optim import make_optimizer
from zoo.sparsity import prune_by_magnitude, share_pruned
from zoo.training import parallelize

PARAMS = {
  'a': {'kernel': jnp.array([[0.1, -2.0], [3.0, -0.4]]), 'bias': jnp.array([0.01, 0.0])},
  'b': {'kernel': jnp.linspace(-1.0, 1.0, 10).reshape(5, 2)},
}


def test_the_schedule_by_hand():
  steps = jnp.array([0, 10, 20, 30, 50, 90])
  # From 10 to 50: nothing, a quarter, half of the way; the rest is 0.75^3 and 0.5^3.
  expected = [0, 0, 0.8 * (1 - 0.421875), 0.8 * (1 - 0.125), 0.8, 0.8]
  np.testing.assert_allclose(share_pruned(steps, 0.8, 10, 50), expected, rtol=1e-6)


def test_the_smallest_go_and_never_come_back():
  tx = prune_by_magnitude(0.5, begin=1, end=1, patterns=('a/kernel',))
  state, params = tx.init(PARAMS), PARAMS
  grow = jax.tree.map(jnp.ones_like, PARAMS)
  updates, state = tx.update(grow, state, params)
  params = optax.apply_updates(params, updates)
  np.testing.assert_allclose(params['a']['kernel'], [[1.1, -1.0], [4.0, 0.6]], rtol=1e-6)
  updates, state = tx.update(grow, state, params)
  params = optax.apply_updates(params, updates)
  # Of 2.1, 0, 5 and 1.6, by what they would be after this update.
  np.testing.assert_allclose(params['a']['kernel'], [[2.1, 0.0], [5.0, 0.0]], rtol=1e-6)
  for _ in range(3):
    updates, state = tx.update(grow, state, params)
    params = optax.apply_updates(params, updates)
  np.testing.assert_array_equal(params['a']['kernel'] == 0, [[False, True], [False, True]])
  np.testing.assert_allclose(params['b']['kernel'], PARAMS['b']['kernel'] + 5, rtol=1e-6)
  np.testing.assert_allclose(params['a']['bias'], PARAMS['a']['bias'] + 5, rtol=1e-6)


def test_masks_stay_zero_through_training_with_momentum():
  options = {'momentum': 0.9, 'sparsity': 0.75, 'sparsity_end': 20, 'sparsity_every': 4}
  tx = make_optimizer('sgd', learning_rate=0.1, accumulate=2, **options)
  before = None
  for steps in (22, 44):
    _, state, _, _ = toy.trained(parallelize('jit', jax.devices()[:1]), tx, steps=steps)
    kernels = {k: v['kernel'] for k, v in state.params.items() if 'kernel' in v}
    for kernel in kernels.values():
      assert int((kernel == 0).sum()) == round(0.75 * kernel.size)
    pattern = jax.tree.map(lambda k: np.asarray(k == 0), kernels)
    if before is not None:
      chex.assert_trees_all_equal(pattern, before)
    before = pattern


def test_sparsity_grows_as_the_schedule_says():
  tx = prune_by_magnitude(0.8, begin=2, end=10, every=4, patterns=('b/kernel',))
  state, params, seen = tx.init(PARAMS), PARAMS, []
  still = jax.tree.map(jnp.zeros_like, PARAMS)
  for _ in range(13):
    updates, state = jax.jit(tx.update)(still, state, params)
    params = optax.apply_updates(params, updates)
    seen.append(int((params['b']['kernel'] == 0).sum()))
  # Masks change at 2, 6 and 10: 0, 0.8 (1 - 0.5^3) = 0.7 and 0.8 of ten weights.
  assert seen == [0] * 6 + [7] * 4 + [8] * 3


@pytest.mark.slow
def test_every_strategy_prunes_alike():
  tx = make_optimizer('sgd', learning_rate=0.3, sparsity=0.5, sparsity_end=10)
  results = {s: toy.trained(parallelize(s), tx)[1] for s in ('jit', 'pmap', 'sharded')}
  for strategy in ('pmap', 'sharded'):
    toy.assert_same(results[strategy].params, results['jit'].params)


def test_what_is_frozen_is_not_pruned():
  tx = make_optimizer('sgd', sparsity=0.5, sparsity_end=1, freeze=('b/.*',))
  state, params = tx.init(PARAMS), PARAMS
  for _ in range(3):
    updates, state = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), state, params)
    params = optax.apply_updates(params, updates)
  assert int((params['a']['kernel'] == 0).sum()) == 2
  chex.assert_trees_all_equal(params['b'], PARAMS['b'])


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'sparsity': 1.0, 'sparsity_end': 5}, r'sparsity must be in \[0, 1\), got 1.0'),
    ({'sparsity': 0.5, 'sparsity_begin': 9, 'sparsity_end': 5}, 'needs 0 <= begin <= end'),
    ({'sparsity': 0.5}, 'sparsity needs sparsity_end or total_steps'),
    (
      {'sparsity': 0.5, 'sparsity_end': 5, 'sparsity_patterns': ('c/.*',)},
      "sparsity pattern 'c/.*' matches no parameter",
    ),
  ],
)
def test_bad_options_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    make_optimizer('sgd', **options).init(PARAMS)
