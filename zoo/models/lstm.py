"""LSTM and GRU language models."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp

from zoo.models.layers import compute_dtype, output_init
from zoo.models.products import logits_by, logits_dot
from zoo.models.rnn import OF_STACK, Stack
from zoo.types import Array


class LSTM(nn.Module):
  """An LSTM that predicts the next token: embedding, layers, head.

  Attributes:
    vocab_size: V.
    width: H, units of each layer.
    num_layers: layers.
    embedding_width: of the embedding, 0 for H.
    tie_head: the head is the embedding, transposed, and has no bias (Press and Wolf 2017).
    dropout: rate, on the embedding, between layers and before the head; see `Stack`.
    variational: see `Stack`.
    recurrent_dropout: see `Stack`.
    bidirectional: only False: a token would be predicted from itself.
    unroll: see `Stack`.
    implementation: see `Stack`.
    dtype: of the computation; parameters and logits are float32.

  References:
    Zaremba et al. 2014, Recurrent Neural Network Regularization. Press and Wolf 2017, Using the
    Output Embedding to Improve Language Models. And see `Stack`.
  """

  cell: ClassVar[str] = 'lstm'
  vocab_size: int = 10_000
  width: int = 512
  num_layers: int = 2
  embedding_width: int = 0
  tie_head: bool = False
  dropout: float = 0.0
  variational: bool = False
  recurrent_dropout: float = 0.0
  bidirectional: bool = False
  unroll: int = 1
  implementation: str = 'auto'
  dtype: str = 'float32'

  def setup(self) -> None:
    if self.bidirectional:
      raise ValueError('a language model reads forward only: bidirectional must be False')
    embedding_width = self.embedding_width or self.width
    if self.tie_head and embedding_width != self.width:
      raise ValueError(
        f'tie_head needs an embedding as wide as the layers, not {embedding_width} and {self.width}'
      )
    self.embedding = nn.Embed(self.vocab_size, embedding_width, dtype=compute_dtype(self.dtype))
    self.rnn = Stack(self.cell, **{name: getattr(self, name) for name in OF_STACK})
    self.drop = nn.Dropout(self.dropout, broadcast_dims=(1,) if self.variational else ())
    if not self.tie_head:
      self.logits = nn.Dense(
        self.vocab_size,
        kernel_init=output_init,
        dtype=compute_dtype(self.dtype),
        dot_general=logits_dot,
      )

  def __call__(self, tokens: Array, train: bool = False, segments: Array | None = None) -> Array:
    """Returns the logits, float32 [B, T, V], of the token after each of tokens int [B, T]."""
    return self.head(self.hidden(tokens, train, segments))

  def hidden(self, tokens: Array, train: bool = False, segments: Array | None = None) -> Array:
    """Returns what the head takes, [B, T, H].

    Args:
      tokens: int [B, T].
      train: whether dropout drops.
      segments: int [B, T], numbers of the documents packed into a row. The state is forgotten where
        the number changes.
    """
    reset = None
    if segments is not None:
      changed = segments[:, 1:] != segments[:, :-1]
      reset = jnp.pad(changed, ((0, 0), (1, 0))).T
    y, _ = self.rnn(self.embedding(tokens.T), train=train, reset=reset)
    return self.drop(jnp.swapaxes(y, 0, 1), deterministic=not train)

  def head(self, hidden: Array) -> Array:
    """Returns the logits, float32 [..., V], of [..., H]."""
    if self.tie_head:
      return logits_by(self.embedding.embedding, hidden)
    return self.logits(hidden)

  def start(self, batch_size: int, length: int, padding: Array | None = None) -> dict[str, Any]:
    """Returns a cache that holds no tokens.

    Args:
      batch_size: B.
      length: not needed: the state is as large after any number of tokens.
      padding: int32 [B], tokens at the left of each row that mean nothing; None for none.
    """
    del length
    padding = jnp.zeros((batch_size,), jnp.int32) if padding is None else padding
    carry = self.rnn.first_carry(batch_size)
    return {'index': jnp.zeros((), jnp.int32), 'padding': padding, **carry}

  def decode(self, tokens: Array, cache: dict[str, Any]) -> tuple[Array, dict[str, Any]]:
    """Reads more tokens, int [B, T]: logits, float32 [B, T, V], and the cache after them."""
    index, padding = cache['index'], cache['padding']
    y, carry = self.rnn(self.embedding(tokens.T), cache, start=padding - index)
    cache = {'index': index + tokens.shape[1], 'padding': padding, **carry}
    return self.head(jnp.swapaxes(y, 0, 1)), cache


class GRU(LSTM):
  """A GRU that predicts the next token; all else as in `LSTM`."""

  cell: ClassVar[str] = 'gru'
