"""Floating-point operations of a model: those of its matrix products and convolutions.

They are read off what JAX traces, and so need no formula per architecture; for a Transformer they
are the 6 N + 12 L T d a token of Chowdhery et al. 2022, PaLM, appendix B. What is left out
(normalisation, softmax, the optimiser) is little of what a large model computes, and none of what
matrix units do.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax

from zoo.types import Objective, PyTree

Flops = dict[str, float]  # type of the operands -> operations, a multiplication and an addition two


def count(fn: Callable[..., Any], *args: Any) -> Flops:
  """Of a call of `fn`, by the type of what is multiplied.

  Args:
    fn: can be traced.
    *args: arrays, or their shapes and types.
  """
  return dict(of_jaxpr(jax.make_jaxpr(fn)(*args).jaxpr))


def of_training(objective: Objective, spec: PyTree, axis: str | None = None, n: int = 1) -> Flops:
  """Of a training step: the loss and its gradient.

  What is computed again to save memory does not count: no more than three times the loss does (a
  product has two gradients of its cost), as is the custom for a model's FLOPs.

  Args:
    objective: what to learn.
    spec: of a whole batch.
    axis: the mapped axis that the objective was built for, under pmap.
    n: its size: shares of the batch that the loss sees one at a time.
  """
  key = jax.eval_shape(lambda: jax.random.key(0))
  params, extras = jax.eval_shape(objective.init, key, spec)
  gradient = jax.value_and_grad(objective.loss, has_aux=True)

  def of(fn: Callable[..., Any]) -> Flops:
    if axis is None:
      return count(fn, params, extras, spec, key)
    split = lambda x: jax.ShapeDtypeStruct((n, x.shape[0] // n, *x.shape[1:]), x.dtype)
    fn = jax.vmap(fn, (None, None, 0, None), axis_name=axis)
    return count(fn, params, extras, jax.tree.map(split, spec), key)

  loss, full = of(objective.loss), of(gradient)
  return {name: min(full[name], 3 * loss.get(name, full[name])) for name in full}


def of_jaxpr(jaxpr: Any) -> Flops:
  """Of a traced function; a loop counts as often as it runs, if that is known, else once."""
  total: Flops = defaultdict(float)
  for eqn in jaxpr.eqns:
    name = eqn.primitive.name
    if name == 'dot_general':
      total[str(eqn.invars[0].aval.dtype)] += of_product(eqn)
    elif name == 'conv_general_dilated':
      total[str(eqn.invars[0].aval.dtype)] += of_convolution(eqn)
    elif name == 'cond':  # one branch runs: that which costs most
      branches = [of_jaxpr(branch) for branch in inner(eqn)]
      add(total, max(branches, key=lambda flops: sum(flops.values()), default={}))
    else:
      for called in inner(eqn):
        add(total, of_jaxpr(called), eqn.params['length'] if name == 'scan' else 1)
  return total


def add(total: Flops, more: Flops, times: int = 1) -> None:
  """Adds some to others, in place."""
  for dtype, flops in more.items():
    total[dtype] += times * flops


def inner(eqn: Any) -> Iterator[Any]:
  """The functions that an equation calls."""
  for value in eqn.params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      found = getattr(item, 'jaxpr', item)  # of a closed one
      if hasattr(found, 'eqns'):
        yield found


def of_product(eqn: Any) -> float:
  """Two for every element of the result and every term of its sum."""
  (contracted, _), _ = eqn.params['dimension_numbers']
  terms = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
  return 2.0 * terms * eqn.outvars[0].aval.size


def of_convolution(eqn: Any) -> float:
  """Likewise; the zeros that a transposed convolution puts between elements are no terms."""
  kernel = eqn.invars[1].aval.shape
  numbers, dilation = eqn.params['dimension_numbers'], eqn.params['lhs_dilation']
  window = math.prod(kernel[axis] for axis in numbers.rhs_spec[1:])  # input features and space
  return 2.0 * window * eqn.outvars[0].aval.size / math.prod(dilation)


def main_dtype(flops: Flops) -> str | None:
  """The type of most operations; None where there are none."""
  return max(flops, key=lambda name: flops[name]) if sum(flops.values()) else None
