"""The mathematics of recurrent layers: LSTM and GRU, over time-major arrays.

Goals: one matmul over all time for what does not depend on the state, one for the gradient of the
recurrent weights, sequences of different lengths, and cuDNN with the same parameters. The gradient
is written out (`zoo.models.scan`); derivatives in forward mode do not exist.

Below are T steps, B examples, D inputs, H units, and G gates side by side in the last axis, in the
order of torch.nn: i, f, g, o of an LSTM, r, z, n of a GRU. The parameters of one layer:

  input_kernel      [D, G * H]  weight_ih of torch.nn, transposed
  input_bias        [G * H]     bias_ih + bias_hh: they are never apart ...
  recurrent_kernel  [H, G * H]  weight_hh, transposed
  recurrent_bias    [H]         ... but in n of a GRU: this is bias_hn, which r multiplies

The carry holds 'h' [B, H], of the computation type; of an LSTM also 'c' [B, H], float32.
"""

from typing import Any

import jax.numpy as jnp

from zoo.models import cudnn
from zoo.models.cells import CELLS, Carry
from zoo.models.scan import scan_cell
from zoo.names import unknown
from zoo.types import Array

IMPLEMENTATIONS = ('auto', 'cudnn', 'xla')


def run_layer(
  kind: str,
  params: dict[str, Array],
  x: Array,
  carry: Carry,
  *,
  reverse: bool = False,
  unroll: int = 1,
  implementation: str = 'auto',
  mask: Array | None = None,
  start: Array | None = None,
  stop: Array | None = None,
  reset: Array | None = None,
) -> tuple[Array, Carry]:
  """Runs one layer in one direction.

  Args:
    kind: 'lstm' or 'gru'.
    params: as in the head of this file; they are cast to the type of x.
    x: [T, B, D], of the computation type.
    carry: see `first_carry`.
    reverse: from the last step to the first.
    unroll: steps in one turn of the loop of XLA.
    implementation: 'xla'; 'cudnn', on NVIDIA, for an LSTM in float32 with neither mask, start nor
      reset (it does not `vmap`); or 'auto', the latter where valid.
    mask: [B, H], of recurrent dropout.
    start: int32 [B], the first step of each example that counts; None for 0.
    stop: int32 [B], the step after the last one that counts; None for T.
    reset: bool [T, B], where the state is forgotten before the step.

  Returns:
    h after every step, [T, B, H], 0 where a step does not count; and the last carry, of the last
    step that counts.

  Raises:
    ValueError: an unknown name, or 'cudnn' where it cannot be.
  """
  if kind not in CELLS:
    raise unknown('cell', kind, CELLS)
  obstacle = cudnn.obstacle(kind, x.dtype, mask, start, reset)
  if implementation not in IMPLEMENTATIONS:
    raise unknown('implementation', implementation, IMPLEMENTATIONS)
  if implementation == 'cudnn' and obstacle:
    raise ValueError(f"implementation 'cudnn' {obstacle}")
  if implementation != 'xla' and not obstacle:
    return cudnn.run_lstm(params, x, carry, reverse, stop)

  T, B, D = x.shape
  p = {name: value.astype(x.dtype) for name, value in params.items()}
  sums = x.reshape(T * B, D) @ p['input_kernel'] + p['input_bias'][None]
  live = real_steps(T, start, stop)
  found: Any = scan_cell(
    CELLS[kind],
    reverse,
    unroll,
    sums.reshape(T, B, -1),
    p['recurrent_kernel'],
    p.get('recurrent_bias'),
    carry,
    mask,
    live,
    reset,
  )
  y, carry = found
  return (y if live is None else jnp.where(live[..., None], y, 0)), carry


def first_carry(kind: str, batch_size: int, width: int, dtype: jnp.dtype) -> Carry:
  """The carry of zeros."""
  types = {'h': dtype, 'c': jnp.float32}
  return {name: jnp.zeros((batch_size, width), types[name]) for name in CELLS[kind].state}


def real_steps(length: int, start: Array | None, stop: Array | None) -> Array | None:
  """Whether start <= t < stop, bool [T, B]; None if all steps are."""
  t = jnp.arange(length)[:, None]
  after = None if start is None else t >= start[None]
  if stop is None:
    return after
  return (t < stop[None]) if after is None else after & (t < stop[None])
