"""The cache of a module that decodes: filled, repeated, made longer.

The module has `start(batch_size, length, padding) -> cache` and `decode(tokens [B, T], cache) ->
(logits [B, T, V], cache)`. The cache is a dict: 'index' counts its tokens, every other leaf has the
batch as its leading axis.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.types import Array, PyTree


@functools.partial(jax.jit, static_argnums=(0, 4))
def prefill(
  module: nn.Module, params: PyTree, tokens: Array, padding: Array, length: int
) -> PyTree:
  """A cache of a length that holds tokens int32 [B, T], of which T may be 0."""
  cache = start(module, params, tokens.shape[0], length, padding)
  # Nobody asks for the logits, so the compiler leaves out the head.
  return apply(module, params, tokens, cache)[1] if tokens.shape[1] else cache


@functools.partial(jax.jit, static_argnums=1)
def repeat(cache: PyTree, repeats: int) -> PyTree:
  """Every row of a cache so many times, beside each other."""
  return map_rows(lambda leaf: jnp.repeat(leaf, repeats, axis=0), cache)


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def grow(module: nn.Module, params: PyTree, cache: PyTree, rows: int, old: int, new: int) -> PyTree:
  """The same cache with more room: zeros behind each axis that is longer in one of length `new`."""
  spec = lambda length: jax.eval_shape(lambda: start(module, params, rows, length))

  def pad(leaf: Array, before: jax.ShapeDtypeStruct, after: jax.ShapeDtypeStruct) -> Array:
    widths = [(0, n - m) for m, n in zip(before.shape, after.shape, strict=True)]
    return jnp.pad(leaf, widths) if any(n for _, n in widths) else leaf

  return jax.tree.map(pad, cache, spec(old), spec(new))


def start(
  module: nn.Module, params: PyTree, rows: int, length: int, padding: Array | None = None
) -> PyTree:
  """An empty cache of the module."""
  return module.apply({'params': params}, rows, length, padding, method='start')


def apply(module: nn.Module, params: PyTree, tokens: Array, cache: PyTree) -> tuple[Array, PyTree]:
  """Logits and cache of the module."""
  return module.apply({'params': params}, tokens, cache, method='decode')


def map_rows(function: Callable[[Array], Array], cache: PyTree) -> PyTree:
  """Applies a function to every leaf of a cache that has the batch as its leading axis."""
  rows = {name: part for name, part in cache.items() if name != 'index'}
  return {**jax.tree.map(function, rows), 'index': cache['index']}


def grows(module: nn.Module, params: PyTree) -> bool:
  """Whether the cache of a module is the larger, the more tokens it is to hold."""
  one, two = (jax.eval_shape(lambda n=n: start(module, params, 1, n)) for n in (1, 2))
  return one != two


def num_logits(module: nn.Module, params: PyTree) -> int:
  """V."""
  token = jnp.zeros((1, 1), jnp.int32)
  logits = lambda params: apply(module, params, token, start(module, params, 1, 1))[0]
  return jax.eval_shape(logits, params).shape[-1]
