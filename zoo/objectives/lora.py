"""LoRA: training small factors of a change to the weights, instead of the weights.

A transform of parameters, so that no model knows of it: W + alpha / rank * A B takes the place of
each target W. The cost of that: the changed weights exist once more during a step, and the gradient
of each is computed whole before it is projected. What is saved is the optimiser's state, and all of
what is updated.
"""

from collections.abc import Sequence

import flax.traverse_util
import jax
import jax.numpy as jnp

from zoo import paths
from zoo.types import Array, Batch, Metrics, Objective, PyTree


def with_lora(
  objective: Objective,
  *,
  rank: int = 8,
  alpha: float = 16.0,
  targets: Sequence[str],
  full: Sequence[str] = (),
) -> Objective:
  """Trains factors of low rank on top of parameters that stay as they are.

  The parameters become {'lora': tree}, where the tree holds {'a': [..., in, rank], 'b': [..., rank,
  out]} in the place of each target, and 'full': tree, if some are trained in full; extras become
  {'inner': the objective's own, 'base': its parameters}. `adopt` puts trained weights there. B
  starts at zero, so that the model starts as its base; A is normal with variance 1 / in.

  A head that starts untrained should be trained in full. Wrap before `with_ema` and
  `with_penalty`, which then see the factors.

  Args:
    objective: what to learn.
    rank: of the change to each target.
    alpha: the change is scaled by alpha / rank, so that the rank may vary at one learning rate.
    targets: regular expressions over whole paths of parameters. Only weights among what they match
      (`paths.is_weight`) are targets: [in, out], or [layers, in, out] of stacked layers.
    full: likewise of parameters, of any shape, that are trained themselves, and no targets.

  Raises:
    ValueError: a rank below 1; and from init, a pattern that matches no weight, a weight of other
      than 2 or 3 axes, or a rank above what a target can have.

  References:
    Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models, section 4.1.
  """
  if rank < 1:
    raise ValueError(f'rank must be at least 1, not {rank}')
  if isinstance(targets, str) or not targets:
    raise ValueError(f'targets must be a tuple of patterns, and not empty; got {targets!r}')

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    base, inner = objective.init(key, batch)  # the base of a run without LoRA
    rest = {path: x for path, x in paths.named_leaves(base) if not matched(path, full)}
    lora = factors(jax.random.fold_in(key, 1), rest, rank, targets)
    return {'lora': lora} | trained_in_full(base), {'inner': inner, 'base': base}

  def trained_in_full(base: PyTree) -> PyTree:
    if not full:
      return {}
    leaves = dict(paths.named_leaves(base))
    paths.check_patterns('lora_full', full, leaves)
    found = {path: x for path, x in leaves.items() if matched(path, full)}
    return {'full': flax.traverse_util.unflatten_dict(found, sep='/')}

  def merged(params: PyTree, extras: PyTree) -> PyTree:
    tree = merge(extras['base'], params['lora'], alpha)
    return overlaid(tree, params['full']) if full else tree

  def loss(params: PyTree, extras: PyTree, batch: Batch, key: Array):
    value, (inner, scalars) = objective.loss(merged(params, extras), extras['inner'], batch, key)
    return value, ({'inner': inner, 'base': extras['base']}, scalars)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> Metrics:
    return objective.evaluate(merged(params, extras), extras['inner'], batch, key)

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> PyTree:
    assert objective.predict is not None
    return objective.predict(merged(params, extras), extras['inner'], batch)

  def refresh(extras: PyTree, params: PyTree, step: Array) -> PyTree:
    inner = objective.refresh(extras['inner'], merged(params, extras), step)
    return {'inner': inner, 'base': extras['base']}

  def variables(params: PyTree, extras: PyTree) -> PyTree:
    return objective.variables(merged(params, extras), extras['inner'])

  def adopt(params: PyTree, extras: PyTree, variables: PyTree) -> tuple[PyTree, PyTree]:
    """Factors that are still without effect stay, on top of the parameters."""
    base, inner = objective.adopt(extras['base'], extras['inner'], variables)
    return params | trained_in_full(base), {'inner': inner, 'base': base}

  return Objective(init, loss, evaluate, refresh, objective.predict and predict, variables, adopt)


def matched(path: str, patterns: Sequence[str]) -> bool:
  return any(paths.match(pattern, path) for pattern in patterns)


def overlaid(tree: PyTree, top: PyTree) -> PyTree:
  """A tree of dicts with the leaves of another in their places."""
  if not isinstance(top, dict):
    return top
  return {k: overlaid(x, top[k]) if k in top else x for k, x in tree.items()}


def factors(key: Array, base: PyTree, rank: int, targets: Sequence[str]) -> PyTree:
  """The factors a run starts from: {'a', 'b'}, float32, in the place of each target."""
  weights = {path: x for path, x in paths.named_leaves(base) if paths.is_weight(path, x)}
  paths.check_patterns('LoRA target', targets, weights)
  found = {}
  for path, weight in weights.items():
    if not matched(path, targets):
      continue
    if weight.ndim > 3:
      raise ValueError(f'LoRA target {path} has the shape {weight.shape}, not [in, out]')
    *layers, rows, columns = weight.shape
    if rank > min(rows, columns):
      raise ValueError(
        f'LoRA rank {rank} is more than {path}, {weight.shape}, can have; it may be trained in full'
      )
    key, own = jax.random.split(key)
    found[f'{path}/a'] = jax.random.normal(own, (*layers, rows, rank)) / jnp.sqrt(rows)
    found[f'{path}/b'] = jnp.zeros((*layers, rank, columns))
  return flax.traverse_util.unflatten_dict(found, sep='/')


def merge(base: PyTree, lora: PyTree, alpha: float) -> PyTree:
  """The parameters that base and factors stand for: of the base's structure, for use or export.

  Args:
    base: parameters, as nested dicts.
    lora: the tree of factors, `params['lora']` of a run.
    alpha: as in `with_lora`; the rank is that of the factors.
  """
  if not isinstance(base, dict):
    a, b = lora['a'], lora['b']
    return (base + alpha / a.shape[-1] * (a @ b)).astype(base.dtype)
  return {k: merge(v, lora[k], alpha) if k in lora else v for k, v in base.items()}
