"""Learning from what was just done: targets by hand, how often each is learnt, and strategies."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.data.interaction_test import plain, probe
from tests.training.toy import assert_same
from zoo.data.envs import make_environment
from zoo.data.experience import Epsilon
from zoo.data.on_policy import load_rollouts
from zoo.data.rollouts import rollouts
from zoo.models.qnetwork import QNetwork
from zoo.objectives import pqn, values
from zoo.training import build, parallelize, run


def by_observation(params, seen, key=None):
  """A state is worth its number."""
  return jnp.concatenate([seen, seen - 1], axis=1)


@pytest.mark.parametrize(
  ('truncated', 'want'), [(False, [2.0625, 3.25, 3]), (True, [2.15625, 3.625, 4.5])]
)
def test_targets_by_hand_go_on_where_an_episode_was_cut_off_and_only_there(truncated, want):
  """Three steps earn 1, 2 and 3; discount and lambda are a half, states 1, 2, 3 worth as much."""
  last = lambda s: s[0] == 2
  environment = probe(lambda s, a, k: (s + 1, s[0] + 1, last(s) & (not truncated), last(s)))
  source = rollouts(
    environment,
    by_observation,
    num_envs=1,
    steps=4,
    minibatches=1,
    epochs=1,
    discount=0.5,
    trace=0.5,
    epsilon=Epsilon(0, 0),
  )
  _, batch = jax.jit(source.next)(source.init(jax.random.key(0)), (), ())
  order = np.argsort(batch['s_tm1'][:, 0])
  np.testing.assert_array_equal(batch['s_tm1'][order, 0], [0, 1, 2, 3])
  np.testing.assert_array_equal(batch['weight'][order], [1, 1, 1, 0])  # the end was only seen
  np.testing.assert_allclose(batch['target'][order][:3], want)
  np.testing.assert_array_equal(batch['a_tm1'], 0)


def make(axis_name=None, **options) -> Any:
  module = QNetwork(widths=(4,), num_actions=3, norm='layer')
  options = {'num_envs': 8, 'steps': 6, 'minibatches': 3, 'epochs': 2, 'parts': 8} | options
  source = rollouts(
    make_environment('Catch'),
    values(module),
    discount=0.9,
    trace=0.5,
    epsilon=Epsilon(1, 0.5, 100),
    **options,
  )
  return module, pqn(module, num_actions=3, axis_name=axis_name), source


def test_every_step_is_learnt_once_an_epoch_in_another_order_and_then_new_ones_are_made():
  module, _, source = make(parts=2)
  params = module.init(jax.random.key(0), jnp.zeros((1, 10, 5, 1)), train=False)['params']
  next_batch = jax.jit(lambda state: source.next(state, params, ()))
  state, batches = jax.jit(source.init)(jax.random.key(3)), []
  for _ in range(7):
    state, batch = next_batch(state)
    batches.append(batch['target'])
    if len(batches) == 6:
      made = state['rollout']['target']
      assert state['time'] == 6
  epochs = [np.concatenate(batches[:3]), np.concatenate(batches[3:6])]
  for epoch in epochs:
    np.testing.assert_array_equal(np.sort(epoch), np.sort(made.ravel()))
  assert (epochs[0] != epochs[1]).any()
  assert state['time'] == 12
  assert (state['rollout']['target'] != made).any()
  assert next_batch._cache_size() == 1


@pytest.mark.slow
def test_every_strategy_acts_and_learns_alike():
  ends = []
  for strategy in ('jit', 'pmap', 'sharded'):
    parallel = parallelize(strategy)
    _, objective, source = make(parallel.axis_name)
    program = build(objective, optax.sgd(0.1), source, parallel, steps_per_call=4)
    state, source_state = program.init(jax.random.key(0))
    for state, source_state, _ in run(
      program, source, state, source_state, steps=8, steps_per_call=4
    ):
      pass
    ends.append((state.params, plain(program.merge_source(source_state))))
  for params, source_state in ends[1:]:
    assert_same(params, ends[0][0])
    for name in ('environment', 'observation', 'ended', 'time', 'made', 'key', 'lane', 'part'):
      chex.assert_trees_all_equal(source_state[name], ends[0][1][name])
    assert_same(source_state['rollout'], ends[0][1]['rollout'])


def test_the_loss_is_the_mean_square_of_what_counts():
  module, objective, _ = make()
  seen = jax.random.uniform(jax.random.key(1), (3, 10, 5, 1))
  batch = {'s_tm1': seen, 'a_tm1': jnp.array([0, 2, 1])}
  batch |= {'target': jnp.array([1.0, -1, 50]), 'weight': jnp.array([1.0, 1, 0])}
  params, extras = objective.init(jax.random.key(0), batch)
  assert 'LayerNorm_0' in params and not extras
  q = values(module)(params, seen)
  want = ((q[0, 0] - 1) ** 2 + (q[1, 2] + 1) ** 2) / 4
  value, (_, scalars) = objective.loss(params, extras, batch, jax.random.key(2))
  assert value == pytest.approx(float(want), rel=1e-5) and scalars['loss'] == value
  with pytest.raises(ValueError, match=r"config\.model\.head must be 'scalar', not 'qr'"):
    pqn(module.clone(head='qr'), num_actions=3)
  with pytest.raises(ValueError, match='the network values 3 actions, but there are 2'):
    pqn(module, num_actions=2)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'steps': 0}, r'config\.data\.steps must be at least 1, not 0'),
    ({'trace': 1.5}, r'config\.data\.trace must be in \[0, 1\], not 1\.5'),
    ({'stack': 2}, r'config\.data\.stack: observations of CartPole-v1 have no axis'),
    ({'name': 'gymnasium:CartPole-v1'}, 'gymnasium:CartPole-v1 runs on the host'),
    ({'num_envs': 4, 'steps': 4, 'minibatches': 3}, 'cannot be divided into minibatches=3'),
  ],
)
def test_numbers_that_do_not_fit_are_named(options, message):
  with pytest.raises(ValueError, match=message):
    load_rollouts(**options)
