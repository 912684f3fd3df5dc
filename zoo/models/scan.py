"""A recurrent cell over time, and the gradient of that, written out; forward mode has none.

Shapes and the order of gates as in `zoo.models.recurrent`, which makes layers of it.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from zoo.models.cells import Carry, Cell
from zoo.types import Array


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
