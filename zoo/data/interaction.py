"""Sources that act: many environments and a replay to learn from, whole episodes to judge by."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo.data import priorities, replay
from zoo.data.environment import Environment, advance, play, with_stack
from zoo.types import Array, Batch, PyTree, Source

Policy = Callable[..., Array]  # (params, observations, key=None) -> values [B, A]
SMALLEST = 1e-6  # added to errors: what was learnt perfectly may be drawn again


class Epsilon(NamedTuple):
  """How often an action is drawn at random: from `start` to `end` in `steps` environment steps."""

  start: float = 1.0
  end: float = 0.05
  steps: int = 10_000

  def at(self, steps: Array) -> Array:
    return self.start + (self.end - self.start) * jnp.clip(steps / self.steps, 0, 1)


class Prioritized(NamedTuple):
  """Transitions are drawn by their errors.

  Attributes:
    exponent: of the error: 0 for all alike, 1 in proportion.
    start: the exponent of importance weights in the beginning.
    steps: environment steps until it is 1; 0 for never.
  """

  exponent: float = 0.6
  start: float = 0.4
  steps: int = 0


def interact(
  environment: Environment,
  policy: Policy,
  layout: replay.Layout,
  *,
  num_envs: int,
  batch_size: int,
  frames_per_batch: int = 1,
  warmup: int = 100,
  epsilon: Epsilon,
  prioritized: Prioritized | None = None,
  parts: int = 1,
) -> Source:
  """An endless source: acts in environments with the current parameters, stores, and samples.

  `init` fills the replay by acting at random. `next` acts in all environments, greedily but for a
  share of random actions, and then draws a batch from what it has stored. Everything random comes
  from one key, the count of frames, and the number of an environment or of a part: not from how the
  work is spread.

  The state leads with environments, or parts: environments and replay are in equal parts that share
  nothing, from each of which an equal share of the batch is drawn, so that a device holds some of
  them. It is {key, time: int32 [], frames each environment has given; lane: int32 [num_envs];
  environment, observation, ended: [num_envs, ...], where it is; replay: [num_envs, capacity, ...];
  part: int32 [parts]; and of prioritised replay tree, most: [parts, ...]}.

  Priorities are the errors of the parameters alone (|r + discount * max q_t - q_tm1|, both by
  the parameters that act), as a source knows no target network; found when a batch is drawn.

  Args:
    environment: observations as they are stored; `layout.stack` of them are seen at once.
    policy: (params, observations, key) -> values [B, A]. The key is for noise, the same for all.
    layout: of the replay.
    num_envs: environments.
    batch_size: transitions in a batch.
    frames_per_batch: steps of every environment between two batches.
    warmup: frames that `init` makes, of every environment.
    epsilon: share of random actions.
    prioritized: how to draw by priorities; all alike if None.
    parts: see above; a multiple of the number of devices.

  Raises:
    ValueError: numbers that do not fit each other; one line.
  """
  for what, number in (('num_envs', num_envs), ('batch_size', batch_size)):
    if number % parts:
      raise ValueError(f'{what}={number} cannot be in {parts} parts')
  if not layout.n_step + layout.stack < layout.capacity:
    raise ValueError(
      f'a replay of {layout.capacity} frames per environment is too small for n_step='
      f'{layout.n_step} and stack={layout.stack}'
    )
  if not layout.n_step < warmup <= layout.capacity:
    raise ValueError(
      f'a warm-up of {warmup} frames per environment must be above n_step={layout.n_step}, and at '
      f'most the {layout.capacity} that the replay holds'
    )
  frame, A = environment.observation, environment.num_actions
  if layout.stack > 1:
    environment = with_stack(environment, layout.stack)
  lanes, share, C = num_envs // parts, batch_size // parts, layout.capacity

  def keys_of(key: Array, time: Array, number: Array) -> Array:
    """A key for each environment, or part behind them, at a time: as one count of all."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, time * (num_envs + parts) + number)

  def init(key: Array) -> PyTree:
    start_key, key = jax.random.split(key)
    lane = jnp.arange(num_envs, dtype=jnp.int32)
    inner, observation = jax.vmap(environment.reset)(keys_of(start_key, jnp.int32(0), lane))
    state = {
      'key': key,
      'time': jnp.zeros((), jnp.int32),
      'lane': lane,
      'part': jnp.arange(parts, dtype=jnp.int32),
      'environment': inner,
      'observation': observation,
      'ended': jnp.zeros(num_envs, bool),
      'replay': replay.init(layout, num_envs, frame),
    }
    if prioritized:
      tree = priorities.init(lanes * C)
      state['tree'] = jax.tree.map(lambda x: jnp.zeros((parts, *x.shape)), tree)
      state['most'] = jnp.ones(parts)
    return jax.lax.fori_loop(0, warmup, lambda _, state: act(state, None), state)

  def act(state: PyTree, params: PyTree) -> PyTree:
    """One step of every environment; at random without parameters."""
    time, seen, dead = state['time'], state['observation'], state['ended']
    bits, keys = words(keys_of(state['key'], time, state['lane']), 2)
    action = (bits[:, 0] % A).astype(jnp.int32)
    if params is not None:
      noise_key = jax.random.fold_in(state['key'], time)
      best = jnp.argmax(policy(params, seen, noise_key), axis=-1).astype(jnp.int32)
      action = jnp.where(unit(bits[:, 1]) < epsilon.at(time * num_envs), action, best)
    step = jax.vmap(lambda *args: advance(environment, *args))
    after = step(state['environment'], dead, action, keys)
    ended = after.terminated | after.truncated
    record = {
      'frame': seen[..., -frame.shape[-1] :] if layout.stack > 1 else seen,
      'action': action,
      'reward': after.reward,
      'terminated': after.terminated,
      'ended': ended,
      'dead': dead,
    }
    state = state | {
      'time': time + 1,
      'environment': after.state,
      'observation': after.observation,
      'ended': ended,
      'replay': replay.write(layout, state['replay'], time, record),
    }
    return admit(state) if prioritized else state

  def admit(state: PyTree) -> PyTree:
    """Gives the transitions that can now be read the highest priority, those that no longer, 0."""
    time = state['time']
    newest = time - layout.n_step - 1
    dead = state['replay']['fact'][:, newest % C, replay.FACTS.index('dead')]
    live = (newest >= 0) & (dead == 0)
    value = jnp.where(live.reshape(-1, lanes), state['most'][:, None], 0.0)
    leaf = jnp.arange(lanes) * C + newest % C
    gone = jnp.arange(lanes) * C + (time + layout.stack - 2) % C
    index = jnp.broadcast_to(jnp.concatenate([leaf, gone]), (len(value), 2 * lanes))
    values = jnp.concatenate([value, jnp.zeros_like(value)], axis=1)
    return state | {'tree': jax.vmap(priorities.update)(state['tree'], index, values)}

  def sample(state: PyTree, params: PyTree) -> tuple[PyTree, Batch]:
    time, part = state['time'], state['part']
    bits, _ = words(keys_of(state['key'], time, num_envs + part), share)
    first = jnp.arange(len(part))[:, None] * lanes  # the lanes of a part, among those at hand
    if not prioritized:
      lane, when = replay.draw_uniform(layout, bits, time, lanes)
      return state, replay.read(layout, state['replay'], (first + lane).ravel(), when.ravel())

    tree = state['tree']
    total = jax.vmap(priorities.total)(tree)[:, None]
    # One from each of equal parts of the whole, as in the paper: the chances are the same.
    mass = (jnp.arange(share)[None] + unit(bits)) / share * total
    leaf = jax.vmap(priorities.find)(tree, mass)
    chance = jnp.take_along_axis(tree[0], leaf, axis=1) / total
    when = time - 1 - (time - 1 - leaf % C) % C
    lane = first + leaf // C
    batch = replay.read(layout, state['replay'], lane.ravel(), when.ravel())
    beta = prioritized.start
    if prioritized.steps:
      beta += (1 - beta) * jnp.clip(time * num_envs / prioritized.steps, 0, 1)
    batch['importance'] = chance.ravel() ** -beta

    q_tm1 = policy(params, batch['s_tm1'])
    taken = jnp.take_along_axis(q_tm1, batch['a_tm1'][:, None], axis=1)[:, 0]
    best = policy(params, batch['s_t']).max(-1)
    error = jnp.abs(batch['r_t'] + batch['discount_t'] * best - taken)
    value = ((error + SMALLEST) ** prioritized.exponent).reshape(leaf.shape)
    return state | {
      'tree': jax.vmap(priorities.update)(tree, leaf, value),
      'most': jnp.maximum(state['most'], value.max(-1)),
    }, batch

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del data
    if frames_per_batch == 1:
      state = act(state, params)
    else:
      state = jax.lax.fori_loop(0, frames_per_batch, lambda _, state: act(state, params), state)
    return sample(state, params)

  seen, leaf = environment.observation, lambda dtype: jax.ShapeDtypeStruct((batch_size,), dtype)
  whole = jax.ShapeDtypeStruct((batch_size, *seen.shape), seen.dtype)
  spec = {'s_tm1': whole, 's_t': whole, 'a_tm1': leaf(jnp.int32)}
  names = ['r_t', 'discount_t', 'weight', *(['importance'] if prioritized else [])]
  spec |= {name: leaf(jnp.float32) for name in names}
  return Source(spec, init, next_batch, on_device=True)


def words(keys: Array, count: int) -> tuple[Array, Array]:
  """Random numbers and a key from each of the keys [N]: uint32 [N, count], typed key [N].

  Drawn at once: on a CPU every call of Threefry is a loop of its own, which takes longer than what
  else a small step does.
  """
  size = jax.random.key_data(keys).shape[-1]
  bits = jax.vmap(lambda key: jax.random.bits(key, (count + size,)))(keys)
  made = jax.random.wrap_key_data(bits[:, count:], impl=jax.random.key_impl(keys))
  return bits[:, :count], made


def unit(bits: Array) -> Array:
  """A float32 in [0, 1) of the upper 24 of 32 random bits: exact, and never 1."""
  return (bits >> 8) * jnp.float32(2.0**-24)


def episodes(environment: Environment, policy: Policy, count: int, draw: int) -> Source:
  """A source of evaluation: one batch of whole episodes, in which the best action is taken.

  {'return': float32, 'length': int32, 'weight': 1, each [count]}. They depend on the key that
  `init` is given and on `draw`, not on what was trained in, and are the same each time.

  Args:
    environment: as the policy sees it.
    policy: (params, observations) -> values.
    count: episodes.
    draw: which ones.
  """

  def init(key: Array) -> PyTree:
    return {'key': jax.random.fold_in(key, draw), 'lane': jnp.arange(count, dtype=jnp.int32)}

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del data

    def one(lane: Array) -> Batch:
      choose = lambda seen, key: jnp.argmax(policy(params, seen[None])[0])
      episode = play(environment, choose, jax.random.fold_in(state['key'], lane))
      return {
        'return': jnp.sum(episode.rewards),
        'length': episode.length,
        'weight': jnp.ones(()),
      }

    return state, jax.vmap(one)(state['lane'])

  leaf = lambda dtype: jax.ShapeDtypeStruct((count,), dtype)
  spec: Any = {'return': leaf(jnp.float32), 'length': leaf(jnp.int32), 'weight': leaf(jnp.float32)}
  return Source(spec, init, next_batch, on_device=True, num_batches=1)
