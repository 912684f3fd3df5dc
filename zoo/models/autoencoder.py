"""An autoencoder of dense layers, for examples of any shape."""

import math

import flax.linen as nn
import jax.numpy as jnp

from zoo.models.layers import activation, compute_dtype, hidden_init, output_init
from zoo.types import Array


class MLPAutoencoder(nn.Module):
  """Dense layers down to a code, and the same widths back to the input.

  Weights before an activation start by He et al. 2015, those of the code and of the output by LeCun
  et al. 1998 (`layers.hidden_init`, `layers.output_init`), biases at zero.

  Attributes:
    widths: units of the encoder's layers; the decoder has them in reverse.
    latent: units of the code, which no activation follows.
    activation: of `jax.nn`.
    dtype: of the computation; parameters are float32.

  References:
    Hinton and Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks.
  """

  widths: tuple[int, ...] = (128,)
  latent: int = 16
  activation: str = 'relu'
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Returns what the decoder makes of the code, float32 [B, ...], of inputs [B, ...].

    Raises:
      ValueError: an unknown name in a field.
    """
    del train
    act, dtype = activation(self.activation), compute_dtype(self.dtype)
    shape, size = x.shape, math.prod(x.shape[1:])
    x = x.reshape(shape[0], size).astype(dtype)
    for width in self.widths:
      x = act(nn.Dense(width, kernel_init=hidden_init, dtype=dtype)(x))
    x = nn.Dense(self.latent, kernel_init=output_init, dtype=dtype, name='code')(x)
    for width in reversed(self.widths):
      x = act(nn.Dense(width, kernel_init=hidden_init, dtype=dtype)(x))
    x = nn.Dense(size, kernel_init=output_init, dtype=dtype, name='output')(x)
    return x.astype(jnp.float32).reshape(shape)
