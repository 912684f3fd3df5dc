"""Chances in proportion to priorities: a tree of sums, exact where it matters.

Leaves are priorities; above them every number is the sum of sixteen below. In float32 sums round,
and a search through rounded sums computed in another order finds, now and then, what has no chance
at all. Here a sum is always made in the same order, one child after another, and the search adds in
that order too: sums of what is not negative then never fall, and a child is found only where they
rise. So what has priority 0 is never drawn.
"""

import jax.numpy as jnp

from zoo.types import Array

FAN_OUT = 16

Tree = tuple[Array, ...]


def init(size: int) -> Tree:
  """A tree of `size` priorities, all 0: its levels from the leaves up, float32 [...]."""
  levels = []
  while True:
    size = -(-size // FAN_OUT)
    levels.append(jnp.zeros(size * FAN_OUT))
    if size == 1:
      return tuple(levels)


def update(tree: Tree, index: Array, priority: Array) -> Tree:
  """Gives leaves new priorities.

  Args:
    tree: of priorities.
    index: int32 [M], which; one that occurs twice must have one priority.
    priority: float32 [M], not negative.
  """
  levels = [tree[0].at[index].set(priority)]
  for level in tree[1:]:
    index = index // FAN_OUT
    children = levels[-1].reshape(-1, FAN_OUT)[index]
    levels.append(level.at[index].set(prefix_sums(children)[-1]))
  return tuple(levels)


def total(tree: Tree) -> Array:
  """The sum of all priorities, float32 []."""
  return prefix_sums(tree[-1][None])[-1][0]


def find(tree: Tree, mass: Array) -> Array:
  """The leaves in which the running sum of priorities exceeds `mass`.

  Args:
    tree: in which not all is 0.
    mass: float32 [B], in [0, total).

  Returns:
    int32 [B], leaves whose priority is not 0.
  """
  index = jnp.zeros(mass.shape, jnp.int32)
  for level in reversed(tree):
    children = level.reshape(-1, FAN_OUT)[index]  # [B, 16]
    sums = jnp.stack(prefix_sums(children), axis=-1)
    # Rounding may leave more mass than there is: then the last that has any is meant.
    last = FAN_OUT - 1 - jnp.argmax(jnp.flip(children > 0, -1), axis=-1)
    child = jnp.minimum(jnp.sum(sums <= mass[:, None], axis=-1), last)
    before = jnp.concatenate([jnp.zeros((len(mass), 1)), sums[:, :-1]], axis=-1)
    mass = mass - jnp.take_along_axis(before, child[:, None], axis=-1)[:, 0]
    index = index * FAN_OUT + child
  return index


def prefix_sums(children: Array) -> list[Array]:
  """The sums of the first, the first two ... of [M, 16], one child added after another."""
  columns = [children[:, i] for i in range(FAN_OUT)]
  sums = [columns[0]]
  for column in columns[1:]:
    sums.append(sums[-1] + column)
  return sums
