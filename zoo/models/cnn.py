"""A plain convolutional network: blocks of convolutions and pooling, then a classifier."""

import functools
from collections.abc import Sequence

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
from zoo.names import unknown
from zoo.types import Array


def greatest(parts: Sequence[Array]) -> Array:
  """The elementwise maximum; the gradient goes to the first of equals, and NaN passes through.

  Not `jnp.max`: its gradient asks which elements equal the maximum, and XLA may have computed the
  two with different rounding. Behind a batch norm jit on a CPU then got gradients wrong by tens of
  percent (jax 0.10.2 and 0.12.0, 7 x 7 x 128). Not `nn.max_pool`: on a CPU its gradient is 5 to 8
  times as slow.
  """
  return functools.reduce(lambda a, b: jnp.where((b > a) | (b != b), b, a), parts)


def average(parts: Sequence[Array]) -> Array:
  """The elementwise mean."""
  return sum(parts[1:], start=parts[0]) / len(parts)


POOLINGS = {'max': greatest, 'avg': average}


class CNN(nn.Module):
  """Blocks of (convolution, norm, activation), pooled by two, then dense layers and the logits.

  Weights before an activation start by He et al. 2015, those of the logits by LeCun et al. 1998
  (`layers.hidden_init`, `layers.output_init`), biases at zero.

  Attributes:
    widths: channels of each block.
    convs_per_block: convolutions in each block.
    kernel_size: side of their windows.
    norm: 'batch', 'group', 'layer' or 'none', see `layers.normalization`.
    momentum: of batch statistics.
    activation: of `jax.nn`.
    pooling: 'max' or 'avg', after each block, over windows of 2 x 2; an odd row or column is left
      out. An axis of length 1 stays as it is, so there may be more blocks than halvings.
    dense_widths: units of dense layers on the flattened last block. If there are none, the last
      block is averaged over its places instead, and the network takes images of any size.
    dropout: rate, before each dense layer and the logits.
    num_classes: logits, or 0 to return what they would be computed from.
    dtype: of the computation; parameters are float32.
    axis_name: the axis of pmap, over which batch statistics are shared.

  References:
    LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition. Simonyan and
    Zisserman 2015, Very Deep Convolutional Networks, for blocks of 3 x 3. Lin et al. 2014, Network
    in Network, section 3.2, for global average pooling.
  """

  widths: tuple[int, ...] = (32, 64)
  convs_per_block: int = 2
  kernel_size: int = 3
  norm: str = 'batch'
  momentum: float = 0.9
  activation: str = 'relu'
  pooling: str = 'max'
  dense_widths: tuple[int, ...] = ()
  dropout: float = 0.0
  num_classes: int = 10
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Returns the logits, float32 [B, num_classes], or features, of images [B, H, W, C].

    Raises:
      ValueError: an input of another rank, or an unknown name in a field.
    """
    if x.ndim != 4:
      raise ValueError(f'CNN takes images [batch, height, width, channels], not shape {x.shape}')
    act, dtype = activation(self.activation), compute_dtype(self.dtype)
    x = x.astype(dtype)

    for width in self.widths:
      for _ in range(self.convs_per_block):
        x = Conv(
          width,
          (self.kernel_size, self.kernel_size),
          use_bias=self.norm == 'none',  # a norm has its own, after it takes the mean away
          kernel_init=hidden_init,
          dtype=dtype,
        )(x)
        x = normalization(
          self.norm, width, train=train, momentum=self.momentum, axis_name=self.axis_name
        )(x)
        x = act(x)
      x = pool(x, self.pooling)

    x = x.reshape(x.shape[0], -1) if self.dense_widths else x.mean((1, 2))
    for width in self.dense_widths:
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
      x = act(nn.Dense(width, kernel_init=hidden_init, dtype=dtype)(x))

    if self.num_classes:
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
      x = nn.Dense(self.num_classes, kernel_init=output_init, dtype=dtype, name='head')(x)
    return x.astype(jnp.float32)


def pool(x: Array, kind: str) -> Array:
  """Takes 'max' or 'avg' over windows of 2 x 2: [B, H, W, C] -> [B, H // 2, W // 2, C].

  Raises:
    ValueError: an unknown kind.
  """
  if kind not in POOLINGS:
    raise unknown('pooling', kind, POOLINGS)
  B, H, W, C = x.shape
  h, w = min(2, H), min(2, W)
  x = x[:, : H // h * h, : W // w * w].reshape(B, H // h, h, W // w, w, C)
  # Split, not indexed: on a CPU the gradient takes a fifth of the time.
  rows = [jnp.squeeze(row, 2) for row in jnp.split(x, h, 2)]
  return POOLINGS[kind]([jnp.squeeze(part, 3) for row in rows for part in jnp.split(row, w, 3)])
