"""A convolutional autoencoder, variational or not, for pictures of any size and depth."""

import functools
import math
from collections.abc import Callable

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

PER_VALUE = 2  # numbers that the decoder says of each value of a picture


class VAE(nn.Module):
  """An encoder of pictures into few latent numbers, and a decoder into what they say of each value.

  Convolutions halve the resolution from level to level of the encoder, and double it again in the
  decoder, behind a repetition of pixels. Odd sides are rounded up on the way down, and the surplus
  is cut off on the way up.

  Attributes:
    image_shape: (H, W, C) of the pictures.
    latent_size: L.
    widths: channels of each level, the finest first; the first has the resolution of the pictures.
    variational: whether the encoder says how uncertain the latent numbers are; if not, it is a
      plain autoencoder.
    norm: 'batch', 'group', 'layer' or 'none', see `layers.normalization`.
    momentum: of batch statistics.
    activation: of `jax.nn`.
    dtype: of the computation; parameters are float32.
    axis_name: the axis of pmap, over which batch statistics are shared.

  References:
    Kingma and Welling 2014, Auto-Encoding Variational Bayes. Hinton and Salakhutdinov 2006,
    Reducing the Dimensionality of Data with Neural Networks. Odena et al. 2016, Deconvolution and
    Checkerboard Artifacts, for the repetition of pixels.
  """

  image_shape: tuple[int, ...] = (28, 28, 1)
  latent_size: int = 16
  widths: tuple[int, ...] = (32, 64)
  variational: bool = True
  norm: str = 'none'
  momentum: float = 0.9
  activation: str = 'silu'
  dtype: str = 'float32'
  axis_name: str | None = None

  def setup(self):
    if self.latent_size < 1 or not self.widths:
      raise ValueError(f'VAE needs widths and a latent_size >= 1, not {self.latent_size}')
    if len(self.image_shape) != 3:
      raise ValueError(f'VAE is for pictures [height, width, channels], not {self.image_shape}')
    block = functools.partial(
      Block,
      norm=self.norm,
      momentum=self.momentum,
      activation=self.activation,
      dtype=self.dtype,
      axis_name=self.axis_name,
    )
    self.encoder = Encoder(self.latent_size * (2 if self.variational else 1), self.widths, block)
    self.decoder = Decoder(self.image_shape, self.widths, block)

  def __call__(self, x: Array, *, train: bool) -> Array:
    """Returns what the decoder says of the means of pictures [B, H, W, C]."""
    return self.decode(self.encode(x, train=train)[0], train=train)

  def encode(self, x: Array, *, train: bool) -> tuple[Array, Array | None]:
    """Encodes pictures [B, H, W, C].

    Returns:
      The means of the latent numbers, float32 [B, L], and the logarithms of their variances,
      likewise, or None of a plain autoencoder.

    Raises:
      ValueError: pictures of another shape than `image_shape`.
    """
    if x.shape[1:] != tuple(self.image_shape):
      raise ValueError(f'this VAE is for pictures {tuple(self.image_shape)}, not {x.shape[1:]}')
    numbers = self.encoder(x, train)
    if not self.variational:
      return numbers, None
    return numbers[:, : self.latent_size], numbers[:, self.latent_size :]

  def decode(self, z: Array, *, train: bool) -> Array:
    """Decodes latent numbers [B, L] into float32 [B, H, W, C, 2]."""
    return self.decoder(z, train)


class Encoder(nn.Module):
  """From pictures to float32 [B, size].

  Attributes:
    size: numbers of each picture.
    widths: as in `VAE`.
    block: makes a `Block` of a width and a stride.
  """

  size: int
  widths: tuple[int, ...]
  block: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    for level, width in enumerate(self.widths):
      x = self.block(width, 2 if level else 1)(x, train)
    x = x.reshape(x.shape[0], -1)
    return nn.Dense(self.size, kernel_init=output_init, dtype=x.dtype)(x).astype(jnp.float32)


class Decoder(nn.Module):
  """From [B, L] to float32 [B, H, W, C, 2].

  Attributes:
    image_shape: as in `VAE`.
    widths: as in `VAE`.
    block: makes a `Block` of a width.
  """

  image_shape: tuple[int, ...]
  widths: tuple[int, ...]
  block: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, z: Array, train: bool) -> Array:
    H, W, C = self.image_shape
    sizes = [(-(-H // 2**level), -(-W // 2**level)) for level in range(len(self.widths))]
    coarsest = (*sizes[-1], self.widths[-1])
    x = nn.Dense(math.prod(coarsest))(z).reshape(-1, *coarsest)
    for width, (height, columns) in zip(self.widths[::-1], sizes[::-1], strict=True):
      if x.shape[1:3] != (height, columns):
        x = x.repeat(2, 1).repeat(2, 2)[:, :height, :columns]
      x = self.block(width)(x, train)
    x = Conv(C * PER_VALUE, (3, 3), kernel_init=output_init, dtype=x.dtype)(x)
    return x.reshape(-1, H, W, C, PER_VALUE).astype(jnp.float32)


class Block(nn.Module):
  """A convolution of 3 x 3, a norm and an activation.

  Attributes:
    width: channels of the result.
    stride: by which the resolution is lower.
    norm: as in `VAE`, like all that follow.
  """

  width: int
  stride: int = 1
  norm: str = 'none'
  momentum: float = 0.9
  activation: str = 'silu'
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    x = Conv(
      self.width,
      (3, 3),
      (self.stride, self.stride),
      use_bias=self.norm == 'none',  # a norm has its own, after it takes the mean away
      kernel_init=hidden_init,
      dtype=compute_dtype(self.dtype),
    )(x)
    options = {'train': train, 'momentum': self.momentum, 'axis_name': self.axis_name}
    return activation(self.activation)(normalization(self.norm, self.width, **options)(x))
