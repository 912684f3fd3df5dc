"""Convolutions whose kernel gets its gradient by matrix products where XLA's own is slow: on CPUs.

`Conv` has the parameters and the results of `nn.Conv`, and `ConvTranspose` those of
`nn.ConvTranspose`. On other platforms the program is the same as theirs.

On 2 vCPUs of an AMD Zen 3 with jax 0.10.2, which multiply large matrices at 95-125 Gflop/s, the
gradient of a kernel of 3 x 3 on [128, 32, 32, 64] is computed at 4 Gflop/s by XLA and at 52 by
products, on [128, 16, 16, 128] at 28 and 91, on [128, 4, 4, 512] at 80 and 96. To multiply the
whole batch at once, and not what fits a cache, is half as fast. Inside a loop
(`train.steps_per_call`) XLA is slower still.

Under `jax.vmap` over kernels (`train.seeds`) XLA makes one grouped convolution, which takes a CPU 5
times as long as the members one after the other: of 3 x 3 on [64, 8, 8, 32] for 8 members 54 ms and
10 ms. So there they are computed in sequence, each as if it were alone. A step of
`configs/digits_cnn.py` for 8 seeds took 19 times the processor time of a step for one, and takes
6.5 (idle machine; 5.9 times by the clock). Products over patches instead, batched over members or
one after the other, took 14 to 70 ms; a loop (`lax.map`) over members, in which XLA leaves out its
fastest kernels, 21 times a step.
Gradients of kernels of few places are XLA's there: as fast in a step, compiled in half the time.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Initializer

from zoo.types import Array

NHWC = jax.lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
CACHE_BYTES = 4 * 2**20  # between what one core has for itself and what cores share
FEW_PLACES = 100  # of a result: of no more, members get gradients of kernels by XLA


def conv(
  x: Array,
  kernel: Array,
  strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  lhs_dilation: Sequence[int] | None = None,
  rhs_dilation: Sequence[int] | None = None,
  dimension_numbers: Any = NHWC,
  feature_group_count: int = 1,
  precision: Any = None,
  preferred_element_type: Any = None,
) -> Array:
  """`jax.lax.conv_general_dilated`, with another gradient for the kernel on CPUs.

  What is not of two dimensions in NHWC, is grouped or dilates the kernel, is left to XLA. So are
  gradients where windows tile the picture, 1 x 1 without strides among them, which are matrix
  products already. There is no derivative in forward mode (`jax.jvp`).

  Args:
    x: [B, H, W, C].
    kernel: [h, w, C, D].
    strides: of the window.
    padding: 'SAME', 'VALID' or (low, high) per axis.
    lhs_dilation: of x: a transposed convolution has its stride here.
    rhs_dilation: of the kernel.
    dimension_numbers: as Flax gives them.
    feature_group_count: groups of channels.
    precision: of the products.
    preferred_element_type: of the result.

  Returns:
    [B, H', W', D].
  """
  up = tuple(lhs_dilation or (1,) * (x.ndim - 2))
  plain = x.ndim == 4 and dimension_numbers == NHWC and feature_group_count == 1
  plain = plain and preferred_element_type is None and precision is None
  plain = plain and (max(up) == 1 or max(strides) == 1)
  if not plain or any(d != 1 for d in rhs_dilation or ()):
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      strides,
      padding,
      lhs_dilation=lhs_dilation,
      rhs_dilation=rhs_dilation,
      dimension_numbers=dimension_numbers,
      feature_group_count=feature_group_count,
      precision=precision,
      preferred_element_type=preferred_element_type,
    )
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
  pads = tuple((int(low), int(high)) for low, high in padding)
  return planar(x, kernel, How(x.shape[1:3], kernel.shape[:2], tuple(strides), pads, up))


Conv = functools.partial(nn.Conv, conv_general_dilated=conv)


class How(NamedTuple):
  """What a convolution is but for its arrays.

  Attributes:
    places: (H, W) of x.
    window: (h, w) of the kernel.
    strides: of the window.
    pads: (low, high) per axis of x, dilated.
    up: by how much x is dilated.
  """

  places: tuple[int, ...]
  window: tuple[int, ...]
  strides: tuple[int, ...]
  pads: tuple[tuple[int, int], ...]
  up: tuple[int, ...]


# The result, and what its gradients along either argument are, are linear in two arrays each. So
# the derivatives of all three are among them.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def planar(x: Array, kernel: Array, how: How) -> Array:
  """The convolution of `conv` for its plain case."""
  single = lambda x, kernel: by_xla(x, kernel, how)
  return by_member(single, single, examples=True)(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def of_input(dy: Array, kernel: Array, how: How) -> Array:
  """The gradient of x, [B, H, W, C], where that of the result is dy."""

  def single(dy: Array, kernel: Array) -> Array:
    shape = (dy.shape[0], *how.places, kernel.shape[2])
    x = jax.ShapeDtypeStruct(shape, dy.dtype)
    return jax.linear_transpose(lambda x: by_xla(x, kernel, how), x)(dy)[0]

  return by_member(single, single, examples=True)(dy, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def of_kernel(x: Array, dy: Array, how: How) -> Array:
  """The gradient of the kernel, [h, w, C, D], where that of the result is dy."""

  def plain(x: Array, dy: Array) -> Array:
    kernel = jax.ShapeDtypeStruct((*how.window, x.shape[-1], dy.shape[-1]), dy.dtype)
    return jax.linear_transpose(lambda kernel: by_xla(x, kernel, how), kernel)(dy)[0]

  products = functools.partial(kernel_gradient, how)
  by_products = lambda x, dy: jax.lax.platform_dependent(x, dy, cpu=products, default=plain)
  tiles = how.window == how.strides
  single = plain if tiles else by_products
  few = dy.shape[1] * dy.shape[2] <= FEW_PLACES
  return by_member(single, plain if few else single)(x, dy)


def derive(function: Any, of_first: Callable, of_second: Callable) -> None:
  """Says what a function's gradients are: each is (first, second, gradient, how) -> it."""
  forward = lambda a, b, how: (function(a, b, how), (a, b))
  backward = lambda how, saved, g: (of_first(*saved, g, how), of_second(*saved, g, how))
  function.defvjp(forward, backward)


derive(
  planar,
  lambda x, kernel, g, how: of_input(g, kernel, how),
  lambda x, kernel, g, how: of_kernel(x, g, how),
)
derive(
  of_input,
  lambda dy, kernel, g, how: planar(g, kernel, how),
  lambda dy, kernel, g, how: of_kernel(g, dy, how),
)
derive(
  of_kernel,
  lambda x, dy, g, how: of_input(dy, g, how),
  lambda x, dy, g, how: planar(x, g, how),
)


def by_member(single: Callable, of_member: Callable, examples: bool = False) -> Callable:
  """Makes a function of two arrays one that `jax.vmap` maps as a sequence on CPUs.

  Args:
    single: what to compute, without an axis of members. On other platforms it is mapped as it is.
    of_member: the same, as it is computed of each of several.
    examples: whether the first array leads with examples that are independent. If it alone has
      members, they are more of them then; if the second alone has, they are more channels.
  """
  call = jax.custom_batching.custom_vmap(single)

  @call.def_vmap
  def _(size: int, mapped: list[bool], a: Array, b: Array) -> tuple[Array, bool]:
    if examples and not mapped[1]:
      y = call(a.reshape(-1, *a.shape[2:]), b)
      return y.reshape(size, -1, *y.shape[1:]), True
    together = jax.vmap(single, [0 if x else None for x in mapped])
    if examples and not mapped[0]:
      return together(a, b), True
    inner = by_member(of_member, of_member, examples)

    def in_sequence(a: Array, b: Array) -> Array:
      # Or every member computes again, for each place of the kernel, what they were computed from.
      a, b = jax.lax.optimization_barrier((a, b))
      one = lambda i: [x[i] if axis else x for x, axis in zip((a, b), mapped, strict=True)]
      return jnp.stack([inner(*one(i)) for i in range(size)])

    return jax.lax.platform_dependent(a, b, cpu=in_sequence, default=together), True

  return call


def by_xla(x: Array, kernel: Array, how: How) -> Array:
  """The same with the gradients of XLA."""
  return jax.lax.conv_general_dilated(
    x, kernel, how.strides, how.pads, lhs_dilation=how.up, dimension_numbers=NHWC
  )


def kernel_gradient(how: How, x: Array, dy: Array) -> Array:
  """The gradient of the kernel, [h, w, C, D]: a product of matrices, summed over the batch.

  It is of what every place of the kernel has met, [B * H' * W', h * w * C], with the gradient of
  the result, [B * H' * W', D]. As much of the batch is multiplied at a time as fits a cache.
  """
  places = [(i, j) for i in range(how.window[0]) for j in range(how.window[1])]
  dilated = max(how.up) > 1

  def of_part(x: Array, dy: Array) -> Array:
    if dilated:
      met = [met_by_input(place, how, x, dy) for place in places]
      return product(x, jnp.concatenate(met, axis=-1))
    met = [met_by_gradient(place, how, x, dy) for place in places]
    return product(jnp.concatenate(met, axis=-1), dy)

  where, channels = (x, dy.shape[-1]) if dilated else (dy, x.shape[-1])
  entries = where.shape[1] * where.shape[2] * len(places) * channels
  count = parts(x.shape[0], entries * x.dtype.itemsize)
  if count == 1:
    found = of_part(x, dy)
  else:
    pairs = [y.reshape(count, -1, *y.shape[1:]) for y in (x, dy)]
    add = lambda found, pair: (found + of_part(*pair), None)
    start = jnp.zeros_like(jax.eval_shape(of_part, *(y[0] for y in pairs)))
    found, _ = jax.lax.scan(add, start, pairs)
  found = found.astype(x.dtype)
  if dilated:  # [C, h * w * D]
    return jnp.moveaxis(found.reshape(x.shape[-1], *how.window, dy.shape[-1]), 0, 2)
  return found.reshape(*how.window, x.shape[-1], dy.shape[-1])


def parts(batch_size: int, example_bytes: int) -> int:
  """Into how many equal parts a batch is cut, so that each fits the cache if it can."""
  fitting = max(CACHE_BYTES // max(example_bytes, 1), 1)
  counts = (n for n in range(1, batch_size + 1) if batch_size % n == 0)
  return next(n for n in counts if batch_size // n <= fitting)


def met_by_gradient(place: tuple[int, int], how: How, x: Array, dy: Array) -> Array:
  """Of x, padded, what one place of the kernel meets: [B, H', W', C]."""
  zero = jnp.zeros((), x.dtype)
  padded = jax.lax.pad(x, zero, ((0, 0, 0), (*how.pads[0], 0), (*how.pads[1], 0), (0, 0, 0)))
  ends = [p + s * (n - 1) + 1 for p, s, n in zip(place, how.strides, dy.shape[1:3], strict=True)]
  start, end = (0, *place, 0), (x.shape[0], *ends, x.shape[3])
  return jax.lax.slice(padded, start, end, (1, *how.strides, 1))


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
  return jnp.dot(x.T, dy, preferred_element_type=jnp.promote_types(x.dtype, jnp.float32))


class ConvTranspose(nn.Module):
  """`nn.ConvTranspose` in two dimensions with padding 'SAME': [B, H, W, C] -> [B, sH, tW, D].

  Attributes:
    features: D.
    kernel_size: of the window.
    strides: (s, t).
    use_bias: whether there is one.
    kernel_init: how weights start; the bias starts at zero.
    dtype: of the computation; parameters are float32.
  """

  features: int
  kernel_size: tuple[int, int]
  strides: tuple[int, int] = (1, 1)
  use_bias: bool = True
  kernel_init: Initializer = nn.initializers.lecun_normal()
  dtype: Any = None

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Returns the upsampled map."""
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel = self.param('kernel', self.kernel_init, shape, jnp.float32)
    bias = self.param('bias', nn.initializers.zeros, (self.features,)) if self.use_bias else None
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
    pads = [same(k, s) for k, s in zip(self.kernel_size, self.strides, strict=True)]
    y = conv(x, kernel, (1, 1), pads, self.strides)
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)


def same(size: int, stride: int) -> tuple[int, int]:
  """The padding of a dilated axis by which a window of `size` gives `stride` results per entry."""
  total = size + stride - 2
  low = size - 1 if stride > size - 1 else -(-total // 2)
  return low, total - low
