"""Convolutions that are fast on CPUs too, where XLA's own, or their gradients, can be slow.

`Conv` has the parameters and the results of `nn.Conv`, and `ConvTranspose` those of
`nn.ConvTranspose`. On other platforms the program is the same as theirs; what a CPU computes in
another way, and why, stands in conv_cpu.py.

Under `jax.vmap` over kernels (`train.seeds`) XLA makes one grouped convolution, which takes a CPU 5
times as long as the members one after the other: of 3 x 3 on [64, 8, 8, 32] for 8 members 54 ms and
10 ms (AMD Zen 3). So there they are computed in sequence, each as if it were alone. A step of
`configs/digits_cnn.py` for 8 seeds took 19 times the processor time of a step for one, and takes
6.5 (idle machine; 5.9 times by the clock). Products over patches instead, batched over members or
one after the other, took 14 to 70 ms; a loop (`lax.map`) over members, in which XLA leaves out its
fastest kernels, 21 times a step.
Gradients of kernels of few places are XLA's there: as fast in a step, compiled in half the time.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from flax.typing import Initializer

from zoo.models.conv_cpu import NHWC, How, by_xla, convolve, is_slow, kernel_gradient, turned
from zoo.types import Array

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
  """`jax.lax.conv_general_dilated`, computed in other ways on CPUs where XLA is slow.

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


# The result, and what its gradients along either argument are, are linear in two arrays each. So
# the derivatives of all three are among them.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def planar(x: Array, kernel: Array, how: How) -> Array:
  """The convolution of `conv` for its plain case."""
  plain = lambda x, kernel: by_xla(x, kernel, how)
  quick = lambda x, kernel: convolve(x, kernel, how)
  single = on_cpu(quick, plain) if is_slow(x, kernel, how) else plain
  return by_member(single, single, examples=True)(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def of_input(dy: Array, kernel: Array, how: How) -> Array:
  """The gradient of x, [B, H, W, C], where that of the result is dy."""

  def plain(dy: Array, kernel: Array) -> Array:
    shape = (dy.shape[0], *how.places, kernel.shape[2])
    x = jax.ShapeDtypeStruct(shape, dy.dtype)
    return jax.linear_transpose(lambda x: by_xla(x, kernel, how), x)(dy)[0]

  back = how.backward()
  quick = lambda dy, kernel: convolve(dy, turned(kernel), back)
  slow = is_slow(dy, jax.eval_shape(turned, kernel), back)
  single = on_cpu(quick, plain) if slow else plain
  return by_member(single, single, examples=True)(dy, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def of_kernel(x: Array, dy: Array, how: How) -> Array:
  """The gradient of the kernel, [h, w, C, D], where that of the result is dy."""

  def plain(x: Array, dy: Array) -> Array:
    kernel = jax.ShapeDtypeStruct((*how.window, x.shape[-1], dy.shape[-1]), dy.dtype)
    return jax.linear_transpose(lambda kernel: by_xla(x, kernel, how), kernel)(dy)[0]

  tiles = how.window == how.strides
  single = plain if tiles else on_cpu(functools.partial(kernel_gradient, how), plain)
  few = dy.shape[1] * dy.shape[2] <= FEW_PLACES
  return by_member(single, plain if few else single)(x, dy)


def on_cpu(quick: Callable, plain: Callable) -> Callable:
  """What computes two arrays' result by `quick` on CPUs and by `plain` elsewhere."""
  return lambda a, b: jax.lax.platform_dependent(a, b, cpu=quick, default=plain)


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
