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

FACTS = ('action', 'reward', 'terminated', 'ended', 'dead')


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
  """An empty replay: 'frame' [lanes, capacity, ...] and 'fact', float32 [lanes, capacity, 5].

  Facts are `FACTS`, as numbers, so that one read fetches them all.
  """
  ring = (lanes, layout.capacity)
  return {
    'frame': jnp.zeros((*ring, *frame.shape), frame.dtype),
    'fact': jnp.zeros((*ring, len(FACTS))),
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
    record: 'frame' [lanes, ...], and each of `FACTS`, [lanes]: what was done and earned, whether
      the episode terminated and whether it ended, and whether the frame is dead.
  """
  facts = jnp.stack([record[name].astype(jnp.float32) for name in FACTS], axis=-1)
  place = time % layout.capacity
  new = {'frame': record['frame'], 'fact': facts}
  put = lambda ring, x: jax.lax.dynamic_update_index_in_dim(ring, x, place, 1)
  # XLA would fuse what reads a ring with this write, and for that keep what was there before: a
  # copy of the ring at every step. It does not fuse across a branch, and that this one is always
  # taken is more than it knows.
  return jax.lax.cond(time >= 0, lambda old: jax.tree.map(put, old, new), lambda old: old, replay)


def cut(layout: Layout, replay: PyTree, time: Array) -> PyTree:
  """Ends all episodes with the last of `time` frames, without their having terminated by that."""
  fact = replay['fact'].at[:, (time - 1) % layout.capacity, FACTS.index('ended')].set(1)
  return replay | {'fact': fact}


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
  at = lambda time: jnp.moveaxis(replay['fact'][lane, time % layout.capacity], -1, 0)
  facts = [dict(zip(FACTS, at(time + k), strict=True)) for k in range(layout.n_step)]
  going = jnp.ones(lane.shape, bool)
  reward, discount, after = jnp.zeros(lane.shape), jnp.ones(lane.shape), time
  for fact in facts:
    reward += jnp.where(going, discount * fact['reward'], 0.0)
    discount *= jnp.where(going, layout.discount * (1 - fact['terminated']), 1.0)
    after += going
    going &= fact['ended'] == 0
  return {
    's_tm1': observations(layout, replay, lane, time),
    'a_tm1': facts[0]['action'].astype(jnp.int32),
    'r_t': reward,
    'discount_t': discount,
    's_t': observations(layout, replay, lane, after),
    'weight': 1 - facts[0]['dead'],
  }


def observations(layout: Layout, replay: PyTree, lane: Array, time: Array) -> Array:
  """What was seen: the frames up to a time, those before the episode's start being zeros."""
  if layout.stack == 1:
    return replay['frame'][lane, time % layout.capacity]
  when = time[:, None] + jnp.arange(1 - layout.stack, 1)[None]  # [B, stack]
  place = when % layout.capacity, lane[:, None]
  frames = replay['frame'][place[1], place[0]]
  # A frame counts if no episode has ended in it, or after it, but before the last.
  dead = replay['fact'][place[1], place[0]][..., FACTS.index('dead')] > 0
  over = (dead & (when < time[:, None])) | (when < 0)
  seen = ~jnp.flip(jnp.cumsum(jnp.flip(over, 1), 1), 1).astype(bool)
  frames = jnp.where(seen.reshape(*seen.shape, *(1,) * (frames.ndim - 2)), frames, 0)
  joined = jnp.moveaxis(frames, 1, -2)  # [B, ..., stack, C]
  return joined.reshape(*joined.shape[:-2], -1)


def draw_uniform(layout: Layout, bits: Array, time: Array, lanes: int) -> tuple[Array, Array]:
  """Lanes and times of transitions, all alike likely (dead ones too), int32 [...] each.

  Args:
    layout: of the replay.
    bits: uint32 [...], random. (Of n transitions the chances differ by n / 2^32 of themselves.)
    time: int32 [], frames that were written.
    lanes: rings to draw from.
  """
  first, count = readable(layout, time)
  index = (bits % (lanes * jnp.maximum(count, 1)).astype(jnp.uint32)).astype(jnp.int32)
  return index % lanes, first + index // lanes
