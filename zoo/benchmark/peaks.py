"""What a device can do: measured, and as its maker says."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo.benchmark.timing import BLOCK_SECONDS, Block, timed, warm_up

LARGEST = 16384  # rows and columns of the matrices
COPIED = 64 * 2**20  # elements of four bytes
REPEATS = 5


class Peak(NamedTuple):
  """Of one device: FLOP/s of matrix products, and bytes/s to and from its memory."""

  flops: float
  bandwidth: float


@functools.cache
def measured(dtype: str, device: Any) -> Peak:
  """The best of some products of large matrices, and of some copies.

  Args:
    dtype: of the matrices.
    device: which of `jax.devices()`.
  """
  return Peak(product_rate(dtype, device), copy_rate(device))


def product_rate(dtype: str, device: Any) -> float:
  """FLOP/s of products of square matrices that are larger and larger, until a call is long."""
  best, size = 0.0, 512
  product = jax.jit(jnp.matmul)
  while size <= LARGEST:
    # Whose product with itself is itself: nothing overflows.
    x = jax.device_put(jnp.full((size, size), 1 / size, dtype), device)
    seconds = fastest(functools.partial(chain, lambda y, x=x: product(y, x), x))
    best = max(best, 2 * size**3 / seconds)
    if seconds > BLOCK_SECONDS:
      break
    size *= 2
  return best


@functools.cache
def copy_rate(device: Any) -> float:
  """Bytes/s that are read and written when one is added to a large array."""
  x = jax.device_put(jnp.zeros(COPIED, jnp.float32), device)
  add = jax.jit(lambda x: x + 1)
  seconds = fastest(functools.partial(chain, add, x))
  return 2 * 4 * COPIED / seconds


def fastest(block: Block) -> float:
  """Seconds a call, of the quickest block."""
  calls, seconds = warm_up(block)
  return min(seconds, *(timed(block, calls)[0] for _ in range(REPEATS))) / calls


def chain(call: Callable[[jax.Array], jax.Array], x: jax.Array, calls: int) -> None:
  """Each call waits for the last: a CPU might run independent ones side by side."""
  for _ in range(calls):
    x = call(x)
  x.block_until_ready()


class Datasheet(NamedTuple):
  """What a maker says of a device, dense, in FLOP/s by type and bytes/s."""

  flops: dict[str, float]
  bandwidth: float


def _sheet(bandwidth: float, **teraflops: float) -> Datasheet:
  return Datasheet({name: 1e12 * value for name, value in teraflops.items()}, 1e9 * bandwidth)


# By what JAX calls a device; the first whose name this begins with. JAX multiplies float32 in TF32
# on the GPUs that have it, and a TPU in bfloat16. Sources: NVIDIA's data sheets of T4, A100, L4,
# H100 and H200 (figures without sparsity); Google Cloud's documentation of each version of TPU.
DATASHEETS = {
  'NVIDIA H200': _sheet(4800, bfloat16=989.4, float16=989.4, float32=494.7),
  'NVIDIA H100 PCIe': _sheet(2000, bfloat16=756, float16=756, float32=378),
  'NVIDIA H100': _sheet(3350, bfloat16=989.4, float16=989.4, float32=494.7),
  'NVIDIA A100-SXM4-80GB': _sheet(2039, bfloat16=312, float16=312, float32=156),
  'NVIDIA A100 80GB PCIe': _sheet(1935, bfloat16=312, float16=312, float32=156),
  'NVIDIA A100': _sheet(1555, bfloat16=312, float16=312, float32=156),
  'NVIDIA L4': _sheet(300, bfloat16=121, float16=121, float32=60),
  'Tesla T4': _sheet(320, float16=65, float32=8.1),
  'TPU v4': _sheet(1228, bfloat16=275, float32=275),
  'TPU v5 lite': _sheet(819, bfloat16=197, float32=197),
  'TPU v5e': _sheet(819, bfloat16=197, float32=197),
  'TPU v5': _sheet(2765, bfloat16=459, float32=459),
  'TPU v6 lite': _sheet(1640, bfloat16=918, float32=918),
  'TPU v6e': _sheet(1640, bfloat16=918, float32=918),
}


def published(dtype: str, device_kind: str) -> Peak | None:
  """What the maker says; None if the device, or the type on it, is not in the table."""
  sheet = next((s for name, s in DATASHEETS.items() if device_kind.startswith(name)), None)
  if sheet is None or dtype not in sheet.flops:
    return None
  return Peak(sheet.flops[dtype], sheet.bandwidth)
