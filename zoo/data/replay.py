"""A replay on the device: one ring of frames per environment, from which transitions are read.

Every observation is stored once. That after an episode's end is a frame of its own (see
`environment.advance`), in which nothing is done: such a frame is `dead`, and begins no transition.
So the state after a transition is always a later frame of the same ring, and what a time limit cut
off is worth what the network says of its last observation. Frames that a network sees stacked are
stored singly, and stacked again when they are read.

All environments step together, so that one number, how many frames each ring has been given, says
where to write. Writing changes one frame in place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.types import Array, Batch, PyTree


class Layout(NamedTuple):
  """What a replay holds and how transitions are read from it.

  Attributes:
    capacity: frames of each ring.
    n_step: steps between the two states of a transition, fewer at an episode's end.
    discount: per step.
    stack: frames that make an observation, the last axis of which they share.
  """

  capacity: int
  n_step: int = 1
  discount: float = 0.99
  stack: int = 1


def init(layout: Layout, lanes: int, frame: jax.ShapeDtypeStruct) -> PyTree:
  """An empty replay: arrays [lanes, capacity, ...]."""
  zeros = lambda dtype, shape=(): jnp.zeros((lanes, layout.capacity, *shape), dtype)
  return {
    'frame': zeros(frame.dtype, frame.shape),
    'action': zeros(jnp.int32),
    'reward': zeros(jnp.float32),
    'terminated': zeros(bool),
    'ended': zeros(bool),
    'dead': zeros(bool),
  }


def num_bytes(layout: Layout, lanes: int, frame: jax.ShapeDtypeStruct) -> int:
  """What a replay takes of the memory."""
  shapes = jax.eval_shape(lambda: init(layout, lanes, frame))
  return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(shapes))


def write(layout: Layout, replay: PyTree, time: Array, record: PyTree) -> PyTree:
  """Puts a frame into every ring, in the place of the oldest.

  Args:
    layout: of the replay.
    replay: from `init`.
    time: int32 [], how many have been written before.
    record: what `init` says, [lanes, ...]: what was seen, done and earned, whether the episode
      terminated and whether it ended, and whether the frame is dead.
  """
  place = time % layout.capacity
  put = lambda ring, x: jax.lax.dynamic_update_index_in_dim(ring, x.astype(ring.dtype), place, 1)
  return {name: put(ring, record[name]) for name, ring in replay.items()}


def readable(layout: Layout, time: Array) -> tuple[Array, Array]:
  """The times at which transitions begin that can be read after `time` writes: (first, count).

  All that a transition takes has been written by then, and not yet overwritten.
  """
  first = jnp.maximum(time - layout.capacity + layout.stack - 1, 0)
  return first, jnp.maximum(time - layout.n_step - first, 0)


def read(layout: Layout, replay: PyTree, lane: Array, time: Array) -> Batch:
  """Transitions of n steps.

  Args:
    layout: of the replay.
    replay: which.
    lane: int32 [B], of which rings.
    time: int32 [B], when the transitions begin: `readable`.

  Returns:
    's_tm1', 'a_tm1', 's_t'; 'r_t', the discounted rewards of up to n steps, none after an end;
    'discount_t', of as many steps, 0 if the episode terminated on the way; 'weight', 0 where the
    frame is dead, else 1.
  """
  at = lambda name, time: replay[name][lane, time % layout.capacity]
  going = jnp.ones(lane.shape, bool)
  reward, discount, after = jnp.zeros(lane.shape), jnp.ones(lane.shape), time
  for k in range(layout.n_step):
    reward += jnp.where(going, discount * at('reward', time + k), 0.0)
    alive = jnp.where(at('terminated', time + k), 0.0, layout.discount)
    discount = jnp.where(going, discount * alive, discount)
    after += going
    going &= ~at('ended', time + k)
  return {
    's_tm1': observations(layout, replay, lane, time),
    'a_tm1': at('action', time),
    'r_t': reward,
    'discount_t': discount,
    's_t': observations(layout, replay, lane, after),
    'weight': 1.0 - at('dead', time),
  }


def observations(layout: Layout, replay: PyTree, lane: Array, time: Array) -> Array:
  """What was seen: the frames up to a time, those before the episode's start being zeros."""
  if layout.stack == 1:
    return replay['frame'][lane, time % layout.capacity]
  when = time[:, None] + jnp.arange(1 - layout.stack, 1)[None]  # [B, stack]
  place = when % layout.capacity, lane[:, None]
  frames = replay['frame'][place[1], place[0]]
  # A frame counts if no episode has ended in it, or after it, but before the last.
  over = (replay['dead'][place[1], place[0]] & (when < time[:, None])) | (when < 0)
  seen = ~jnp.flip(jnp.cumsum(jnp.flip(over, 1), 1), 1).astype(bool)
  frames = jnp.where(seen.reshape(*seen.shape, *(1,) * (frames.ndim - 2)), frames, 0)
  joined = jnp.moveaxis(frames, 1, -2)  # [B, ..., stack, C]
  return joined.reshape(*joined.shape[:-2], -1)


def draw_uniform(
  layout: Layout, key: Array, time: Array, lanes: int, size: int
) -> tuple[Array, Array]:
  """Lanes and times of transitions, all alike likely (dead ones too), int32 [size] each."""
  first, count = readable(layout, time)
  index = jax.random.randint(key, (size,), 0, lanes * jnp.maximum(count, 1))
  return index % lanes, first + index // lanes
