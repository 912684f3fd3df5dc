"""How a CPU computes convolutions and the gradients of kernels where XLA is slow: by products.

Measured with jax 0.10.2 and 0.12.0 on 2 vCPUs of an Intel Xeon with AVX-512, which multiply large
matrices at 270 Gflop/s, and, where it says so, of an AMD Zen 3, at 95-125:

- The gradient of a kernel of 3 x 3 on [128, 32, 32, 64] is computed at 32 and 62 Gflop/s by XLA, at
  78 and 121 by products; on [128, 16, 16, 128] at 56 and 56, and at 93 and 141. On the Zen 3, with
  jax 0.10.2: 4 by XLA, 52 by products; 28 and 91. Inside a loop (`train.steps_per_call`) XLA needs
  10 to 600 times as long as outside. To multiply the whole batch at once, and not what fits a
  cache, is half as fast; on [128, 32, 32, 64] to gather all places of the kernel, and not those of
  a row of it, 0.7 and 0.8 times.
- A map smaller than the kernel, [64, 2, 2, 256] with 3 x 3: XLA 43 ms, products 1.6 ms.
- A kernel larger than caches, of 3 x 3 with 512 channels on [128, 4, 4, 512]: 41 and 107 ms by
  XLA, 54 and 67 by products.
- A convolution of something dilated with a large result, [128, 16, 16, 128] to [128, 32, 32, 64]:
  89 and 40 ms by XLA, 66 and 31 by phases.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zoo.types import Array

NHWC = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
CACHE_BYTES = 4 * 2**20  # between what one core has for itself and what cores share
ROW_BYTES = 2**21  # of what all places of a kernel meet in an example: from there on row by row
ROW_CHANNELS = 16  # that products of a row need, or they are too narrow
LARGE_KERNEL = 8 * 2**20  # bytes, from which on XLA is slower than products
LARGE_RESULT = 16 * 2**20  # bytes, from which on phases are faster than XLA


class How(NamedTuple):
  """What a convolution is but for its arrays. `jax.lax` calls `up` lhs_dilation.

  Attributes:
    places: (H, W) of x.
    window: (h, w) of the kernel.
    strides: of the window.
    pads: (low, high) per axis of x, dilated.
    up: by how much x is dilated; where it is not 1, strides are.
  """

  places: tuple[int, ...]
  window: tuple[int, ...]
  strides: tuple[int, ...]
  pads: tuple[tuple[int, int], ...]
  up: tuple[int, ...]

  def results(self) -> tuple[int, ...]:
    """(H', W') of the result."""
    axes = zip(self.places, self.window, self.strides, self.pads, self.up, strict=True)
    return tuple((u * (n - 1) + 1 + low + high - k) // s + 1 for n, k, s, (low, high), u in axes)

  def backward(self) -> 'How':
    """That of the input's gradient: a convolution of the result's, with the kernel turned round."""
    axes = zip(
      self.places, self.results(), self.window, self.strides, self.pads, self.up, strict=True
    )
    pads = tuple((k - 1 - low, u * (n - 1) + low - s * (m - 1)) for n, m, k, s, (low, _), u in axes)
    return How(self.results(), self.window, self.up, pads, self.strides)


def by_xla(x: Array, kernel: Array, how: How) -> Array:
  """The convolution as XLA computes it, [B, H', W', D]."""
  return jax.lax.conv_general_dilated(
    x, kernel, how.strides, how.pads, lhs_dilation=how.up, dimension_numbers=NHWC
  )


def turned(kernel: Array) -> Array:
  """The kernel with which `How.backward` convolves: [h, w, C, D] to [h, w, D, C]."""
  return jnp.swapaxes(kernel[::-1, ::-1], 2, 3)


def is_slow(x: Any, kernel: Any, how: How) -> bool:
  """Whether XLA is slow at a convolution, and `convolve` computes it in another way."""
  return way(x, kernel, how) is not by_xla


def convolve(x: Array, kernel: Array, how: How) -> Array:
  """The convolution, [B, H', W', D], in the fastest way there is on a CPU."""
  return way(x, kernel, how)(x, kernel, how)


def way(x: Any, kernel: Any, how: How) -> Any:
  """The function that computes a convolution; of arrays only shapes and types are asked."""
  size = jnp.dtype(x.dtype).itemsize
  if max(how.up) > 1:
    window = tuple(-(-k // u) for k, u in zip(how.window, how.up, strict=True))
    results = x.shape[0] * how.results()[0] * how.results()[1] * kernel.shape[3] * size
    few = any(n < k for n, k in zip(how.places, window, strict=True))
    return by_phases if few or results >= LARGE_RESULT else by_xla
  few = any(n < k for n, k in zip(how.places, how.window, strict=True))
  return by_products if few or kernel.size * size >= LARGE_KERNEL else by_xla


def by_phases(x: Array, kernel: Array, how: How) -> Array:
  """A convolution of dilated x as several of x itself, whose results interleave.

  Results at p, p + up, p + 2 up, ... meet x by every up-th place of the kernel alone.
  """
  counts = [-(-n // u) for n, u in zip(how.results(), how.up, strict=True)]

  def phase(axis: int, p: int) -> tuple[slice, tuple[int, int]]:
    up, low = how.up[axis], how.pads[axis][0]
    first = (low - p) % up
    places = len(range(first, how.window[axis], up))
    before = (low - p - first) // up
    return slice(first, None, up), (before, counts[axis] - how.places[axis] - before + places - 1)

  def of(p: int, q: int) -> Array:
    (rows, pads), (columns, side_pads) = phase(0, p), phase(1, q)
    part = kernel[rows, columns]
    if not part.size:
      return jnp.zeros((x.shape[0], *counts, kernel.shape[3]), x.dtype)
    return convolve(x, part, How(how.places, part.shape[:2], (1, 1), (pads, side_pads), (1, 1)))

  rows = [jnp.stack([of(p, q) for q in range(how.up[1])], 3) for p in range(how.up[0])]
  y = jnp.stack(rows, 2)  # [B, H' / up, up, W' / up, up, D]
  y = y.reshape(x.shape[0], counts[0] * how.up[0], counts[1] * how.up[1], kernel.shape[3])
  return y[:, : how.results()[0], : how.results()[1]]


def by_products(x: Array, kernel: Array, how: How) -> Array:
  """A convolution of x, not dilated, as a product of matrices for every row of the kernel."""
  rows, columns = meeting(how, 0), meeting(how, 1)
  wide = wide_enough(x.dtype)
  y = jnp.zeros((x.shape[0], *how.results(), kernel.shape[3]), wide)
  if not columns:
    return y.astype(x.dtype)
  x = padded(x, how)
  met = jnp.concatenate([met_by((None, j), x, how) for j in columns], axis=-1)
  for i in rows:
    part = kernel[i, columns[0] : columns[-1] + 1].reshape(-1, kernel.shape[3])
    y += jnp.dot(met_by((i, None), met, how), part, preferred_element_type=wide)
  return y.astype(x.dtype)


def kernel_gradient(how: How, x: Array, dy: Array) -> Array:
  """The gradient of the kernel, [h, w, C, D], where that of the result, [B, H', W', D], is dy.

  A product of matrices, summed over the batch: of what places of the kernel have met, [B * H' * W',
  places * C], with dy. As much of the batch is multiplied at a time as fits a cache.
  """
  dilated = max(how.up) > 1
  of_part = of_dilated if dilated else by_rows if is_wide(how, x) else by_places
  where, channels = (how.places, dy.shape[3]) if dilated else (how.results(), x.shape[3])
  # Of columns, and again of them what a row meets; or of all places.
  gathered = 2 * how.window[1] if of_part is by_rows else math.prod(how.window)
  count = parts(x.shape[0], math.prod(where) * gathered * channels * x.dtype.itemsize)
  if count == 1:
    return of_part(how, x, dy).astype(x.dtype)
  pairs = [y.reshape(count, -1, *y.shape[1:]) for y in (x, dy)]
  add = lambda found, pair: (found + of_part(how, *pair), None)
  start = jnp.zeros_like(jax.eval_shape(lambda *pair: of_part(how, *pair), *(y[0] for y in pairs)))
  return jax.lax.scan(add, start, pairs)[0].astype(x.dtype)


def is_wide(how: How, x: Array) -> bool:
  """Whether a kernel's rows one by one are faster: nothing but columns is copied then."""
  met = math.prod(how.results() + how.window) * x.shape[3] * x.dtype.itemsize
  return max(how.strides) == 1 and x.shape[3] >= ROW_CHANNELS and met >= ROW_BYTES


def by_rows(how: How, x: Array, dy: Array) -> Array:
  """The gradient of a kernel by a product for each of its rows; float32 or wider."""
  x = padded(x, how)
  met = jnp.concatenate([met_by((None, j), x, how) for j in range(how.window[1])], axis=-1)
  found = jnp.concatenate([product(met_by((i, None), met, how), dy) for i in range(how.window[0])])
  return found.reshape(*how.window, x.shape[3], dy.shape[3])


def by_places(how: How, x: Array, dy: Array) -> Array:
  """The gradient of a kernel by one product for all of its places; float32 or wider."""
  x = padded(x, how)
  places = [(i, j) for i in range(how.window[0]) for j in range(how.window[1])]
  met = [met_by((i, j), x, how) for i, j in places]
  found = product(jnp.concatenate(met, axis=-1), dy)
  return found.reshape(*how.window, x.shape[3], dy.shape[3])


def of_dilated(how: How, x: Array, dy: Array) -> Array:
  """The gradient of a kernel where x is dilated; float32 or wider."""
  places = [(i, j) for i in range(how.window[0]) for j in range(how.window[1])]
  met = jnp.concatenate([met_by_input(place, how, x, dy) for place in places], axis=-1)
  found = product(x, met)  # [C, h * w * D]
  return jnp.moveaxis(found.reshape(x.shape[-1], *how.window, dy.shape[-1]), 0, 2)


def parts(batch_size: int, example_bytes: int) -> int:
  """Into how many equal parts a batch is cut, so that each fits the cache if it can."""
  fitting = max(CACHE_BYTES // max(example_bytes, 1), 1)
  counts = (n for n in range(1, batch_size + 1) if batch_size % n == 0)
  return next(n for n in counts if batch_size // n <= fitting)


def meeting(how: How, axis: int) -> list[int]:
  """The places of the kernel from the first to the last that meet x, not only its padding."""
  low, n = how.pads[axis][0], how.places[axis]
  starts = [how.strides[axis] * o - low for o in range(how.results()[axis])]
  met = [k for k in range(how.window[axis]) if any(0 <= start + k < n for start in starts)]
  return list(range(met[0], met[-1] + 1)) if met else []


def padded(x: Array, how: How) -> Array:
  """Pads x."""
  zero = jnp.zeros((), x.dtype)
  return jax.lax.pad(x, zero, ((0, 0, 0), (*how.pads[0], 0), (*how.pads[1], 0), (0, 0, 0)))


def met_by(place: tuple[int | None, int | None], x: Array, how: How) -> Array:
  """Of x, padded, what (row, column) of the kernel meets; None leaves an axis as it is."""
  start, end, step = [0] * 4, [*x.shape], [1] * 4
  for axis, (first, stride, count) in enumerate(
    zip(place, how.strides, how.results(), strict=True)
  ):
    if first is not None:
      start[axis + 1], end[axis + 1] = first, first + stride * (count - 1) + 1
      step[axis + 1] = stride
  return jax.lax.slice(x, start, end, step)


def met_by_input(place: tuple[int, int], how: How, x: Array, dy: Array) -> Array:
  """Of dy, padded, what x meets by one place if x is dilated: [B, H, W, D].

  Row h of x meets row up * h + low - place; those that are not there are zero.
  """
  config = [(0, 0, 0)]
  for axis in (0, 1):
    first = how.pads[axis][0] - place[axis]
    last = how.up[axis] * (x.shape[1 + axis] - 1) + first
    config.append((-first, last + 1 - dy.shape[1 + axis], 0))
  met = jax.lax.pad(dy, jnp.zeros((), dy.dtype), (*config, (0, 0, 0)))
  return met[:, :: how.up[0], :: how.up[1]]


def product(x: Array, dy: Array) -> Array:
  """Sums over all examples and places: [B, H, W, C], [B, H, W, D] to [C, D], float32 or wider."""
  x, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
  return jnp.dot(x.T, dy, preferred_element_type=wide_enough(x.dtype))


def wide_enough(dtype: Any) -> Any:
  """The type to sum in: float32, or a wider one as it is."""
  return dtype if jnp.dtype(dtype).itemsize >= 4 else jnp.float32
