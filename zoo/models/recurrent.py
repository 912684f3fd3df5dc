"""The mathematics of recurrent layers: LSTM and GRU, over time-major arrays.

Goals: one matmul over all time for what does not depend on the state, one for the gradient of the
recurrent weights, sequences of different lengths, and cuDNN with the same parameters. The gradient
is written out (`differentiate`); derivatives in forward mode do not exist.

Below are T steps, B examples, D inputs, H units, and G gates side by side in the last axis, in the
order of torch.nn: i, f, g, o of an LSTM, r, z, n of a GRU. The parameters of one layer:

  input_kernel      [D, G * H]  weight_ih of torch.nn, transposed
  input_bias        [G * H]     bias_ih + bias_hh: they are never apart ...
  recurrent_kernel  [H, G * H]  weight_hh, transposed
  recurrent_bias    [H]         ... but in n of a GRU: this is bias_hn, which r multiplies

The carry holds 'h' [B, H], of the computation type; of an LSTM also 'c' [B, H], float32.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from zoo.models import cudnn
from zoo.models.cells import CELLS, Carry, Cell
from zoo.names import unknown
from zoo.types import Array

IMPLEMENTATIONS = ('auto', 'cudnn', 'xla')


def choose(flag: Array | None, yes: Carry, no: Carry) -> Carry:
  """The one or the other, by a bool [B] for carries [B, H], or [T, B] for those of all time."""
  if flag is None:
    return yes
  return {name: jnp.where(flag[..., None], yes[name], no[name]) for name in yes}


def zeros_like(carry: Carry) -> Carry:
  return jax.tree.map(jnp.zeros_like, carry)


def masked(h: Array, mask: Array | None) -> Array:
  return h if mask is None else h * mask


def scan_forward(
  cell: Cell,
  reverse: bool,
  unroll: int,
  x: Array,
  kernel: Array,
  bias: Array | None,
  carry: Carry,
  mask: Array | None,
  live: Array | None,
  reset: Array | None,
) -> tuple[Carry, tuple[Carry, Array]]:
  """All steps: the last carry, and of every step the carry after it and what it saved."""

  def step(before: Carry, now: Any) -> tuple[Carry, tuple[Carry, Array]]:
    x, live, reset = now
    if reset is not None:
      before = choose(reset, zeros_like(before), before)
    u = masked(before['h'], mask) @ kernel
    after, saved = cell.forward(x, u, bias, before)
    after = choose(live, after, before)
    return after, (after, saved)

  return jax.lax.scan(step, carry, (x, live, reset), reverse=reverse, unroll=unroll)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def scan_cell(
  cell: Cell,
  reverse: bool,
  unroll: int,
  x: Array,
  kernel: Array,
  bias: Array | None,
  carry: Carry,
  mask: Array | None = None,
  live: Array | None = None,
  reset: Array | None = None,
) -> tuple[Array, Carry]:
  """Runs a cell over time.

  Args:
    cell: of `CELLS`.
    reverse: from the last step to the first.
    unroll: steps in one turn of the loop.
    x: [T, B, G * H], what the inputs add to the gates.
    kernel: [H, G * H], recurrent, of the type of x.
    bias: [H], of a GRU.
    carry: before the first step.
    mask: [B, H], multiplies h before the kernel at every step. It gets no gradient.
    live: bool [T, B]; where it is False, the carry stays as it was.
    reset: bool [T, B]; where it is True, the carry is zeroed before the step.

  Returns:
    h after every step [T, B, H], and the last carry.
  """
  last, (states, _) = scan_forward(cell, reverse, unroll, x, kernel, bias, carry, mask, live, reset)
  return states['h'], last


def remember(cell: Cell, reverse: bool, unroll: int, *args: Any) -> Any:
  """`scan_cell`, and what its gradient needs."""
  last, (states, saved) = scan_forward(cell, reverse, unroll, *args)
  return (states['h'], last), (*args[1:], states, saved)


def differentiate(cell: Cell, reverse: bool, unroll: int, kept: Any, d: Any) -> Any:
  """The gradient of `scan_cell`, back through time.

  Only the gradient of h goes through the kernel at each step. That of the kernel is one matmul over
  all steps; XLA's own derivative adds up one for each.
  """
  kernel, bias, carry, mask, live, reset, states, saved = kept
  dy, d_last = d
  float32 = partial(jax.tree.map, lambda a: a.astype(jnp.float32))
  # Once, and not in the loop: a dot of a transposed operand takes 1.4 times as long.
  back = kernel.T

  def previous(first: Array, all_steps: Array) -> Array:
    parts = (all_steps[1:], first[None]) if reverse else (first[None], all_steps[:-1])
    return jnp.concatenate(parts)

  before = jax.tree.map(previous, carry, states)
  if reset is not None:
    before = choose(reset, zeros_like(before), before)

  def step(d_after: Carry, now: Any) -> tuple[Carry, Array]:
    dy, saved, before, after, live, reset = now
    d_after = {**d_after, 'h': d_after['h'] + dy.astype(jnp.float32)}
    dx, d_before = cell.backward(saved, before, after, d_after)
    dh = masked((cell.of_state(saved, dx) @ back).astype(jnp.float32), mask)
    d_before = {**d_before, 'h': d_before['h'] + dh}
    if live is not None:
      dx = jnp.where(live[:, None], dx, 0)
      d_before = choose(live, d_before, d_after)
    if reset is not None:
      d_before = choose(reset, zeros_like(d_before), d_before)
    return d_before, dx

  d_carry, dx = jax.lax.scan(
    step,
    float32(d_last),
    (dy, saved, before, states, live, reset),
    reverse=not reverse,
    unroll=unroll,
  )
  du = cell.of_state(saved, dx)
  h = before['h'] if mask is None else before['h'] * mask[None]
  H = h.shape[-1]
  d_kernel = h.reshape(-1, H).T @ du.reshape(-1, du.shape[-1])
  d_bias = None
  if bias is not None:
    d_bias = du[..., -H:].astype(jnp.float32).sum((0, 1)).astype(bias.dtype)
  d_carry = {name: g.astype(carry[name].dtype) for name, g in d_carry.items()}
  d_mask = None if mask is None else jnp.zeros_like(mask)
  return dx, d_kernel, d_bias, d_carry, d_mask, None, None


scan_cell.defvjp(remember, differentiate)


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
