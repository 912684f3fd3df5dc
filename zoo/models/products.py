"""Products of matrices as models have them, where XLA's own take longer than they need to.

References:
  Press and Wolf 2017, Using the Output Embedding to Improve Language Models, for `logits_by`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from zoo.types import Array

PARTS = 4
LARGE = 2**20  # bytes of a kernel


def dot_general(x: Array, kernel: Array, dimension_numbers: Any, **options: Any) -> Array:
  """`jax.lax.dot_general`, as the one of an `nn.Dense`.

  Of a single row, as in decoding one sequence, reading the kernel is all that takes time. XLA for
  CPUs does it on one core where the kernel is a matrix, and on all where it is several: so the sum
  is taken in parts. In a loop on an Intel Xeon with AVX-512 kernels of 768 x 3072 are read at 25
  GB/s in place of 14 (jax 0.12.0) or 16 (0.10.2); those below 1 MiB and in bfloat16 gain nothing.

  Args:
    x: [..., K].
    kernel: [K, N].
    dimension_numbers: the last axis of x with the first of the kernel.
    options: others of `jax.lax.dot_general`.
  """
  plain = functools.partial(jax.lax.dot_general, dimension_numbers=dimension_numbers, **options)
  if not is_slow(x, kernel):
    return plain(x, kernel)
  return jax.lax.platform_dependent(x, kernel, cpu=in_parts, default=plain)


def is_slow(x: Array, kernel: Array) -> bool:
  """Whether this is one row and a large kernel."""
  large = kernel.dtype == jnp.float32 and kernel.size * kernel.dtype.itemsize >= LARGE
  return large and len(kernel) % PARTS == 0 and all(map(is_one, x.shape[:-1]))


def is_one(size: Any) -> bool:
  """Whether a dimension is 1; that of an exported program may be open."""
  return isinstance(size, int) and size == 1


def in_parts(x: Array, kernel: Array) -> Array:
  """The product of one row [..., K] and [K, N], as a sum over PARTS of the products of parts."""
  K, N = kernel.shape
  parts = x.reshape(PARTS, 1, K // PARTS) @ kernel.reshape(PARTS, K // PARTS, N)
  return parts.sum(axis=0).reshape(*x.shape[:-1], N)


def logits_by(table: Array, hidden: Array) -> Array:
  """Returns logits, float32 [..., V]: the products of hidden [..., D] with each row of [V, D].

  The table is cast to the type of `hidden`, and so are the gradients of the logits: multiplied as
  float32 those took a seventh of a step of GPT-2 124M in bfloat16. Rows are one axis throughout,
  since XLA for CPUs takes 1.3 times as long over a gradient that sums over two.
  """
  rows = hidden.reshape(-1, hidden.shape[-1])
  logits = products(rows, table.astype(hidden.dtype))
  return logits.reshape(*hidden.shape[:-1], len(table))


def logits_dot(hidden: Array, kernel: Array, *_: Any, **__: Any) -> Array:
  """`logits_by` a kernel [D, V], as the `dot_general` of the `nn.Dense` that makes logits."""
  return logits_by(kernel.T, hidden)


@jax.custom_vjp
def products(rows: Array, table: Array) -> Array:
  """float32 [N, V] of [N, D] and [V, D].

  Of one row the table comes first: the other way round XLA of jax 0.12.0 makes its transpose for
  CPUs, anew for each token of a sequence.
  """
  if is_one(rows.shape[0]):
    return jnp.dot(table, rows[0], preferred_element_type=jnp.float32)[None]
  return jnp.dot(rows, table.T, preferred_element_type=jnp.float32)


def products_forward(rows: Array, table: Array) -> tuple[Array, tuple[Array, Array]]:
  return products(rows, table), (rows, table)


def products_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
  rows, table = saved
  gradient = gradient.astype(rows.dtype)
  return jnp.dot(gradient, table), jnp.dot(gradient.T, rows)


products.defvjp(products_forward, products_backward)
