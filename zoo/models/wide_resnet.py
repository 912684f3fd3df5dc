"""Wide ResNet for pictures of 32 x 32: few layers, many channels, norms before the convolutions."""

from functools import partial

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


class WideResNet(nn.Module):
  """A convolution, three stages of pre-activated residual blocks, a norm, and the logits.

  WRN-28-10 of 10 classes has 36,479,194 parameters. The stages have 16, 32 and 64 channels times
  `widen`; the second and third halve height and width. Where a block changes the channels, its
  shortcut starts behind its first activation.

  Attributes:
    depth: convolutions on the longest way, 4 + 6 n for n blocks in each stage.
    widen: k, by which channels are multiplied.
    norm: 'batch', 'group', 'layer' or 'none', see `layers.normalization`.
    momentum: of batch statistics.
    sync_batch_norm: whether devices share batch statistics under pmap, or each normalises by its
      own and only the running averages are averaged.
    activation: of `jax.nn`.
    dropout: rate, between the two convolutions of a block.
    num_classes: logits, or 0 to return what they would be computed from.
    dtype: of the computation; parameters are float32, and norms compute in float32.
    axis_name: the axis of pmap, over which batch statistics are shared.

  References:
    Zagoruyko and Komodakis 2016, Wide Residual Networks, table 1 and figure 1d. He et al. 2016,
    Identity Mappings in Deep Residual Networks, for the order within a block.
  """

  depth: int = 28
  widen: int = 10
  norm: str = 'batch'
  momentum: float = 0.9
  sync_batch_norm: bool = True
  activation: str = 'relu'
  dropout: float = 0.0
  num_classes: int = 10
  dtype: str = 'float32'
  axis_name: str | None = None

  def __call__(self, x: Array, *, train: bool) -> Array:
    """Returns the logits, float32 [B, num_classes], or features, of images [B, H, W, C].

    Raises:
      ValueError: an input of another rank, a depth that blocks do not make, or an unknown name.
    """
    outputs = self.features(x, train=train)
    return outputs['logits' if self.num_classes else 'pooled'].astype(jnp.float32)

  @nn.compact
  def features(self, x: Array, *, train: bool) -> dict[str, Array]:
    """Returns by name all that is computed on the way, in the type of the computation.

    'stem' and 'stage_0' .. 'stage_2' are [B, h, w, c], 'pooled' is [B, c], and 'logits' is
    [B, num_classes] if there are classes.
    """
    if x.ndim != 4:
      raise ValueError(
        f'WideResNet takes images [batch, height, width, channels], not shape {x.shape}'
      )
    num_blocks, rest = divmod(self.depth - 4, 6)
    if num_blocks < 1 or rest:
      raise ValueError(f'depth must be 4 + 6 n, such as 16, 22 or 28, not {self.depth}')
    act, dtype = activation(self.activation), compute_dtype(self.dtype)

    def conv(features: int, size: int, name: str, stride: int = 1) -> nn.Conv:
      options = {'use_bias': self.norm == 'none', 'kernel_init': hidden_init, 'dtype': dtype}
      return Conv(features, (size, size), stride, padding=size // 2, name=name, **options)

    norm = partial(
      normalization,
      self.norm,
      train=train,
      momentum=self.momentum,
      axis_name=self.axis_name,
      synchronise=self.sync_batch_norm,
    )

    def block(x: Array, width: int, stride: int, name: str) -> Array:
      y = act(norm(x.shape[-1], name=f'{name}_norm_0')(x))
      if stride > 1 or x.shape[-1] != width:
        x = conv(width, 1, f'{name}_shortcut', stride)(y)
      y = conv(width, 3, f'{name}_conv_0', stride)(y)
      y = act(norm(width, name=f'{name}_norm_1')(y))
      y = nn.Dropout(self.dropout, deterministic=not train)(y)
      return x + conv(width, 3, f'{name}_conv_1')(y)

    outputs = {}
    x = outputs['stem'] = conv(16, 3, 'stem')(x.astype(dtype))
    for i in range(3):
      for j in range(num_blocks):
        stride = 2 if i > 0 and j == 0 else 1
        x = block(x, 16 * 2**i * self.widen, stride, f'stage_{i}_block_{j}')
      outputs[f'stage_{i}'] = x

    x = act(norm(x.shape[-1], name='final_norm')(x))
    x = outputs['pooled'] = x.mean((1, 2))
    if self.num_classes:
      head = nn.Dense(self.num_classes, kernel_init=output_init, dtype=dtype, name='head')
      outputs['logits'] = head(x)
    return outputs
