"""LSTM and GRU against torch.nn: outputs and gradients of every parameter.

`make parity` compares with torch itself. The file of one such comparison, golden/torch_rnn.npz, is
tested without it; `write_golden` wrote it.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.rnn import Stack

GOLDEN = Path(__file__).parents[1] / 'golden' / 'torch_rnn.npz'
T, B, D, H, LAYERS = 9, 4, 5, 6, 2
LENGTHS = np.array([9, 6, 3, 1])
CASES = [
  (kind, bidirectional, ragged)
  for kind in ('lstm', 'gru')
  for bidirectional in (False, True)
  for ragged in (False, True)
]
EACH_CASE = pytest.mark.parametrize('kind, bidirectional, ragged', CASES)


def from_torch(kind: str, weights: dict[str, Any]) -> dict[str, dict[str, Any]]:
  """Parameters of torch.nn.LSTM or GRU as those of `Stack`: transposed, and two biases added."""
  params = {}
  for name in weights:
    if name.startswith('weight_ih_l'):
      at = name.removeprefix('weight_ih_l')
      b_ih, b_hh = np.copy(weights[f'bias_ih_l{at}']), np.copy(weights[f'bias_hh_l{at}'])
      layer = {}
      if kind == 'gru':
        layer['recurrent_bias'] = b_hh[-H:].copy()
        b_hh[-H:] = 0
      layer['input_bias'] = b_ih + b_hh
      layer['input_kernel'] = weights[f'weight_ih_l{at}'].T
      layer['recurrent_kernel'] = weights[f'weight_hh_l{at}'].T
      params[f'layers_{at}'] = layer
  return jax.tree.map(jnp.asarray, params)


def gradients_from_torch(kind: str, gradients: dict[str, Any]) -> dict[str, dict[str, Any]]:
  """Of the sum of two biases the gradient is that of either."""
  either = {n: g if n.startswith('w') or 'bias_ih' in n else 0 * g for n, g in gradients.items()}
  params = from_torch(kind, either)
  if kind == 'gru':
    for name, layer in params.items():
      at = name.removeprefix('layers_')
      layer['recurrent_bias'] = jnp.asarray(gradients[f'bias_hh_l{at}'][-H:])
  return params


def run_torch(torch: Any, kind: str, bidirectional: bool, ragged: bool, seed: int) -> dict:
  """Everything that is compared, as flat arrays by name: weights, inputs, results, gradients."""
  generator = np.random.default_rng(seed)
  normal = lambda *shape: generator.normal(size=shape).astype(np.float32)
  module = {'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}[kind](
    D, H, LAYERS, bidirectional=bidirectional
  )
  with torch.no_grad():
    for p in module.parameters():
      p.copy_(torch.from_numpy(0.5 * normal(*p.shape)))
  directions = 1 + bidirectional
  states = [normal(LAYERS * directions, B, H) for _ in range(2 if kind == 'lstm' else 1)]
  x, dy = normal(T, B, D), normal(T, B, directions * H)

  inputs = [torch.from_numpy(a).requires_grad_() for a in (x, *states)]
  first = tuple(inputs[1:]) if kind == 'lstm' else inputs[1]
  read = inputs[0]
  if ragged:
    read = torch.nn.utils.rnn.pack_padded_sequence(read, torch.from_numpy(LENGTHS))
  y, last = module(read, first)
  if ragged:
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)
  last = last if kind == 'lstm' else (last,)
  loss = (y * torch.from_numpy(dy)).sum() + sum(state.square().sum() for state in last)
  loss.backward()
  return {
    **{f'weight/{n}': p.detach().numpy() for n, p in module.named_parameters()},
    **{f'gradient/{n}': p.grad.numpy() for n, p in module.named_parameters()},
    **{f'first/{i}': state for i, state in enumerate(states)},
    **{f'd_first/{i}': a.grad.numpy() for i, a in enumerate(inputs[1:])},
    **{f'last/{i}': state.detach().numpy() for i, state in enumerate(last)},
    'x': x,
    'dx': inputs[0].grad.numpy(),
    'dy': dy,
    'y': y.detach().numpy(),
  }


def carries(kind: str, bidirectional: bool, states: list[Any]) -> dict[str, dict[str, Any]]:
  """The states of torch, [layers * directions, B, H] of h and perhaps c, by the name of a layer."""
  directions = ('', '_reverse') if bidirectional else ('',)
  names = [f'layers_{i}{direction}' for i in range(LAYERS) for direction in directions]
  found = dict(zip('hc', states, strict=False))
  return {n: {leaf: jnp.asarray(s[i]) for leaf, s in found.items()} for i, n in enumerate(names)}


def compare(kind: str, bidirectional: bool, ragged: bool, case: dict[str, np.ndarray]) -> None:
  part = lambda prefix: {
    name.removeprefix(f'{prefix}/'): array
    for name, array in case.items()
    if name.startswith(f'{prefix}/')
  }
  module = Stack(kind, H, LAYERS, bidirectional, implementation='xla')
  params = from_torch(kind, part('weight'))
  stop = jnp.asarray(LENGTHS) if ragged else None
  state = lambda prefix: carries(kind, bidirectional, list(part(prefix).values()))

  def loss(params, x, carry):
    y, last = module.apply({'params': params}, x, carry, stop=stop)
    squares = sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(last))
    return (y * case['dy']).sum() + squares, (y, last)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
  (d_params, dx, d_carry), (y, last) = gradient(params, jnp.asarray(case['x']), state('first'))
  found = {'params': d_params, 'x': dx, 'first': d_carry, 'y': y, 'last': last}
  expected = {
    'params': gradients_from_torch(kind, part('gradient')),
    'x': case['dx'],
    'first': state('d_first'),
    'y': case['y'],
    'last': state('last'),
  }

  def close(path, a, b):
    scale = float(np.abs(b).max())
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale, err_msg=jax.tree_util.keystr(path))

  jax.tree_util.tree_map_with_path(close, found, expected)


@pytest.mark.parity
@EACH_CASE
def test_results_and_gradients_are_those_of_torch(kind, bidirectional, ragged):
  torch = pytest.importorskip('torch')
  compare(kind, bidirectional, ragged, run_torch(torch, kind, bidirectional, ragged, seed=1))


@pytest.mark.parametrize('kind', ['lstm', 'gru'])
def test_results_and_gradients_are_those_torch_once_gave(kind):
  with np.load(GOLDEN) as arrays:
    prefix = f'{kind}/'
    case = {n.removeprefix(prefix): arrays[n] for n in arrays if n.startswith(prefix)}
  compare(kind, True, True, case)


def write_golden() -> None:
  """Writes the file anew, with torch: two layers, both directions, sequences of four lengths."""
  import torch

  arrays = {}
  for kind in ('lstm', 'gru'):
    case = run_torch(torch, kind, bidirectional=True, ragged=True, seed=0)
    arrays |= {f'{kind}/{name}': array for name, array in case.items()}
  GOLDEN.parent.mkdir(exist_ok=True)
  np.savez_compressed(GOLDEN, **arrays)
