import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.data import arrays
from zoo.training import build, parallelize

STRATEGIES = ('jit', 'pmap', 'sharded')


def test_the_test_machine_has_eight_devices():
  assert jax.device_count() == 8


@pytest.mark.parametrize(
  ('accumulate', 'steps_per_call'),
  [(4, 5)] + [pytest.param(*pair, marks=pytest.mark.slow) for pair in ((1, 1), (1, 5), (4, 1))],
)
def test_every_strategy_gives_the_same_parameters_with_batch_norm_and_accumulation(
  accumulate, steps_per_call
):
  tx = optax.sgd(0.3)  # Adam would hide a gradient that is eight times too large
  if accumulate > 1:
    tx = optax.MultiSteps(tx, accumulate).gradient_transformation()
  results = {s: toy.trained(parallelize(s), tx, steps_per_call=steps_per_call) for s in STRATEGIES}
  _, expected, expected_source, expected_scalars = results['jit']
  moved = optax.tree.norm(
    optax.tree.sub(expected.params, toy.trained(parallelize('jit'), tx, 5)[1].params)
  )
  assert moved > 0.01  # something was learned
  for strategy in ('pmap', 'sharded'):
    _, state, source_state, scalars = results[strategy]
    toy.assert_same(state.params, expected.params)
    toy.assert_same(state.extras, expected.extras)
    toy.assert_same(scalars, expected_scalars)
    chex.assert_trees_all_equal(
      *(s | {'key': jax.random.key_data(s['key'])} for s in (source_state, expected_source))
    )


@pytest.mark.parametrize(
  'mesh_shape',
  [{'data': 2, 'fsdp': 4}, pytest.param({'data': 4, 'tensor': 2}, marks=pytest.mark.slow)],
)
def test_rules_place_parameters_and_their_moments_and_change_nothing_else(mesh_shape):
  axis = 'fsdp' if 'fsdp' in mesh_shape else 'tensor'
  rules = ((r'.*Dense_0/kernel', (None, axis)),)
  parallel = parallelize('sharded', mesh_shape=mesh_shape, rules=rules)
  tx = optax.sgd(0.3, momentum=0.9)
  program, state, _, _ = toy.trained(parallel, tx)
  _, expected, _, _ = toy.trained(parallelize('jit'), tx)
  toy.assert_same(state.params, expected.params)
  kernel = state.params['Dense_0']['kernel']
  share = kernel.addressable_shards[0].data.shape
  assert share == (6, 16 // mesh_shape[axis])
  placed = [p.sharding.spec for p in jax.tree.leaves(program.state.opt_state) if p.sharding.spec]
  assert placed == [jax.sharding.PartitionSpec(None, axis)]  # the kernel's momentum
  assert state.params['Dense_1']['kernel'].sharding.is_fully_replicated


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_state_is_donated_and_never_grows_a_device_axis(strategy):
  parallel = parallelize(strategy)
  source = arrays.epochs(toy.data(100), 16)
  program = build(toy.objective(parallel.axis_name), optax.sgd(0.1), source, parallel)
  state, source_state = program.init(jax.random.key(0))
  after, _, _ = program.step(state, source_state, program.data)
  assert state.params['Dense_0']['kernel'].is_deleted()
  assert after.params['Dense_0']['kernel'].shape == (6, 16)


def test_put_then_merge_is_the_identity_under_every_strategy():
  tree = {'a': np.arange(48).reshape(16, 3), 'n': np.int32(5)}
  for strategy in STRATEGIES:
    parallel = parallelize(strategy)
    placement = parallel.split(tree)
    placed = parallel.put(tree, placement)
    chex.assert_trees_all_equal(parallel.merge(placed, placement), tree)


def test_auto_is_jit_on_one_device_and_pmap_on_several():
  assert parallelize('auto').strategy == 'pmap'
  assert parallelize('auto', jax.devices()[:1]).strategy == 'jit'


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda: parallelize('pmapp'), "unknown strategy 'pmapp'; did you mean 'pmap'?"),
    (lambda: parallelize('sharded', mesh_shape={'data': 3}), 'needs 3 devices, not 8'),
    (lambda: parallelize('jit', rules=(('.*', ('data',)),)), 'not under jit'),
    (
      lambda: parallelize('pmap').split({'x': jnp.zeros((12, 2))}),
      'batch of 12 cannot be divided among 8',
    ),
  ],
)
def test_bad_input_is_named(call, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    call()
