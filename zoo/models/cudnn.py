"""An LSTM layer by cuDNN, on NVIDIA GPUs, with the parameters of `zoo.models.recurrent`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from zoo.types import Array


def obstacle(
  kind: str, dtype: Any, mask: Array | None, start: Array | None, reset: Array | None
) -> str:
  """Why cuDNN cannot run a layer (arguments as of `recurrent.run_layer`); '' if it can."""
  device = jax.devices()[0]
  if device.platform != 'gpu' or 'rocm' in device.client.platform_version.lower():
    return f'needs an NVIDIA GPU, not {device.platform}'
  if kind != 'lstm':
    return f'runs an lstm here, not a {kind}'
  if dtype != jnp.float32:
    return f'computes in float32, not {jnp.dtype(dtype).name}'
  if mask is not None:
    return 'has no recurrent dropout'
  if start is not None or reset is not None:
    return 'takes no padding at the left and no packed segments'
  return ''


def pack(params: dict[str, Array]) -> Array:
  """The parameters of an LSTM layer as cuDNN's flat array: W_ih, W_hh, b_ih, b_hh (zeros)."""
  parts = (params['input_kernel'].T, params['recurrent_kernel'].T, params['input_bias'])
  flat = [part.reshape(-1) for part in parts]
  return jnp.concatenate([*flat, jnp.zeros_like(flat[-1])])


def reverse_steps(x: Array, stop: Array) -> Array:
  """Turns the first stop[b] of the steps of [B, T, D] around."""
  t = jnp.arange(x.shape[1])[None]
  index = jnp.where(t < stop[:, None], stop[:, None] - 1 - t, t)
  return jnp.take_along_axis(x, index[..., None], axis=1)


def run_lstm(
  params: dict[str, Array], x: Array, carry: dict[str, Array], reverse: bool, stop: Array | None
) -> tuple[Array, dict[str, Array]]:
  """`recurrent.run_layer` by cuDNN."""
  from jax.experimental import rnn

  T, B, D = x.shape
  H = carry['h'].shape[-1]
  x = jnp.swapaxes(x, 0, 1)
  stop = jnp.full((B,), T, jnp.int32) if stop is None else stop.astype(jnp.int32)
  turned = functools.partial(reverse_steps, stop=stop) if reverse else lambda x: x
  # cuDNN takes no sequence of no steps: it runs one, and the result is thrown away.
  found: Any = rnn.lstm(
    turned(x),
    carry['h'][None],
    carry['c'][None],
    pack(params),
    jnp.maximum(stop, 1),
    D,
    H,
    1,
    0.0,
    False,
  )
  y, h, c = found
  kept = (stop > 0)[:, None]
  after = {'h': jnp.where(kept, h[0], carry['h']), 'c': jnp.where(kept, c[0], carry['c'])}
  live = jnp.arange(T)[None] < stop[:, None]
  return jnp.swapaxes(jnp.where(live[..., None], turned(y), 0), 0, 1), after
