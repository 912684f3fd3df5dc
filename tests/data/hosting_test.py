"""Acting on the host: the same as on the device; what is lost with environments, and what not."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training.toy import assert_same
from zoo.data import interactive, replay
from zoo.data.environment import Environment, Transition, advance, with_time_limit
from zoo.data.envs import make_environment
from zoo.data.experience import Epsilon, Prioritized, words
from zoo.data.hosted import CrashError, HostEnvironment, Step, Vector
from zoo.data.hosting import episodes_on_host, interact_on_host
from zoo.data.interaction import interact
from zoo.models.qnetwork import QNetwork
from zoo.objectives import dqn, values
from zoo.training import build, parallelize, run
from zoo.training.checkpoint import Checkpoints

KEY, PARTS = jax.random.key(3), 2


def limited(name: str, steps: int):
  return with_time_limit(make_environment(name)._replace(max_steps=steps))


def wander() -> Environment:
  """A walk that ends by chance or after 8 steps; of whole numbers, which all programs agree on."""

  def reset(key):
    seen = jax.random.randint(key, (2, 2, 1), 0, 99).astype(jnp.uint8)
    return seen, seen

  def step(seen, action, key):
    seen = seen + action.astype(jnp.uint8)
    terminated = jax.random.bernoulli(key, 0.1)
    reward = jnp.float32(seen[0, 0, 0] % 5) - 2
    return Transition(seen, seen, reward, terminated, jnp.zeros((), bool))

  frame = jax.ShapeDtypeStruct((2, 2, 1), jnp.uint8)
  return with_time_limit(Environment('wander', 3, frame, 8, reset, step))


def hosted(inner, key=KEY, fail=lambda vector, step: None, made=None) -> HostEnvironment:
  """A device environment as one on the host, that draws what a source with this key draws."""
  made = [] if made is None else made

  def make(count: int, learning: bool) -> Vector:
    start_key, own = jax.random.split(key)
    lane = jnp.arange(count)
    keys = lambda key, n: jax.vmap(jax.random.fold_in, (None, 0))(key, n)
    reset = jax.jit(lambda: jax.vmap(inner.reset)(keys(start_key, lane)))
    now: dict[str, Any] = {'time': 0, 'ended': np.zeros(count, bool)}
    made.append(now)

    @jax.jit
    def move(state, ended, action, time):
      step_keys = words(keys(own, time * (count + PARTS) + lane), 2)[1]
      step = jax.vmap(lambda *args: advance(inner, *args))
      return step(state, ended, action, step_keys)

    def start(seed: int) -> np.ndarray:
      now['seed'] = seed
      now['state'], frames = reset()
      return np.asarray(frames)

    def step(action: np.ndarray) -> Step:
      fail(len(made), now['time'])
      after = move(now['state'], now['ended'], action, now['time'])
      now.update(state=after.state, time=now['time'] + 1)
      now['ended'] = over = np.asarray(after.terminated | after.truncated)
      seen, reward, terminated = map(
        np.asarray, (after.observation, after.reward, after.terminated)
      )
      return Step(seen, reward, terminated, over)

    return Vector(start, step, lambda: now.update(closed=True))

  return HostEnvironment('hosted', inner.num_actions, inner.observation, inner.max_steps, make)


def options_of(actions: int, **options) -> dict[str, Any]:
  return {
    'policy': values(QNetwork(widths=(4,), num_actions=actions)),
    'num_envs': 4,
    'batch_size': 16,
    'frames_per_batch': 3,
    'warmup': 20,
    'epsilon': Epsilon(1.0, 0.1, 200),
    'parts': PARTS,
  } | options


def params_for(inner, stack: int = 1):
  seen = (*inner.observation.shape[:-1], stack * inner.observation.shape[-1])
  module = QNetwork(widths=(4,), num_actions=inner.num_actions)
  return module.init(jax.random.key(0), jnp.zeros((1, *seen)), train=False)['params']


@pytest.mark.parametrize(
  ('stack', 'prioritized'), [(1, False), pytest.param(3, True, marks=pytest.mark.slow)]
)
def test_batches_are_those_of_the_device_bit_for_bit(stack, prioritized):
  """Some episodes terminate, others are cut off; the ring is written more than once around."""
  inner = wander()
  options = options_of(inner.num_actions, layout=replay.Layout(40, 2, 0.9, stack))
  options |= {'prioritized': Prioritized(steps=300) if prioritized else None, 'clip_rewards': True}
  device, host = interact(inner, **options), interact_on_host(hosted(inner), **options)
  assert host.spec == device.spec
  params, step = params_for(inner, stack), jax.jit(device.next)
  there, here = jax.jit(device.init)(KEY), host.init(KEY)
  for _ in range(12):
    there, want = step(there, params, ())
    here, batch = host.next(here, params, ())
    chex.assert_trees_all_equal(jax.device_get(batch), jax.device_get(want))
  reward, terminated, ended = np.moveaxis(np.asarray(here['replay']['fact'])[..., 1:4], -1, 0)
  assert terminated.any() and (ended > terminated).any()
  assert set(reward.ravel()) == {-1, 0, 1}
  for leaf in ('time', 'observation', 'ended', 'replay'):
    chex.assert_trees_all_equal(jax.device_get(here[leaf]), jax.device_get(there[leaf]))


def test_what_was_saved_goes_on_exactly_and_episodes_start_anew(tmp_path):
  """The last observation ends its episode, cut off; all before it is as it was."""
  inner, made = limited('CartPole-v1', 15), []
  layout, device = replay.Layout(40, 3, 0.9), jax.devices()[1]
  options = options_of(2, layout=layout, device=device, prioritized=Prioritized())
  source = interact_on_host(hosted(inner, made=made), **options)
  objective = dqn(QNetwork(widths=(4,)), num_actions=2)
  program = build(objective, optax.adam(1e-3), source, parallelize('jit'))
  assert not made  # to know what a checkpoint holds takes no environment
  state, source_state = program.init(KEY)
  for state, source_state, _ in run(program, source, state, source_state, steps=5):
    pass
  saved = jax.device_get((state.params, source_state['replay'], source_state['observation']))
  T = int(source_state['time'])
  assert T == 20 + 5 * 3 and len(made) == 1
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(5, state, source_state)
    checkpoints.wait()
    ends = []
    for _ in range(2):
      _, state, source_state, _ = checkpoints.restore(*program.abstract)
      assert source_state['replay']['frame'].devices() == {device}
      chex.assert_trees_all_equal(jax.device_get((state.params, source_state['replay'])), saved[:2])
      again = interact_on_host(hosted(inner, made=made), **options)
      with pytest.warns(UserWarning, match='hosted: .* episodes start anew at frame 35'):
        source_state, batch = again.next(program.place_source(source_state), state.params, ())
      ends.append(jax.device_get((batch, source_state['replay'], source_state['tree'])))
  chex.assert_trees_all_equal(*ends)
  assert made[1]['seed'] == made[2]['seed'] != made[0]['seed']

  now, before, at = ends[0][1], saved[1], replay.FACTS.index
  rest = [i for i in range(40) if i not in (T - 1, T, T + 1, T + 2)]
  chex.assert_trees_all_equal(
    jax.tree.map(lambda x: x[:, rest], now), jax.tree.map(lambda x: x[:, rest], before)
  )
  np.testing.assert_array_equal(now['frame'][:, T], saved[2])
  np.testing.assert_array_equal(now['fact'][:, T, at('dead')], 1)
  np.testing.assert_array_equal(now['fact'][:, T - 1, at('ended')], 1)
  kept = [at(name) for name in ('action', 'reward', 'terminated', 'dead')]
  np.testing.assert_array_equal(now['fact'][:, T - 1, kept], before['fact'][:, T - 1, kept])
  np.testing.assert_array_equal(now['frame'][:, T + 1], jax.device_get(first_frames(inner)))
  lanes = np.flatnonzero(before['fact'][:, T - 2 :, [at('dead'), at('ended')]].sum((1, 2)) == 0)
  assert len(lanes)
  when = jnp.full(len(lanes), T - 1)
  read = jax.device_get(replay.read(layout, jax.device_put(now), jnp.asarray(lanes), when))
  np.testing.assert_array_equal(read['s_t'], saved[2][lanes])
  np.testing.assert_allclose(read['discount_t'], 0.9, rtol=1e-6)  # worth what it is taken for


def first_frames(inner):
  keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.split(KEY)[0], jnp.arange(4))
  return jax.vmap(inner.reset)(keys)[1]


def test_a_crash_starts_episodes_anew_and_a_second_one_in_a_row_ends_the_run():
  inner, made = limited('CartPole-v1', 15), []
  options = options_of(2, layout=replay.Layout(200))
  params = params_for(inner)

  def fail(vector, step):
    if (vector, step) in ((1, 30), (2, 10), (3, 0)):
      raise EOFError('a worker\nis gone')

  source = interact_on_host(hosted(inner, fail=fail, made=made), **options)
  state = source.init(KEY)
  for _ in range(3):
    state, _ = source.next(state, params, ())
  with pytest.warns(
    UserWarning, match=r'^hosted crashed at frame 30: EOFError: a worker; its environ'
  ):
    for _ in range(2):
      state, _ = source.next(state, params, ())
  assert int(state['time']) == 20 + 5 * 3 and made[0]['closed'] and len(made) == 2
  facts = jax.device_get(state['replay']['fact'])
  assert facts[:, 30, replay.FACTS.index('dead')].all()
  assert facts[:, 29, replay.FACTS.index('ended')].all()
  with (
    pytest.warns(UserWarning, match='crashed at frame 41'),
    pytest.raises(
      CrashError, match=r'^hosted crashed at frame 42: .*; for the second time in a row$'
    ),
  ):
    for _ in range(4):
      state, _ = source.next(state, params, ())


def test_environments_that_do_not_start_are_tried_twice():
  def make(count, learning):
    raise OSError('no room')

  inner = make_environment('Catch')
  environment = HostEnvironment('broken', 3, inner.observation, 9, make)
  source = interact_on_host(environment, **options_of(3, layout=replay.Layout(40)))
  with (
    pytest.warns(UserWarning, match='broken does not start: OSError: no room'),
    pytest.raises(CrashError, match=r'broken does not start: .* second time'),
  ):
    source.next(source.init(KEY), params_for(inner), ())


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ['pmap', 'sharded'])
def test_batches_are_split_over_devices(strategy):
  """The replay is on one of them; parameters are those of one device, by plain SGD."""

  def trained(strategy):
    inner, parallel = limited('CartPole-v1', 15), parallelize(strategy)
    options = options_of(2, layout=replay.Layout(100), prioritized=Prioritized())
    source = interact_on_host(hosted(inner), **options)
    objective = dqn(QNetwork(widths=(4,)), num_actions=2, axis_name=parallel.axis_name)
    program = build(objective, optax.sgd(0.1), source, parallel)
    for state, _, _ in run(program, source, *program.init(KEY), steps=5):
      pass
    return state.params

  assert_same(trained(strategy), trained('jit'))


def test_episodes_are_judged_by_themselves_and_the_same_each_time():
  inner, made = limited('CartPole-v1', 15), []
  left = lambda params, seen, key=None: jnp.stack([seen[:, 2] * 0 + 1, seen[:, 2] * 0], -1)
  source = episodes_on_host(hosted(inner, made=made), left, 6, draw=1)
  _, batch = source.next(source.init(KEY), {'w': jnp.zeros(1)}, ())
  assert 5 < batch['length'].mean() < 12  # it falls over
  np.testing.assert_array_equal(batch['return'], batch['length'])
  chex.assert_trees_all_equal(source.next(source.init(KEY), {'w': jnp.zeros(1)}, ())[1], batch)
  assert all(now['closed'] for now in made) and made[0]['seed'] == made[1]['seed']
  other = episodes_on_host(hosted(inner), left, 6, draw=1, epsilon=0.9)
  _, random = other.next(other.init(KEY), {'w': jnp.zeros(1)}, ())
  assert (random['length'] != batch['length']).any()


def test_a_replay_that_does_not_fit_may_fit_the_host(monkeypatch):
  pytest.importorskip('gymnasium')
  monkeypatch.setattr(interactive, 'device_memory', lambda devices: 1000 * len(devices))
  load = lambda name, **options: interactive.load_environment(name, replay_size=1000, **options)
  with pytest.raises(
    ValueError, match=r'takes 36,000 bytes; .* 1,000 on the device; try --config\.'
  ):
    load('gymnasium:CartPole-v1')
  with pytest.raises(ValueError, match=r'there are 1,000 on the host$'):
    load('gymnasium:CartPole-v1', replay='host')
  with pytest.raises(ValueError, match=r'there are 8,000 on the device$'):
    load('CartPole-v1')
  with pytest.raises(
    ValueError, match="replay='host' is for environments on the host, and Catch is"
  ):
    load('Catch', replay='host')
  with pytest.raises(ValueError, match=r"config\.data\.replay 'hosts'; did you mean 'host'\?"):
    load('Catch', replay='hosts')
