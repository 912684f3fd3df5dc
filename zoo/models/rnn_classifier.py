"""A classifier of sequences, by an LSTM or a GRU."""

import flax.linen as nn
import jax.numpy as jnp

from zoo.models.layers import compute_dtype, output_init
from zoo.models.rnn import OF_STACK, Stack
from zoo.names import unknown
from zoo.types import Array

POOLINGS = ('last', 'mean')


class RNNClassifier(nn.Module):
  """An LSTM or GRU over a sequence, pooled, then a linear layer.

  Attributes:
    num_classes: logits, or 0 to return what they would be computed from.
    cell: 'lstm' or 'gru'.
    width: H, units of each layer and direction.
    num_layers: layers.
    bidirectional: see `Stack`.
    pooling: 'last', the state after the last step that counts (of the other direction: after the
      first), or 'mean', over the steps that count.
    vocab_size: of inputs that are tokens; 0 if they are not.
    pad_id: the token that fills a sequence up at its right.
    embedding_width: of tokens, 0 for H.
    dropout: rate, on what each layer and the logits take in; see `Stack`.
    variational: see `Stack`.
    recurrent_dropout: see `Stack`.
    unroll: see `Stack`.
    implementation: see `Stack`.
    dtype: of the computation; parameters and logits are float32.
  """

  num_classes: int = 10
  cell: str = 'lstm'
  width: int = 128
  num_layers: int = 1
  bidirectional: bool = False
  pooling: str = 'last'
  vocab_size: int = 0
  pad_id: int = 0
  embedding_width: int = 0
  dropout: float = 0.0
  variational: bool = False
  recurrent_dropout: float = 0.0
  unroll: int = 1
  implementation: str = 'auto'
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: Array, train: bool = False) -> Array:
    """Returns the logits, float32 [B, num_classes].

    Args:
      x: tokens, int [B, T]; or floats [B, T, F]; or images [B, height, width, channels], which are
        read row by row.
      train: whether dropout drops.

    Raises:
      ValueError: an input that fits none of these or not the fields, or an unknown name in a field.
    """
    if self.pooling not in POOLINGS:
      raise unknown('pooling', self.pooling, POOLINGS)
    dtype, stop = compute_dtype(self.dtype), None
    if self.vocab_size:
      if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f'RNNClassifier takes tokens [batch, time], not {x.dtype} {x.shape}')
      stop = jnp.max(jnp.where(x != self.pad_id, jnp.arange(1, x.shape[1] + 1)[None], 0), axis=1)
      embedding_width = self.embedding_width or self.width
      x = nn.Embed(self.vocab_size, embedding_width, dtype=dtype, name='embedding')(x.T)
    elif x.ndim in (3, 4):
      x = jnp.swapaxes(x.reshape(*x.shape[:2], -1), 0, 1)
    else:
      raise ValueError(
        f'RNNClassifier without vocab_size takes [batch, time, features] or images, not {x.shape}'
      )

    rnn = Stack(self.cell, **{name: getattr(self, name) for name in OF_STACK}, name='rnn')
    y, carry = rnn(x, train=train, stop=stop)
    if self.pooling == 'last':
      last = f'layers_{self.num_layers - 1}'
      names = (last, f'{last}_reverse') if self.bidirectional else (last,)
      x = jnp.concatenate([carry[name]['h'] for name in names], axis=-1)
    else:
      steps = y.shape[0] if stop is None else jnp.maximum(stop, 1)[:, None]
      x = (y.astype(jnp.float32).sum(0) / steps).astype(dtype)

    if self.num_classes:
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
      x = nn.Dense(self.num_classes, kernel_init=output_init, dtype=dtype, name='head')(x)
    return x.astype(jnp.float32)
