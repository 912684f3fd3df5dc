"""Sources that act in environments on the host, and keep their replay wherever they are told to.

They are those of `interaction.py`, taken apart where the environments step: one program chooses,
the environments move, another program records, in place; after some such steps a third draws. Only
actions are waited for.

Environments cannot be saved, and may crash. Whenever they are not where the state says, all
episodes start anew: what was seen last ends its episode, cut off and not terminated, and costs a
step, like every new episode. Where they are is told by one leaf of the state, the count of frames:
the very array that was returned last, and so no copy of it and nothing that was restored.
"""

import contextlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from zoo.data import replay
from zoo.data.experience import CHOOSING, Policy, experience
from zoo.data.hosted import (
  CrashError,
  HostEnvironment,
  Step,
  Vector,
  episodes_of,
  first_line,
  opened,
)
from zoo.data.interaction import of_episodes
from zoo.types import Array, Batch, PyTree, Source

FOR_RESETS = 2**32 - 1  # no count of frames comes to it


def interact_on_host(
  environment: HostEnvironment,
  policy: Policy,
  layout: replay.Layout,
  *,
  frames_per_batch: int = 1,
  warmup: int = 100,
  device: Any = None,
  **options: Any,
) -> Source:
  """An endless source: acts in environments with the current parameters, stores, and samples.

  The state is that of `experience`. `init` steps nothing; the first `next` warms up.

  Args:
    environment: its frames are stored; `layout.stack` of them are seen at once.
    policy: (params, observations, key) -> values [B, A]. The key is for noise, the same for all.
    layout: of the replay.
    frames_per_batch: steps of every environment between two batches.
    warmup: frames that every environment gives, at random, before the first batch.
    device: where the replay is, and batches are drawn; the first if None. The policy is computed
      where its parameters are.
    **options: of `experience`: how many environments, how often at random, and so on.

  Raises:
    ValueError: numbers that do not fit each other; one line. From `next`:
    CrashError: the environments crashed twice in a row.
  """
  frame, num_envs = environment.frame, options['num_envs']
  parts = experience(frame, environment.num_actions, policy, layout, warmup=warmup, **options)
  there = SingleDeviceSharding(device or jax.local_devices()[0])
  stage = Stage(environment, num_envs)

  @jax.jit
  def choose(state: PyTree, params: PyTree) -> Array:
    return parts.choose(state, params)[0]

  def empty(key: Array) -> PyTree:
    # The half of the key that is left is that of the same source on the device.
    frames = jnp.zeros((num_envs, *frame.shape), frame.dtype)
    return parts.begin(jax.random.split(key)[1], frames)

  def cut_off(state: PyTree) -> PyTree:
    rings = replay.cut(layout, state['replay'], state['time'])
    return state | {'replay': rings, 'ended': jnp.ones_like(state['ended'])}

  init = jax.jit(empty, out_shardings=there)
  first_seen = jax.jit(lambda key, frames: parts.begin(key, frames)['observation'])
  cut = jax.jit(cut_off, donate_argnums=0)
  record = jax.jit(parts.record, donate_argnums=0)
  draw, weigh = jax.jit(parts.draw), jax.jit(parts.weigh) if parts.weigh else None
  settle = jax.jit(parts.settle, donate_argnums=0)

  def start(state: PyTree, time: int) -> tuple[PyTree, int]:
    """New episodes in all environments: the very first, or those that cut off what was before."""
    frames = stage.open(seed_of(jax.random.fold_in(state['key'], np.uint32(FOR_RESETS)), time))
    if not time:
      return state | {'observation': first_seen(state['key'], frames)}, 0
    none = np.zeros(num_envs, bool)
    idle, nothing = np.zeros(num_envs, np.int32), np.zeros(num_envs, np.float32)
    return record(cut(state), idle, frames, nothing, none, none), time + 1

  def act(state: PyTree, params: PyTree, time: int) -> tuple[PyTree, int]:
    """One step of every environment; at random without parameters."""
    needed = {name: state[name] for name in CHOOSING}
    action = np.asarray(choose(needed if params is None else beside(needed, params), params))
    after = stage.step(action, time)
    return start(state, time) if after is None else (record(state, action, *after), time + 1)

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del data
    time = stage.time_of(state)
    if time is None:
      time = int(state['time'])
      if time:
        what = f'{environment.name}: environments are not saved; episodes start anew'
        warnings.warn(f'{what} at frame {time}', stacklevel=1)
      end = max(time, warmup) + frames_per_batch
      state, time = start(state, time)
    else:
      end = time + frames_per_batch
    while time < end:
      state, time = act(state, None if time < warmup else params, time)
    stage.leave(state, time)
    batch, leaf = draw(state)
    if weigh:
      batch = beside(batch, params)
      priority = jax.device_put(weigh(params, batch), there)
      state |= settle({name: state[name] for name in ('tree', 'most')}, leaf, priority)
    return state, batch

  return Source(parts.spec, init, next_batch, on_device=False, acts=True)


class Stage:
  """The environments behind a source: made when they are needed, and once more when they fail."""

  def __init__(self, environment: HostEnvironment, count: int):
    self._environment, self._count = environment, count
    self._vector: Vector | None = None
    self._left: tuple[Array | None, int] = None, 0
    self._crashed = False  # and done nothing since

  def leave(self, state: PyTree, time: int) -> None:
    """Remembers the state at which the environments are, and its count of frames."""
    self._left = state['time'], time

  def time_of(self, state: PyTree) -> int | None:
    """The count of frames if the environments are where this state says, else None."""
    array, time = self._left
    return time if state['time'] is array else None

  def open(self, seed: int) -> np.ndarray:
    """Makes the environments; returns what is seen of new episodes."""
    while True:
      if self._vector is not None:
        with contextlib.suppress(Exception):  # they may be what failed
          self._vector.close()
      try:
        self._vector = self._environment.make(self._count, True)
        return self._vector.reset(seed)
      except Exception as error:
        self._fail('does not start', error)

  def step(self, action: np.ndarray, time: int) -> Step | None:
    """A step; None if the environments crashed, and are to be opened again."""
    assert self._vector is not None
    try:
      after = self._vector.step(action)
    except Exception as error:
      self._fail(f'crashed at frame {time}', error)
      return None
    self._crashed = False
    return after

  def _fail(self, how: str, error: Exception) -> None:
    line = f'{self._environment.name} {how}: {first_line(error)}'
    if self._crashed:
      raise CrashError(f'{line}; for the second time in a row') from error
    self._crashed = True
    warnings.warn(f'{line}; its environments are made anew', stacklevel=1)


def episodes_on_host(
  environment: HostEnvironment, policy: Policy, count: int, draw: int, epsilon: float = 0.0
) -> Source:
  """A source of evaluation: one batch of whole episodes, in which the best action is taken.

  As `interaction.episodes`, in environments of their own.

  Args:
    environment: as the policy sees it.
    policy: (params, observations) -> values.
    count: episodes.
    draw: which ones.
    epsilon: share of random actions.
  """

  @jax.jit
  def choose(params: PyTree, seen: Array, key: Array, time: Array) -> Array:
    best = jnp.argmax(policy(params, seen), axis=-1)
    if not epsilon:
      return best
    whether, which = jax.random.split(jax.random.fold_in(key, time))
    action = jax.random.randint(which, best.shape, 0, environment.num_actions, best.dtype)
    return jnp.where(jax.random.uniform(whether, best.shape) < epsilon, action, best)

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del data
    key = beside(state['key'], params)
    act = lambda seen, time: choose(params, seen, key, time)
    seed = seed_of(key, FOR_RESETS)
    returns, lengths = np.zeros(count, np.float32), np.zeros(count, np.int32)
    with opened(environment, count) as vector:
      for going, after in episodes_of(environment, vector, act, seed):
        returns += np.where(going, after.reward, 0)
        lengths += going
    return state, {'return': returns, 'length': lengths, 'weight': np.ones(count, np.float32)}

  init = jax.jit(lambda key: {'key': jax.random.fold_in(key, draw)})
  return Source(of_episodes(count), init, next_batch, on_device=False, num_batches=1, acts=True)


def beside(tree: PyTree, params: PyTree) -> PyTree:
  """Puts arrays where the parameters are, which may be another device, or several."""
  here, there = (jax.tree.leaves(x)[0].sharding for x in (tree, params))
  if here.device_set == there.device_set:  # putting it again would take as long as a small policy
    return tree
  if isinstance(there, NamedSharding):
    there = NamedSharding(there.mesh, PartitionSpec())
  return jax.device_put(tree, there)


def seed_of(key: Array, time: int) -> int:
  """A seed, such that it and some numbers above it are of an int32."""
  return int(jax.random.bits(jax.random.fold_in(key, np.uint32(time))) >> 2)
