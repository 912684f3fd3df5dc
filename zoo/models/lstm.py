"""Recurrent networks: LSTM and GRU language models, and a classifier of sequences.

Parameters of a layer: 'input_kernel', 'input_bias', 'recurrent_kernel', and for a GRU
'recurrent_bias'; shapes, and how those of torch.nn become these, in `zoo.models.recurrent`. Layers
are named 'layers_0', 'layers_1' and so on; 'layers_0_reverse' is the other direction of the first.
"""

import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.models.layers import compute_dtype, logits_by, output_init
from zoo.models.recurrent import CELLS, Carry, first_carry, run_layer
from zoo.names import unknown
from zoo.types import Array

POOLINGS = ('last', 'mean')
# What a model hands on to its layers.
OF_STACK = (
  *('width', 'num_layers', 'bidirectional', 'dropout', 'variational', 'recurrent_dropout'),
  *('unroll', 'implementation', 'dtype'),
)


def recurrent_init(key: Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> Array:
  """An orthogonal matrix for each gate, [H, G * H] (Saxe et al. 2014).

  The state neither vanishes nor explodes through it.
  """
  width, columns = shape
  keys = jax.random.split(key, columns // width)
  # A loop, not vmap: several batched QR decompositions at once hang for ever on CPUs (jax 0.10.2).
  gates = jax.lax.map(lambda key: nn.initializers.orthogonal()(key, (width, width), dtype), keys)
  return jnp.moveaxis(gates, 0, 1).reshape(shape)


class Layer(nn.Module):
  """One layer in one direction; fields as in `Stack`.

  The bias of an LSTM's forget gate starts at 1, so that it begins by remembering (Jozefowicz et al.
  2015, An Empirical Exploration of Recurrent Network Architectures, section 3.1).
  """

  cell: str
  width: int
  reverse: bool
  recurrent_dropout: float
  unroll: int
  implementation: str
  dtype: str

  @nn.compact
  def __call__(
    self, x: Array, carry: Carry | None, *, train: bool, **steps: Any
  ) -> tuple[Array, Carry]:
    """Maps [T, B, D] to [T, B, H] and the last carry; `steps` as in `recurrent.run_layer`."""
    B, D, H, gates = x.shape[1], x.shape[2], self.width, CELLS[self.cell].gates

    def bias_init(key: Array, shape: tuple[int, ...]) -> Array:
      del key
      forget = jnp.arange(shape[0]) // H == 1
      return jnp.where(forget & (self.cell == 'lstm'), 1.0, 0.0)

    params = {
      'input_kernel': self.param('input_kernel', output_init, (D, gates * H)),
      'input_bias': self.param('input_bias', bias_init, (gates * H,)),
      'recurrent_kernel': self.param('recurrent_kernel', recurrent_init, (H, gates * H)),
    }
    if self.cell == 'gru':
      params['recurrent_bias'] = self.param('recurrent_bias', nn.initializers.zeros, (H,))

    mask = None
    if train and self.recurrent_dropout:
      kept = 1 - self.recurrent_dropout
      mask = jax.random.bernoulli(self.make_rng('dropout'), kept, (B, H)).astype(x.dtype) / kept
    if carry is None:
      carry = first_carry(self.cell, B, H, x.dtype)
    return run_layer(
      self.cell,
      params,
      x,
      carry,
      reverse=self.reverse,
      unroll=self.unroll,
      implementation=self.implementation,
      mask=mask,
      **steps,
    )


class Stack(nn.Module):
  """Layers of an LSTM or a GRU, over time-major arrays.

  Attributes:
    cell: 'lstm' or 'gru'.
    width: H, units of each layer and direction.
    num_layers: layers.
    bidirectional: each layer also runs from the end; its results are [T, B, 2H], forward first.
    dropout: rate, on what each layer takes in, not on its state (Zaremba et al. 2014).
    variational: that dropout drops the same units at all steps (Gal and Ghahramani 2016).
    recurrent_dropout: rate, on h as the gates see it, the same units at all steps (likewise).
    unroll: steps in one turn of the loop.
    implementation: 'auto', 'cudnn' or 'xla', see `recurrent.run_layer`.
    dtype: of the computation, but for an LSTM's c, which is float32, as parameters are.

  References:
    Hochreiter and Schmidhuber 1997, Long Short-Term Memory. Cho et al. 2014, Learning Phrase
    Representations using RNN Encoder-Decoder. Graves and Schmidhuber 2005, Framewise Phoneme
    Classification with Bidirectional LSTM. Zaremba et al. 2014, Recurrent Neural Network
    Regularization. Gal and Ghahramani 2016, A Theoretically Grounded Application of Dropout in
    Recurrent Neural Networks.
  """

  cell: str = 'lstm'
  width: int = 512
  num_layers: int = 2
  bidirectional: bool = False
  dropout: float = 0.0
  variational: bool = False
  recurrent_dropout: float = 0.0
  unroll: int = 1
  implementation: str = 'auto'
  dtype: str = 'float32'

  def setup(self) -> None:
    if self.cell not in CELLS:
      raise unknown('cell', self.cell, CELLS)
    directions = ('', '_reverse') if self.bidirectional else ('',)
    self.layers = {
      f'{i}{direction}': Layer(
        self.cell,
        self.width,
        reverse=bool(direction),
        recurrent_dropout=self.recurrent_dropout,
        unroll=self.unroll,
        implementation=self.implementation,
        dtype=self.dtype,
      )
      for i in range(self.num_layers)
      for direction in directions
    }
    self.drop = nn.Dropout(self.dropout, broadcast_dims=(0,) if self.variational else ())

  def __call__(
    self,
    x: Array,
    carry: dict[str, Carry] | None = None,
    *,
    train: bool = False,
    start: Array | None = None,
    stop: Array | None = None,
    reset: Array | None = None,
  ) -> tuple[Array, dict[str, Carry]]:
    """Runs all layers.

    Args:
      x: [T, B, D].
      carry: of each layer, by the name of its parameters; None for zeros.
      train: whether dropout drops.
      start: int32 [B], see `recurrent.run_layer`.
      stop: int32 [B], likewise.
      reset: bool [T, B], likewise.

    Returns:
      [T, B, H] or [T, B, 2H], 0 at steps that do not count, and the carry after the last that does.
    """
    x, after = x.astype(compute_dtype(self.dtype)), {}
    for i in range(self.num_layers):
      x, results = self.drop(x, deterministic=not train), []
      for name in (f'{i}', f'{i}_reverse'):
        if name in self.layers:
          before = None if carry is None else carry[f'layers_{name}']
          y, after[f'layers_{name}'] = self.layers[name](
            x, before, train=train, start=start, stop=stop, reset=reset
          )
          results.append(y)
      x = jnp.concatenate(results, axis=-1)
    return x, after

  def first_carry(self, batch_size: int) -> dict[str, Carry]:
    """The carry of zeros."""
    carry = first_carry(self.cell, batch_size, self.width, compute_dtype(self.dtype))
    return {f'layers_{name}': carry for name in self.layers}


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
      # Logits in float32, whatever they are computed from.
      dot = functools.partial(jax.lax.dot_general, preferred_element_type=jnp.float32)
      dtype = compute_dtype(self.dtype)
      self.logits = nn.Dense(self.vocab_size, kernel_init=output_init, dtype=dtype, dot_general=dot)

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
    # As one matrix: for CPUs XLA takes 1.3 times as long over a gradient that sums over two axes.
    logits = self.logits(hidden.reshape(-1, hidden.shape[-1])).astype(jnp.float32)
    return logits.reshape(*hidden.shape[:-1], self.vocab_size)

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
