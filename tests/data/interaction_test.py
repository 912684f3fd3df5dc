"""Sources that act: what is learnt from probes, what is drawn, and how the work is spread."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.toy import assert_same
from zoo.data import replay
from zoo.data.environment import Environment, Transition, with_stack
from zoo.data.envs import make_environment
from zoo.data.experience import Epsilon, Prioritized
from zoo.data.interaction import episodes, interact
from zoo.models.qnetwork import QNetwork
from zoo.objectives import dqn, values
from zoo.training import build, parallelize, run, train

NO, YES = jnp.zeros((), bool), jnp.ones((), bool)


def probe(step, reset=lambda key: jnp.zeros(1), actions=2) -> Environment:
  """An environment whose state is its observation; `step` gives all but the state."""

  def whole(state, action, key):
    seen, reward, terminated, truncated = step(state, action, key)
    return Transition(seen, seen, jnp.asarray(reward, jnp.float32), terminated, truncated)

  shape = jax.ShapeDtypeStruct((1,), jnp.float32)
  return Environment('probe', actions, shape, 10, lambda key: (reset(key),) * 2, whole)


def sign(key):
  return jax.random.choice(key, jnp.array([-1.0, 1.0]), (1,))


# Each is decided by one thing: environment, discount, observations, and their values [., A].
PROBES = {
  'constant': (probe(lambda s, a, k: (s, 1.0, YES, NO)), 0.5, [[0]], [[1, 1]]),
  'observation': (
    probe(lambda s, a, k: (s, s[0], YES, NO), sign),
    0.5,
    [[-1], [1]],
    [[-1, -1], [1, 1]],
  ),
  'delay': (
    probe(lambda s, a, k: (s + 1, s[0], s[0] == 1, NO)),
    0.5,
    [[0], [1]],
    [[0.5, 0.5], [1, 1]],
  ),
  'action': (probe(lambda s, a, k: (s, 2.0 * a - 1, YES, NO)), 0.5, [[0]], [[-1, 1]]),
  # Broken code takes what was cut off for worth nothing, and says 1.
  'truncation': (probe(lambda s, a, k: (s, 1.0, NO, YES)), 0.99, [[0]], [[100, 100]]),
}


@pytest.mark.parametrize(
  'name', ['truncation', *(pytest.param(n, marks=pytest.mark.slow) for n in list(PROBES)[:-1])]
)
def test_probes(name):
  environment, discount, seen, want = PROBES[name]
  module = QNetwork(widths=(16,))
  source = interact(
    environment,
    values(module),
    replay.Layout(64, discount=discount),
    num_envs=4,
    batch_size=32,
    warmup=32,
    epsilon=Epsilon(1.0, 1.0),
  )
  objective = dqn(module, num_actions=2, huber_delta=0.0)
  # Where all that is seen is 0, values are the last biases, and half of the errors move each.
  tx = optax.sgd(0.9) if name == 'truncation' else optax.adam(1e-2)
  ((state, _, _),) = train(objective, tx, source, steps=2000, steps_per_call=2000)
  q = values(module)(state.params, jnp.array(seen, jnp.float32))
  np.testing.assert_allclose(q, want, rtol=0.02, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize('n_step', [1, 3])
def test_truncation_within_several_steps_and_by_priority(n_step):
  """Three steps an episode, cut off: worth 1 / (1 - discount) wherever they are."""
  environment = probe(lambda s, a, k: ((s + 1) % 3, 1.0, NO, s[0] == 2))
  module = QNetwork(widths=(32,))
  source = interact(
    environment,
    values(module),
    replay.Layout(64, n_step, discount=0.9),
    num_envs=4,
    batch_size=32,
    warmup=32,
    epsilon=Epsilon(),
    prioritized=Prioritized(steps=1000),
  )
  objective = dqn(module, num_actions=2, target_every=10)
  tx = optax.adam(3e-3)
  ((state, _, _),) = train(objective, tx, source, steps=6000, steps_per_call=6000)
  q = values(module)(state.params, jnp.arange(3.0)[:, None])
  np.testing.assert_allclose(q, 10, rtol=0.05)


def make(environment='Catch', stack=1, prioritized=False, capacity=12, **options) -> Any:
  module = QNetwork(widths=(4,), num_actions=3)
  layout = replay.Layout(capacity, 2, 0.9, stack)
  options = {'num_envs': 8, 'batch_size': 16, 'warmup': 10, 'parts': 8} | options
  source = interact(
    make_environment(environment),
    values(module),
    layout,
    prioritized=Prioritized() if prioritized else None,
    epsilon=Epsilon(1.0, 0.1, 200),
    **options,
  )
  return module, dqn(module, num_actions=3), source, layout


@pytest.mark.parametrize('stack', [1, pytest.param(3, marks=pytest.mark.slow)])
def test_what_is_drawn_is_what_was_seen(stack):
  """Boards of Catch tell their own time: the ball falls by a row at every step."""
  module, _, source, _ = make(stack=stack, parts=2, prioritized=stack > 1, capacity=24)
  params = module.init(jax.random.key(0), jnp.zeros((1, 10, 5, stack)), train=False)['params']

  @jax.jit
  def draw():
    draws = lambda state, _: source.next(state, params, ())
    return jax.lax.scan(draws, source.init(jax.random.key(1)), length=30)

  state, batch = jax.device_get(draw())
  assert state['time'] == 40
  b = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
  kept = b['weight'] > 0
  assert kept.all() if stack > 1 else 0.8 < kept.mean() < 1
  b = jax.tree.map(lambda x: x[kept], b)
  row = lambda boards: (
    boards[..., -1][:, :9].max(2).argmax(1) * 1 + 9 * (boards[..., -1][:, :9].max((1, 2)) == 0)
  )
  before, after = row(b['s_tm1']), row(b['s_t'])
  caught = after == 9  # no ball above the last row
  np.testing.assert_array_equal(after[~caught], before[~caught] + 2)
  np.testing.assert_allclose(b['discount_t'], np.where(caught, 0, 0.81), rtol=1e-6)
  assert set(before[caught]) == {7, 8}
  size = np.where(before == 8, 1, np.float32(0.9))[caught]
  np.testing.assert_allclose(np.abs(b['r_t'][caught]), size, rtol=1e-6)
  assert not b['r_t'][~caught].any()
  if stack > 1:
    for k in range(stack):  # frames before the start of an episode are empty
      earlier = before >= k
      balls = b['s_tm1'][..., -1 - k][:, :9]
      np.testing.assert_array_equal(balls[earlier].max(2).argmax(1), before[earlier] - k)
      assert not balls[~earlier].any()


def test_priorities_are_positive_exactly_where_something_can_be_read():
  module, _, source, layout = make(prioritized=True, parts=2)
  params = module.init(jax.random.key(0), jnp.zeros((1, 10, 5, 1)), train=False)['params']
  after = jax.jit(lambda s: source.next(s, params, ()))
  state = jax.jit(source.init)(jax.random.key(1))
  for _ in range(5):
    state, batch = jax.device_get(after(state))
    first, count = replay.readable(layout, state['time'])
    leaves = state['tree'][0][:, : 4 * 12].reshape(8, 12)
    times = np.arange(int(first), int(first + count)) % 12
    live = np.zeros((8, 12), bool)
    live[:, times] = state['replay']['fact'][:, times, replay.FACTS.index('dead')] == 0
    np.testing.assert_array_equal(leaves > 0, live)
    assert batch['weight'].all() and (batch['importance'] > 0).all()


def test_the_share_of_random_actions_falls_in_a_line_with_steps():
  epsilon = Epsilon(1.0, 0.1, 1000)
  found = [float(epsilon.at(jnp.int32(n))) for n in (0, 500, 1000, 5000)]
  np.testing.assert_allclose(found, [1, 0.55, 0.1, 0.1], rtol=1e-6)


def trained(strategy: str, steps: int = 6, **options) -> Any:
  source = make(prioritized=True, **options)[2]
  parallel = parallelize(strategy)
  program = build(
    objective_for(parallel.axis_name), optax.sgd(0.1), source, parallel, steps_per_call=3
  )
  state, source_state = program.init(jax.random.key(0))
  for state, source_state, scalars in run(
    program, source, state, source_state, steps=steps, steps_per_call=3
  ):
    pass
  return state, program.merge_source(source_state), scalars


def objective_for(axis_name):
  return dqn(QNetwork(widths=(4,), num_actions=3), num_actions=3, axis_name=axis_name)


def plain(tree):
  """Typed keys as numbers."""
  is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return jax.device_get(jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree))


@pytest.mark.slow
def test_every_strategy_acts_stores_draws_and_learns_alike():
  state, source_state, scalars = trained('jit')
  for strategy in ('pmap', 'sharded'):
    other, other_source, other_scalars = trained(strategy)
    assert_same(other.params, state.params)
    assert_same(other.extras, state.extras)
    assert_same(other_scalars, scalars)
    for name in ('environment', 'observation', 'ended', 'replay', 'time', 'key', 'lane', 'part'):
      chex.assert_trees_all_equal(plain(other_source[name]), plain(source_state[name]))
    assert_same(other_source['tree'], source_state['tree'])


@pytest.mark.slow
def test_going_on_from_a_copy_is_going_on():
  """Replay, priorities, environments and the share of random actions: bit for bit."""
  _, objective, source, _ = make(prioritized=True, parts=2)
  program = build(objective, optax.adam(0.01), source, parallelize('jit'))
  state, source_state = program.init(jax.random.key(0))
  for _ in range(3):
    state, source_state, _ = program.step(state, source_state, ())
  copies = jax.tree.map(jnp.copy, (state, source_state))
  ends = []
  for state, source_state in ((state, source_state), copies):
    for _ in range(3):
      state, source_state, _ = program.step(state, source_state, ())
    ends.append(plain((state, source_state)))
  chex.assert_trees_all_equal(*ends)
  assert program.step._cache_size() == 1  # compiled once


@pytest.mark.parametrize('prioritized', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_step_copies_no_ring(prioritized):
  _, objective, source, _ = make(prioritized=prioritized, capacity=1000, parts=2)
  program = build(objective, optax.sgd(0.1), source, parallelize('jit'), steps_per_call=5)
  states = jax.eval_shape(program.init, jax.eval_shape(lambda: jax.random.key(0)))
  text = program.step.lower(*states, ()).compile().as_text()
  assert 'dynamic-update-slice' in text
  copied = re.findall(r'= \S*\[8,1000,\S* copy\(', text)
  assert not copied


def test_episodes_are_played_greedily_and_are_the_same_each_time():
  environment = with_stack(make_environment('Catch'), 2)
  left = lambda params, seen, key=None: -jnp.arange(3.0)[None] + params
  source = episodes(environment, left, 40, draw=1)
  state = source.init(jax.random.key(0))
  _, batch = jax.jit(source.next)(state, jnp.zeros(()), ())
  caught = np.mean(np.asarray(batch['return']) == 1)
  assert set(np.asarray(batch['return'])) == {-1, 1}
  assert 0.05 < caught < 0.45  # the ball is in the leftmost of five columns
  np.testing.assert_array_equal(batch['length'], 9)


def test_numbers_that_do_not_fit_are_named():
  with pytest.raises(ValueError, match='num_envs=6 cannot be in 4 parts'):
    make(num_envs=6, parts=4)
  with pytest.raises(ValueError, match='a warm-up of 13 frames'):
    make(warmup=13)
  with pytest.raises(ValueError, match='a replay of 3 frames per environment is too small'):
    make(capacity=3)
