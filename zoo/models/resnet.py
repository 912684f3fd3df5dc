"""ResNet, version 1.5: residual blocks of convolutions, for photographs or pictures of 32 x 32."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from zoo.models.conv import Conv
from zoo.models.layers import (
  activation,
  compute_dtype,
  hidden_init,
  normalization,
  output_init,
  stochastic_depth,
)
from zoo.names import unknown
from zoo.types import Array

# He et al. 2016, table 1. Of 1000 classes they have 11,689,512, 21,797,672, 25,557,032, 44,549,160
# and 60,192,808 parameters.
SIZES = {
  'resnet18': {'stage_sizes': (2, 2, 2, 2), 'bottleneck': False},
  'resnet34': {'stage_sizes': (3, 4, 6, 3), 'bottleneck': False},
  'resnet50': {'stage_sizes': (3, 4, 6, 3), 'bottleneck': True},
  'resnet101': {'stage_sizes': (3, 4, 23, 3), 'bottleneck': True},
  'resnet152': {'stage_sizes': (3, 8, 36, 3), 'bottleneck': True},
}
STEMS = ('imagenet', 'cifar')


class ResNet(nn.Module):
  """A stem, stages of residual blocks, each at half the resolution of the last, and the logits.

  A stage halves height and width in its first block, but for the first stage. A bottleneck does so
  in its 3 x 3 convolution (version 1.5), not in the 1 x 1 before it as first published.

  Convolutions start by He et al. 2015, the logits by LeCun et al. 1998.

  Attributes:
    stage_sizes: blocks of each stage.
    width: channels of the stem and the first stage; they double with every further stage.
    bottleneck: whether blocks are 1 x 1, 3 x 3 and 1 x 1 with four times the channels at the end,
      or two of 3 x 3.
    stem: 'imagenet' (7 x 7, stride 2, then max pooling by 2) or 'cifar' (3 x 3 at full resolution).
    norm: behind each convolution: 'batch', 'group', 'layer' or 'none', see `layers.normalization`.
    momentum: of batch statistics.
    sync_batch_norm: whether devices share batch statistics under pmap, or each normalises by its
      own and only the running averages are averaged.
    zero_init: whether the last norm of each block starts with scale 0, and the block as identity.
    activation: of `jax.nn`.
    stochastic_depth: rate at which the last block is dropped; it grows linearly from the first.
    dropout: rate, before the logits.
    num_classes: logits, or 0 to return what they would be computed from.
    dtype: of the computation; parameters are float32, and norms compute in float32.
    axis_name: the axis of pmap, over which batch statistics are shared.

  References:
    He et al. 2016, Deep Residual Learning for Image Recognition, table 1 and section 4.2. Goyal et
    al. 2017, Accurate, Large Minibatch SGD, section 5.1, for `zero_init`.
  """

  stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
  width: int = 64
  bottleneck: bool = False
  stem: str = 'imagenet'
  norm: str = 'batch'
  momentum: float = 0.9
  sync_batch_norm: bool = True
  zero_init: bool = False
  activation: str = 'relu'
  stochastic_depth: float = 0.0
  dropout: float = 0.0
  num_classes: int = 1000
  dtype: str = 'float32'
  axis_name: str | None = None

  def __call__(self, x: Array, *, train: bool) -> Array:
    """Returns the logits, float32 [B, num_classes], or features, of images [B, H, W, C].

    Raises:
      ValueError: an input of another rank, or an unknown name in a field.
    """
    outputs = self.features(x, train=train)
    return outputs['logits' if self.num_classes else 'pooled'].astype(jnp.float32)

  @nn.compact
  def features(self, x: Array, *, train: bool) -> dict[str, Array]:
    """Returns by name all that is computed on the way, in the type of the computation.

    'stem' and 'stage_0', 'stage_1' ... are [B, h, w, c], 'pooled' is [B, c], and 'logits' is
    [B, num_classes] if there are classes.
    """
    if x.ndim != 4:
      raise ValueError(f'ResNet takes images [batch, height, width, channels], not shape {x.shape}')
    if self.stem not in STEMS:
      raise unknown('stem', self.stem, STEMS)
    act, dtype = activation(self.activation), compute_dtype(self.dtype)
    norm = partial(
      normalization,
      self.norm,
      train=train,
      momentum=self.momentum,
      axis_name=self.axis_name,
      synchronise=self.sync_batch_norm,
    )
    conv = partial(conv_layer, use_bias=self.norm == 'none', dtype=dtype)
    outputs = {}

    size, stride = (7, 2) if self.stem == 'imagenet' else (3, 1)
    x = conv(self.width, size, stride, name='stem_conv')(x.astype(dtype))
    x = act(norm(self.width, name='stem_norm')(x))
    if self.stem == 'imagenet':
      sides: Any = ((1, 1), (1, 1))  # also of an input of even length, as in torch
      x = nn.max_pool(x, (3, 3), (2, 2), sides)
    outputs['stem'] = x

    total, index = sum(self.stage_sizes), 0
    for i, num_blocks in enumerate(self.stage_sizes):
      for j in range(num_blocks):
        stride = 2 if i > 0 and j == 0 else 1
        x = Block(
          block_layers(self.width * 2**i, stride, self.bottleneck),
          stride,
          conv=conv,
          norm=norm,
          act=act,
          zero_init=self.zero_init,
          drop_rate=self.stochastic_depth * index / max(total - 1, 1),
          name=f'stage_{i}_block_{j}',
        )(x, train=train)
        index += 1
      outputs[f'stage_{i}'] = x

    x = outputs['pooled'] = x.mean((1, 2))
    if self.num_classes:
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
      head = nn.Dense(self.num_classes, kernel_init=output_init, dtype=dtype, name='head')
      outputs['logits'] = head(x)
    return outputs


def conv_layer(features: int, size: int, stride: int = 1, **options) -> nn.Conv:
  """A convolution of windows size x size, padded alike on all sides: of a stride, too."""
  return Conv(features, (size, size), stride, padding=size // 2, kernel_init=hidden_init, **options)


def block_layers(width: int, stride: int, bottleneck: bool) -> tuple[tuple[int, int, int], ...]:
  """(channels, size, stride) of each convolution of a block."""
  if bottleneck:
    return (width, 1, 1), (width, 3, stride), (4 * width, 1, 1)
  return (width, 3, stride), (width, 3, 1)


class Block(nn.Module):
  """A residual and what is added to it: convolutions with norms, an activation between them.

  Attributes:
    layers: (channels, size, stride) of each convolution.
    stride: of them together.
    conv: (channels, size, stride, name) -> convolution.
    norm: (channels, scale_init, name) -> normalisation.
    act: the activation.
    zero_init: whether the block starts as the identity.
    drop_rate: of all that is added.
  """

  layers: tuple[tuple[int, int, int], ...]
  stride: int
  conv: Callable[..., nn.Conv]
  norm: Callable[..., Callable[[Array], Array]]
  act: Callable[[Array], Array]
  zero_init: bool
  drop_rate: float

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    residual, channels, last = x, self.layers[-1][0], len(self.layers) - 1
    if self.stride > 1 or x.shape[-1] != channels:
      residual = self.conv(channels, 1, self.stride, name='shortcut_conv')(x)
      residual = self.norm(channels, name='shortcut_norm')(residual)
    for i, layer in enumerate(self.layers):
      init = nn.initializers.zeros if self.zero_init and i == last else nn.initializers.ones
      x = self.conv(*layer, name=f'conv_{i}')(x)
      x = self.norm(layer[0], scale_init=init, name=f'norm_{i}')(x)
      x = x if i == last else self.act(x)
    x = stochastic_depth(self.drop_rate, x.ndim)(x, deterministic=not train)
    return self.act(residual + x)
