"""A U-Net with residual blocks: from a picture to a picture of the same size, whatever the size."""

import functools

import flax.linen as nn
import jax.numpy as jnp

from zoo.models.conv import Conv
from zoo.models.layers import (
  activation,
  compute_dtype,
  hidden_init,
  normalization,
  output_init,
)
from zoo.types import Array


class UNet(nn.Module):
  """Residual blocks at several resolutions, down and up again, with a skip across at each.

  The way down halves the resolution by convolutions of 2 x 2 with stride 2, the way up doubles it
  by their transposes; both are dense layers between `fold` and `unfold`. A picture whose sides the
  coarsest resolution does not divide is extended by its border, and the result cut to size.

  The last convolution starts at zero: as does the result, or with `residual` as the input.

  Attributes:
    widths: channels at each resolution, the finest first.
    blocks: residual blocks at each resolution, on the way down and again on the way up.
    out_channels: of the result.
    residual: whether the first `out_channels` channels of the input are added to the result.
    patch_size: squares of this side become one place before anything else, and places squares in
      the end: 2 takes a quarter of the time. 1 leaves pixels as they are.
    norm: 'batch', 'group', 'layer' or 'none', see `layers.normalization`.
    momentum: of batch statistics.
    activation: of `jax.nn`.
    dropout: rate, between the two convolutions of a block.
    dtype: of the computation; parameters are float32.
    axis_name: the axis of pmap, over which batch statistics are shared.

  References:
    Ronneberger et al. 2015, U-Net. He et al. 2016, Identity Mappings in Deep Residual Networks, for
    the order within a block. Ho et al. 2020, Denoising Diffusion Probabilistic Models, appendix B,
    for the two together, and the time. Zhang et al. 2018, FFDNet, section 3.2, for `patch_size`.
  """

  widths: tuple[int, ...] = (32, 64, 128)
  blocks: int = 1
  out_channels: int = 3
  residual: bool = False
  patch_size: int = 1
  norm: str = 'group'
  momentum: float = 0.9
  activation: str = 'silu'
  dropout: float = 0.0
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Array, time: Array | None = None, *, train: bool) -> Array:
    """Maps pictures [B, H, W, C] to float32 [B, H, W, out_channels].

    Args:
      x: the pictures.
      time: [B], how far a process has gone, or how much noise there is, in any unit in which 1 is
        a small step; None for a network that is not told, and has no parameters for it.
      train: whether to drop, and to measure batch statistics.

    Raises:
      ValueError: an input of another rank, or a field that makes no sense.
    """
    if x.ndim != 4:
      raise ValueError(f'UNet takes pictures [batch, height, width, channels], not {x.shape}')
    if not self.widths or self.patch_size < 1:
      raise ValueError(f'UNet needs widths and a patch_size >= 1, not {self.patch_size}')
    if self.residual and x.shape[-1] < self.out_channels:
      raise ValueError(f'UNet cannot add {x.shape[-1]} channels to {self.out_channels}')
    act, dtype = activation(self.activation), compute_dtype(self.dtype)
    options = {'momentum': self.momentum, 'axis_name': self.axis_name}
    dense = functools.partial(nn.Dense, kernel_init=output_init, dtype=dtype)
    block = functools.partial(
      ResidualBlock, norm=self.norm, activation=self.activation, dropout=self.dropout, **options
    )
    embedded = None
    if time is not None:
      embedded = dense(4 * self.widths[0])(sinusoids(time, self.widths[0]).astype(dtype))
      embedded = act(dense(4 * self.widths[0])(act(embedded)))

    inputs, (height, width) = x, x.shape[1:3]
    x = extend(x.astype(dtype), self.patch_size * 2 ** (len(self.widths) - 1))
    x = fold(x, self.patch_size)
    x = Conv(self.widths[0], (3, 3), kernel_init=output_init, dtype=dtype)(x)
    skips = []
    for level, channels in enumerate(self.widths):
      if level:
        skips.append(x)
        x = dense(channels)(fold(x, 2))
      for _ in range(self.blocks):
        x = block(channels)(x, embedded, train=train)
    for channels, skip in zip(self.widths[-2::-1], reversed(skips), strict=True):
      x = jnp.concatenate([unfold(dense(4 * channels)(x), 2), skip], axis=-1)
      for _ in range(self.blocks):
        x = block(channels)(x, embedded, train=train)

    x = act(normalization(self.norm, self.widths[0], train=train, **options)(x))
    channels = self.patch_size**2 * self.out_channels
    x = Conv(channels, (3, 3), kernel_init=nn.initializers.zeros, dtype=dtype, name='out')(x)
    x = unfold(x, self.patch_size)[:, :height, :width].astype(jnp.float32)
    return x + inputs[..., : self.out_channels].astype(jnp.float32) if self.residual else x


class ResidualBlock(nn.Module):
  """Twice (norm, activation, convolution of 3 x 3), added to the input.

  Attributes:
    width: channels of the result; the input passes a dense layer if it has others.
    norm: as in `UNet`, like all that follow.
  """

  width: int
  norm: str
  activation: str
  dropout: float
  momentum: float
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, time: Array | None, *, train: bool) -> Array:
    """Maps [B, H, W, C] to [B, H, W, width]; `time`, [B, D] or None, shifts all places alike."""
    act = activation(self.activation)
    norm = functools.partial(
      normalization, self.norm, train=train, momentum=self.momentum, axis_name=self.axis_name
    )
    conv = functools.partial(Conv, self.width, (3, 3), dtype=x.dtype)
    y = conv(kernel_init=hidden_init, use_bias=self.norm != 'batch')(act(norm(x.shape[-1])(x)))
    if time is not None:
      y += nn.Dense(self.width, kernel_init=output_init, dtype=x.dtype)(time)[:, None, None]
    y = act(norm(self.width)(y))
    y = conv(kernel_init=output_init)(nn.Dropout(self.dropout, deterministic=not train)(y))
    if x.shape[-1] != self.width:
      x = nn.Dense(self.width, kernel_init=output_init, dtype=x.dtype)(x)
    return x + y


def sinusoids(time: Array, width: int) -> Array:
  """float32 [B, width]: sines and cosines of the times [B], of wavelengths 2 pi to 20,000 pi.

  References:
    Vaswani et al. 2017, Attention Is All You Need, section 3.5.
  """
  half = width // 2
  frequencies = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / half)
  angles = time.astype(jnp.float32)[:, None] * frequencies[None]
  waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return jnp.pad(waves, ((0, 0), (0, width - 2 * half)))


def extend(x: Array, multiple: int) -> Array:
  """Repeats the last row and column until the sides of [B, H, W, C] are multiples."""
  below, right = -x.shape[1] % multiple, -x.shape[2] % multiple
  return jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0)), mode='edge')


def fold(x: Array, side: int) -> Array:
  """Squares of pixels become places: [B, H, W, C] -> [B, H / side, W / side, side^2 C]."""
  B, H, W, C = x.shape
  x = x.reshape(B, H // side, side, W // side, side, C).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(B, H // side, W // side, side * side * C)


def unfold(x: Array, side: int) -> Array:
  """The inverse of `fold`."""
  B, H, W, C = x.shape
  C //= side * side
  x = x.reshape(B, H, W, side, side, C).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(B, H * side, W * side, C)
