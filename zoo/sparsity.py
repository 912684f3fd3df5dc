"""Weights that are taken away while a network trains: by magnitude, ever more of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zoo import paths
from zoo.types import Array, PyTree


class SparsityState(NamedTuple):
  """What a pruning transformation remembers.

  Attributes:
    step: int32 [], updates so far.
    masks: bool, for every weight that may be pruned, of its shape: whether it is kept. The others
      have None.
  """

  step: Array
  masks: PyTree


def share_pruned(step: Array, sparsity: float, begin: int, end: int) -> Array:
  """How much is pruned at a step: 0 before `begin`, `sparsity` from `end` on, a cubic between.

  It rises fast while redundant weights are many, and slowly at the end: s (1 - (1 - p)^3), where p
  is the part of the way from `begin` to `end` that is done.

  References:
    Zhu and Gupta 2017, To prune, or not to prune, equation 1, from no sparsity.
  """
  step = jnp.asarray(step, jnp.float32)
  p = jnp.where(step < end, jnp.clip((step - begin) / max(end - begin, 1), 0, 1), 1)
  return sparsity * (1 - (1 - p) ** 3)


def prune_by_magnitude(
  sparsity: float,
  *,
  begin: int,
  end: int,
  every: int = 10,
  patterns: tuple = ('.*kernel',),
) -> optax.GradientTransformation:
  """Sets the smallest weights of every layer to zero, and keeps them there.

  The last of a chain: what it is given are the final updates. Every so many steps a layer's mask
  drops the weights that would be smallest after the update, as many as `share_pruned` says, rounded
  to the nearest. An update of what is masked is minus the weight, so that it is exactly 0 after
  every step, whatever momentum there was. What was dropped stays so.

  Args:
    sparsity: the share of each layer's weights that is zero at the end, in [0, 1).
    begin: the step, counted from 0, after which the first weights may go.
    end: the step from which on the masks stay.
    every: steps between two changes of the masks.
    patterns: regular expressions over whole paths: what is pruned.

  Raises:
    ValueError: a number out of its range; from `init`, a pattern that matches no parameter.

  References:
    Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks. Zhu and
    Gupta 2017, To prune, or not to prune.
  """
  if not 0 <= sparsity < 1:
    raise ValueError(f'sparsity must be in [0, 1), got {sparsity}')
  if not 0 <= begin <= end:
    raise ValueError(f'sparsity needs 0 <= begin <= end, got {begin} and {end}')
  if every < 1:
    raise ValueError(f'sparsity_every must be >= 1, got {every}')

  def masked(path: str) -> bool:
    return any(paths.match(p, path) for p in patterns)

  def init(params: PyTree) -> SparsityState:
    paths.check_patterns('sparsity', patterns, params)
    keep_all = lambda path, w: jnp.ones(w.shape, bool) if masked(path) else None
    return SparsityState(jnp.zeros((), jnp.int32), paths.map_named(keep_all, params))

  def update(
    updates: PyTree, state: Any, params: PyTree | None = None
  ) -> tuple[PyTree, SparsityState]:
    if params is None:
      raise ValueError('pruning needs the parameters')
    share = share_pruned(state.step, sparsity, begin, end)
    last = state.step == end
    due = (state.step >= begin) & (state.step < end) & ((state.step - begin) % every == 0)

    def drop(mask: Array, update: Array, w: Array) -> Array:
      size = jnp.where(mask, jnp.abs(w + update).astype(jnp.float32), -1.0).ravel()
      ranks = jnp.argsort(jnp.argsort(size))  # ties are broken by place, so that the count is exact
      return (ranks >= jnp.round(share * size.size).astype(jnp.int32)).reshape(mask.shape) & mask

    # Masks come first, since they alone have None where there is nothing to mask.
    change = lambda masks: jax.tree.map(drop, masks, *aligned(masks, updates, params))
    masks = jax.lax.cond(due | last, change, lambda masks: masks, state.masks)
    kept = lambda mask, update, w: (
      update if mask is None else jnp.where(mask, update, -w.astype(update.dtype))
    )
    updates = jax.tree.map(kept, masks, updates, params, is_leaf=lambda x: x is None)
    return updates, SparsityState(state.step + 1, masks)

  def aligned(masks: PyTree, *trees: PyTree) -> tuple[PyTree, ...]:
    """The trees without the leaves that have no mask."""
    pick = lambda mask, x: None if mask is None else x
    return tuple(jax.tree.map(pick, masks, tree, is_leaf=lambda x: x is None) for tree in trees)

  return optax.GradientTransformation(init, update)
