"""Inception v3 as the Frechet inception distance has it: pictures to 2048 features, never trained.

Every layer has the name that it has in the published weights (`zoo/interop/inception.py`).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.models.conv import Conv
from zoo.types import Array

SIDE = 299  # of the pictures that it was trained on


class InceptionV3(nn.Module):
  """Pictures, float32 [B, H, W, 1 or 3] in [0, 1], to features, float32 [B, 2048].

  21,785,568 parameters, without a head. The network is the one that TensorFlow published in 2015:
  unlike other Inceptions, averages over 3 x 3 leave out what lies over the border, and the last
  block takes the greatest of 3 x 3 where the one before it takes the average.

  References:
    Szegedy et al. 2016, Rethinking the Inception Architecture for Computer Vision, table 1. Heusel
    et al. 2017, GANs Trained by a Two Time-Scale Update Rule, for its use.
  """

  @nn.compact
  def __call__(self, x: Array) -> Array:
    x = to_input(x)
    x = unit(32, 3, 'Conv2d_1a_3x3', 2)(x)
    x = unit(32, 3, 'Conv2d_2a_3x3', padding='VALID')(x)
    x = unit(64, 3, 'Conv2d_2b_3x3')(x)
    x = halved(x)
    x = unit(80, 1, 'Conv2d_3b_1x1')(x)
    x = unit(192, 3, 'Conv2d_4a_3x3', padding='VALID')(x)
    x = halved(x)
    for name, pooled in (('5b', 32), ('5c', 64), ('5d', 64)):
      x = BlockA(pooled, name=f'Mixed_{name}')(x)
    x = BlockB(name='Mixed_6a')(x)
    for name, width in (('6b', 128), ('6c', 160), ('6d', 160), ('6e', 192)):
      x = BlockC(width, name=f'Mixed_{name}')(x)
    x = BlockD(name='Mixed_7a')(x)
    x = BlockE(name='Mixed_7b')(x)
    x = BlockE(greatest=True, name='Mixed_7c')(x)
    return x.mean((1, 2))


def to_input(images: Array) -> Array:
  """Pictures [B, H, W, 1 or 3] in [0, 1] to [B, 299, 299, 3] in [-1, 1], bilinearly; grey thrice.

  Raises:
    ValueError: another shape.
  """
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ValueError(
      f'Inception takes pictures [batch, height, width, 1 or 3], not shape {images.shape}'
    )
  x = jnp.broadcast_to(images, (*images.shape[:-1], 3))
  x = jax.image.resize(x, (len(x), SIDE, SIDE, 3), 'bilinear', antialias=False)
  return 2 * x - 1


class Unit(nn.Module):
  """A convolution, batch norm by the running statistics, and a rectifier."""

  features: int
  size: tuple[int, int]
  stride: int = 1
  padding: str = 'SAME'

  @nn.compact
  def __call__(self, x: Array) -> Array:
    strides = (self.stride, self.stride)
    options = {'padding': self.padding, 'use_bias': False, 'name': 'conv'}
    x = Conv(self.features, self.size, strides, **options)(x)
    return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name='bn')(x))


def unit(
  features: int,
  size: int | tuple[int, int],
  name: str,
  stride: int = 1,
  padding: str = 'SAME',
) -> Unit:
  """A `Unit`; those with a stride have no padding."""
  sizes = (size, size) if isinstance(size, int) else size
  return Unit(features, sizes, stride, 'VALID' if stride > 1 else padding, name=name)


def halved(x: Array) -> Array:
  return nn.max_pool(x, (3, 3), (2, 2))


def average(x: Array) -> Array:
  """The mean of the up to 9 places around each that lie in the picture."""
  return nn.avg_pool(x, (3, 3), (1, 1), 'SAME', count_include_pad=False)


def joined(*branches: Array) -> Array:
  return jnp.concatenate(branches, axis=-1)


class BlockA(nn.Module):
  """Windows of 1, 5, and twice 3, at 35 x 35; `pooled` channels of averages."""

  pooled: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    one = unit(64, 1, 'branch1x1')(x)
    five = unit(48, 1, 'branch5x5_1')(x)
    five = unit(64, 5, 'branch5x5_2')(five)
    three = unit(64, 1, 'branch3x3dbl_1')(x)
    three = unit(96, 3, 'branch3x3dbl_2')(three)
    three = unit(96, 3, 'branch3x3dbl_3')(three)
    return joined(one, five, three, unit(self.pooled, 1, 'branch_pool')(average(x)))


class BlockB(nn.Module):
  """From 35 x 35 to 17 x 17."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    double = unit(64, 1, 'branch3x3dbl_1')(x)
    double = unit(96, 3, 'branch3x3dbl_2')(double)
    double = unit(96, 3, 'branch3x3dbl_3', 2)(double)
    return joined(unit(384, 3, 'branch3x3', 2)(x), double, halved(x))


class BlockC(nn.Module):
  """Rows and columns of 7, at 17 x 17, of `width` channels between them."""

  width: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    row, column = (1, 7), (7, 1)
    seven = unit(self.width, 1, 'branch7x7_1')(x)
    seven = unit(self.width, row, 'branch7x7_2')(seven)
    seven = unit(192, column, 'branch7x7_3')(seven)
    double = unit(self.width, 1, 'branch7x7dbl_1')(x)
    double = unit(self.width, column, 'branch7x7dbl_2')(double)
    double = unit(self.width, row, 'branch7x7dbl_3')(double)
    double = unit(self.width, column, 'branch7x7dbl_4')(double)
    double = unit(192, row, 'branch7x7dbl_5')(double)
    pool = unit(192, 1, 'branch_pool')(average(x))
    return joined(unit(192, 1, 'branch1x1')(x), seven, double, pool)


class BlockD(nn.Module):
  """From 17 x 17 to 8 x 8."""

  @nn.compact
  def __call__(self, x: Array) -> Array:
    three = unit(192, 1, 'branch3x3_1')(x)
    three = unit(320, 3, 'branch3x3_2', 2)(three)
    seven = unit(192, 1, 'branch7x7x3_1')(x)
    seven = unit(192, (1, 7), 'branch7x7x3_2')(seven)
    seven = unit(192, (7, 1), 'branch7x7x3_3')(seven)
    seven = unit(192, 3, 'branch7x7x3_4', 2)(seven)
    return joined(three, seven, halved(x))


class BlockE(nn.Module):
  """Rows and columns of 3 side by side, at 8 x 8; `greatest` or average of what is around."""

  greatest: bool = False

  @nn.compact
  def __call__(self, x: Array) -> Array:
    row, column = (1, 3), (3, 1)
    three = unit(384, 1, 'branch3x3_1')(x)
    three = joined(unit(384, row, 'branch3x3_2a')(three), unit(384, column, 'branch3x3_2b')(three))
    double = unit(448, 1, 'branch3x3dbl_1')(x)
    double = unit(384, 3, 'branch3x3dbl_2')(double)
    double = joined(
      unit(384, row, 'branch3x3dbl_3a')(double), unit(384, column, 'branch3x3dbl_3b')(double)
    )
    around = nn.max_pool(x, (3, 3), (1, 1), 'SAME') if self.greatest else average(x)
    pool = unit(192, 1, 'branch_pool')(around)
    return joined(unit(320, 1, 'branch1x1')(x), three, double, pool)
