"""The steps of an LSTM and of a GRU, each with its gradient written out.

Shapes and the order of gates as in `zoo.models.recurrent`, which runs them over time.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from zoo.types import Array

Carry = dict[str, Array]


class Cell(NamedTuple):
  """One step, and its gradient.

  Attributes:
    gates: G.
    state: the leaves of the carry.
    forward: (x, u, bias, carry) -> (carry, saved). x is what the input adds to the gates and u what
      the state does, [B, G * H] each; saved, [B, 4 * H], is for the backward pass.
    backward: (saved, carry before, carry after, gradient of the latter) -> (gradient of x, gradient
      of the carry before, but for what goes through u).
    of_state: (saved, gradient of x) -> gradient of u, for any leading axes.
  """

  gates: int
  state: tuple[str, ...]
  forward: Callable[[Array, Array, Array | None, Carry], tuple[Carry, Array]]
  backward: Callable[[Array, Carry, Carry, Carry], tuple[Array, Carry]]
  of_state: Callable[[Array, Array], Array]


def lstm_forward(x: Array, u: Array, bias: Array | None, carry: Carry) -> tuple[Carry, Array]:
  """A step of Hochreiter and Schmidhuber's LSTM, as in Graves 2013, without peepholes."""
  del bias
  i, f, g, o = jnp.split(x.astype(jnp.float32) + u.astype(jnp.float32), 4, axis=-1)
  i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
  c = f * carry['c'] + i * g
  h = (o * jnp.tanh(c)).astype(x.dtype)
  return {'h': h, 'c': c}, jnp.concatenate([i, f, g, o], axis=-1).astype(x.dtype)


def lstm_backward(saved: Array, before: Carry, after: Carry, d: Carry) -> tuple[Array, Carry]:
  """The gradient of `lstm_forward`."""
  i, f, g, o = jnp.split(saved.astype(jnp.float32), 4, axis=-1)
  t = jnp.tanh(after['c'])
  dc = d['c'] + d['h'] * o * (1 - t * t)
  gates = (
    dc * g * i * (1 - i),
    dc * before['c'] * f * (1 - f),
    dc * i * (1 - g * g),
    d['h'] * t * o * (1 - o),
  )
  dx = jnp.concatenate(gates, axis=-1).astype(saved.dtype)
  return dx, {'h': jnp.zeros_like(d['h']), 'c': dc * f}


def gru_forward(x: Array, u: Array, bias: Array | None, carry: Carry) -> tuple[Carry, Array]:
  """A step of the GRU in the form of cuDNN and torch.nn: r multiplies a product, not the state."""
  assert bias is not None
  xr, xz, xn = jnp.split(x.astype(jnp.float32), 3, axis=-1)
  ur, uz, un = jnp.split(u.astype(jnp.float32), 3, axis=-1)
  r, z, q = jax.nn.sigmoid(xr + ur), jax.nn.sigmoid(xz + uz), un + bias.astype(jnp.float32)[None]
  n = jnp.tanh(xn + r * q)
  h = ((1 - z) * n + z * carry['h'].astype(jnp.float32)).astype(x.dtype)
  return {'h': h}, jnp.concatenate([r, z, n, q], axis=-1).astype(x.dtype)


def gru_backward(saved: Array, before: Carry, after: Carry, d: Carry) -> tuple[Array, Carry]:
  """The gradient of `gru_forward`."""
  del after
  r, z, n, q = jnp.split(saved.astype(jnp.float32), 4, axis=-1)
  dn = d['h'] * (1 - z) * (1 - n * n)
  dz = d['h'] * (before['h'].astype(jnp.float32) - n) * z * (1 - z)
  dx = jnp.concatenate([dn * q * r * (1 - r), dz, dn], axis=-1).astype(saved.dtype)
  return dx, {'h': d['h'] * z}


def gru_of_state(saved: Array, dx: Array) -> Array:
  """The state enters n through r."""
  H = saved.shape[-1] // 4
  return jnp.concatenate([dx[..., : 2 * H], dx[..., 2 * H :] * saved[..., :H]], axis=-1)


CELLS = {
  'lstm': Cell(4, ('h', 'c'), lstm_forward, lstm_backward, lambda saved, dx: dx),
  'gru': Cell(3, ('h',), gru_forward, gru_backward, gru_of_state),
}
