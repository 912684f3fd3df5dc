"""A multilayer perceptron."""

import flax.linen as nn
import jax.numpy as jnp

from zoo.models.layers import (
  activation,
  compute_dtype,
  hidden_init,
  normalization,
  output_init,
)
from zoo.types import Array


class MLP(nn.Module):
  """Layers of (dense, norm, activation, dropout) on the flattened input, then the logits.

  Weights before an activation start by He et al. 2015, those of the logits by LeCun et al. 1998
  (`layers.hidden_init`, `layers.output_init`), biases at zero.

  Attributes:
    widths: units of each layer.
    norm: 'batch', 'group', 'layer' or 'none', see `layers.normalization`.
    momentum: of batch statistics.
    activation: of `jax.nn`.
    dropout: rate, after each activation.
    num_classes: logits, or 0 to return what they would be computed from.
    dtype: of the computation; parameters are float32.
    axis_name: the axis of pmap, over which batch statistics are shared.

  References:
    Rumelhart et al. 1986, Learning Representations by Back-Propagating Errors. Srivastava et al.
    2014, Dropout.
  """

  widths: tuple[int, ...] = (128, 128)
  norm: str = 'none'
  momentum: float = 0.9
  activation: str = 'relu'
  dropout: float = 0.0
  num_classes: int = 10
  dtype: str = 'float32'
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Returns the logits, float32 [B, num_classes], or features, of inputs [B, ...].

    Raises:
      ValueError: an unknown name in a field.
    """
    act, dtype = activation(self.activation), compute_dtype(self.dtype)
    x = x.reshape(x.shape[0], -1).astype(dtype)
    for width in self.widths:
      x = nn.Dense(
        width,
        use_bias=self.norm == 'none',  # a norm has its own, after it takes the mean away
        kernel_init=hidden_init,
        dtype=dtype,
      )(x)
      x = normalization(
        self.norm, width, train=train, momentum=self.momentum, axis_name=self.axis_name
      )(x)
      x = nn.Dropout(self.dropout, deterministic=not train)(act(x))
    if self.num_classes:
      x = nn.Dense(self.num_classes, kernel_init=output_init, dtype=dtype, name='head')(x)
    return x.astype(jnp.float32)
