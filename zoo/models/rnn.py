"""Layers of an LSTM or a GRU as modules, over time-major arrays.

Parameters of a layer: 'input_kernel', 'input_bias', 'recurrent_kernel', and for a GRU
'recurrent_bias'; shapes, and how those of torch.nn become these, in `zoo.models.recurrent`. Layers
are named 'layers_0', 'layers_1' and so on; 'layers_0_reverse' is the other direction of the first.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.models.cells import CELLS, Carry
from zoo.models.layers import compute_dtype, output_init
from zoo.models.recurrent import first_carry, run_layer
from zoo.names import unknown
from zoo.types import Array

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
