"""Acting and remembering, as pure functions of one state: what all sources that act are made of.

How the environments step is not known here: on the device within the same program
(`interaction.py`), or on the host between two programs (`hosting.py`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo.data import priorities, replay
from zoo.types import Array, Batch, PyTree

Policy = Callable[..., Array]  # (params, observations, key=None) -> values [B, A]
# What of a state `Experience.choose` reads.
CHOOSING = ('key', 'time', 'lane', 'observation', 'epsilon_end')
SMALLEST = 1e-6  # added to errors: what was learnt perfectly may be drawn again


class Epsilon(NamedTuple):
  """How often an action is drawn at random: from `start` to `end` in `steps` environment steps."""

  start: float = 1.0
  end: float = 0.05
  steps: int = 10_000

  def at(self, steps: Array, end: Array | None = None) -> Array:
    """The share after some steps; `end` in place of its own, if it is in a state."""
    last: Any = self.end if end is None else end
    return self.start + (last - self.start) * jnp.clip(steps / self.steps, 0, 1)


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


class Experience(NamedTuple):
  """What is done with a state, step by step: choose, step the environments, record; then draw.

  Attributes:
    spec: shapes of a batch.
    begin: (key, frames [num_envs, ...]) -> state, at the start of episodes.
    choose: (state, params) -> (actions int32 [num_envs], typed keys [num_envs], of which random
      environments step). At random if there are no parameters.
    record: (state, action, frame, reward, terminated, over) -> state. What a step led to, each
      [num_envs, ...]. If it `terminated` nothing more can be earned; if it is `over` the next step
      starts a new episode, and does nothing else. An episode that is cut off is over alone.
    draw: (state) -> (batch, leaf): transitions, and where their priorities are.
    weigh: (params, batch) -> float32 [B], what their priorities should be; None if all are alike.
    settle: (state, leaf, priority) -> state, with these.
  """

  spec: PyTree
  begin: Callable[[Array, Array], PyTree]
  choose: Callable[[PyTree, PyTree], tuple[Array, Array]]
  record: Callable[..., PyTree]
  draw: Callable[[PyTree], tuple[Batch, Array]]
  weigh: Callable[[PyTree, Batch], Array] | None
  settle: Callable[[PyTree, Array, Array], PyTree]


def experience(
  frame: jax.ShapeDtypeStruct,
  num_actions: int,
  policy: Policy,
  layout: replay.Layout,
  *,
  num_envs: int,
  batch_size: int,
  warmup: int = 100,
  epsilon: Epsilon,
  prioritized: Prioritized | None = None,
  clip_rewards: bool = False,
  parts: int = 1,
) -> Experience:
  """Acts greedily but for a share of random actions, stores, and samples.

  Everything random comes from one key, the count of frames, and the number of an environment or of
  a part: not from how the work is spread.

  The state leads with environments, or parts: environments and replay are in equal parts that share
  nothing, from each of which an equal share of the batch is drawn, so that a device holds some of
  them. It is {key, time: int32 [], frames each environment has given; lane: int32 [num_envs];
  observation, ended: [num_envs, ...], where the environments are; epsilon_end: float32 []; replay:
  [num_envs, capacity, ...]; part: int32 [parts]; and of prioritised replay tree, most: [parts,
  ...]}.

  Priorities are the errors of the parameters alone (|r + discount * max q_t - q_tm1|, both by
  the parameters that act), as a source knows no target network; found when a batch is drawn.

  Args:
    frame: an observation as it is stored; `layout.stack` of them are seen at once.
    num_actions: actions are 0 .. num_actions - 1.
    policy: (params, observations, key) -> values [B, A]. The key is for noise, the same for all.
    layout: of the replay.
    num_envs: environments.
    batch_size: transitions in a batch.
    warmup: frames that every environment gives, at random, before a batch is drawn.
    epsilon: share of random actions.
    prioritized: how to draw by priorities; all alike if None.
    clip_rewards: to [-1, 1], those that are learnt from.
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
  lanes, share, C = num_envs // parts, batch_size // parts, layout.capacity
  channels = frame.shape[-1] if layout.stack > 1 else 0
  shape = (*frame.shape[:-1], layout.stack * channels) if layout.stack > 1 else frame.shape

  def keys_of(key: Array, time: Array, number: Array) -> Array:
    """A key for each environment, or part behind them, at a time: as one count of all."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, time * (num_envs + parts) + number)

  def push(seen: Array, new: Array, starts: Array) -> Array:
    """The last frames of an episode, with a new one; zeros before one that it starts with."""
    if layout.stack == 1:
      return new
    starts = starts.reshape(-1, *(1,) * len(shape))
    before = jnp.where(starts, jnp.zeros((), seen.dtype), seen[..., channels:])
    return jnp.concatenate([before, new], axis=-1)

  def begin(key: Array, frames: Array) -> PyTree:
    empty = jnp.zeros((num_envs, *shape), frame.dtype)
    state = {
      'key': key,
      'time': jnp.zeros((), jnp.int32),
      'lane': jnp.arange(num_envs, dtype=jnp.int32),
      'part': jnp.arange(parts, dtype=jnp.int32),
      'observation': push(empty, frames, jnp.ones(num_envs, bool)),
      'ended': jnp.zeros(num_envs, bool),
      'epsilon_end': jnp.full((), epsilon.end, jnp.float32),
      'replay': replay.init(layout, num_envs, frame),
    }
    if prioritized:
      tree = priorities.init(lanes * C)
      state['tree'] = jax.tree.map(lambda x: jnp.zeros((parts, *x.shape)), tree)
      state['most'] = jnp.ones(parts)
    return state

  def choose(state: PyTree, params: PyTree) -> tuple[Array, Array]:
    time, key = state['time'], state['key']
    bits, keys = words(keys_of(key, time, state['lane']), 2)
    action = (bits[:, 0] % num_actions).astype(jnp.int32)
    if params is not None:
      q = policy(params, state['observation'], jax.random.fold_in(key, time))
      best = jnp.argmax(q, axis=-1).astype(jnp.int32)
      at_random = epsilon.at(time * num_envs, state['epsilon_end'])
      action = jnp.where(unit(bits[:, 1]) < at_random, action, best)
    return action, keys

  def record(
    state: PyTree, action: Array, new: Array, reward: Array, terminated: Array, over: Array
  ) -> PyTree:
    time, seen, dead = state['time'], state['observation'], state['ended']
    new_record = {
      'frame': seen[..., -channels:] if layout.stack > 1 else seen,
      'action': action,
      'reward': jnp.clip(reward, -1, 1) if clip_rewards else reward,
      'terminated': terminated,
      'ended': terminated | over,
      'dead': dead,
    }
    state = state | {
      'time': time + 1,
      'observation': push(seen, new, dead),
      'ended': over,
      'replay': replay.write(layout, state['replay'], time, new_record),
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

  def draw(state: PyTree) -> tuple[Batch, Array]:
    time, part = state['time'], state['part']
    bits, _ = words(keys_of(state['key'], time, num_envs + part), share)
    first = jnp.arange(len(part))[:, None] * lanes  # the lanes of a part, among those at hand
    if not prioritized:
      lane, when = replay.draw_uniform(layout, bits, time, lanes)
      batch = replay.read(layout, state['replay'], (first + lane).ravel(), when.ravel())
      return batch, lane * C + when % C

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
    return batch, leaf

  def weigh(params: PyTree, batch: Batch) -> Array:
    assert prioritized is not None
    q_tm1 = policy(params, batch['s_tm1'])
    taken = jnp.take_along_axis(q_tm1, batch['a_tm1'][:, None], axis=1)[:, 0]
    best = policy(params, batch['s_t']).max(-1)
    error = jnp.abs(batch['r_t'] + batch['discount_t'] * best - taken)
    return (error + SMALLEST) ** prioritized.exponent

  def settle(state: PyTree, leaf: Array, priority: Array) -> PyTree:
    value = priority.reshape(leaf.shape)
    return state | {
      'tree': jax.vmap(priorities.update)(state['tree'], leaf, value),
      'most': jnp.maximum(state['most'], value.max(-1)),
    }

  leaf = lambda dtype: jax.ShapeDtypeStruct((batch_size,), dtype)
  whole = jax.ShapeDtypeStruct((batch_size, *shape), frame.dtype)
  spec = {'s_tm1': whole, 's_t': whole, 'a_tm1': leaf(jnp.int32)}
  names = ['r_t', 'discount_t', 'weight', *(['importance'] if prioritized else [])]
  spec |= {name: leaf(jnp.float32) for name in names}
  return Experience(spec, begin, choose, record, draw, weigh if prioritized else None, settle)


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
