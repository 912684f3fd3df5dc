"""Recurrent layers: equations by hand, gradients against autodiff, lengths, cuDNN's layout."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from zoo.models import cudnn, recurrent
from zoo.models.cells import CELLS
from zoo.models.recurrent import first_carry, run_layer
from zoo.models.scan import scan_cell

T, B, D, H = 6, 3, 5, 4
RNG = np.random.default_rng(0)
BOTH = pytest.mark.parametrize('kind', ['lstm', 'gru'])


def normal(*shape: int) -> Any:
  return RNG.normal(size=shape).astype(np.float32)


def layer(kind, dtype=jnp.float32):
  gates = CELLS[kind].gates
  params = {
    'input_kernel': normal(D, gates * H),
    'input_bias': normal(gates * H),
    'recurrent_kernel': 0.5 * normal(H, gates * H),
  }
  if kind == 'gru':
    params['recurrent_bias'] = normal(H)
  carry = {name: jnp.asarray(normal(B, H), x.dtype) for name, x in zeros(kind, dtype).items()}
  return jax.tree.map(jnp.asarray, params), jnp.asarray(normal(T, B, D), dtype), carry


def zeros(kind, dtype=jnp.float32):
  return first_carry(kind, B, H, jnp.dtype(dtype))


@partial(jax.jit, static_argnums=0, static_argnames=('reverse', 'unroll'))
def run(kind, params, x, carry, **options) -> Any:
  return run_layer(kind, params, x, carry, implementation='xla', **options)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def lstm_by_hand(p, x, h, c):
  """One example, one gate, one step at a time."""
  W, U, b = (np.split(np.asarray(p[n]), 4, -1) for n in SUMS)
  ys = []
  for x_t in x:
    i, f, g, o = (x_t @ W[k] + h @ U[k] + b[k] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    ys.append(h)
  return np.stack(ys), {'h': h, 'c': c}


def gru_by_hand(p, x, h):
  W, U, b = (np.split(np.asarray(p[n]), 3, -1) for n in SUMS)
  ys = []
  for x_t in x:
    r = sigmoid(x_t @ W[0] + h @ U[0] + b[0])
    z = sigmoid(x_t @ W[1] + h @ U[1] + b[1])
    n = np.tanh(x_t @ W[2] + b[2] + r * (h @ U[2] + np.asarray(p['recurrent_bias'])))
    h = (1 - z) * n + z * h
    ys.append(h)
  return np.stack(ys), {'h': h}


SUMS = ('input_kernel', 'recurrent_kernel', 'input_bias')


@BOTH
def test_it_is_the_equations_of_the_papers(kind):
  params, x, carry = layer(kind)
  y, last = run(kind, params, x, carry)
  by_hand = {'lstm': lstm_by_hand, 'gru': gru_by_hand}[kind]
  for b in range(B):
    first = [np.asarray(carry[name][b]) for name in CELLS[kind].state]
    expected, state = by_hand(params, np.asarray(x[:, b]), *first)
    np.testing.assert_allclose(y[:, b], expected, rtol=1e-5, atol=1e-6)
    for name, value in state.items():
      np.testing.assert_allclose(last[name][b], value, rtol=1e-5, atol=1e-6)


def test_a_step_of_one_unit():
  # Gates 1, 0, -1 and 2 in place of the sums: c = s(0) * 3 + s(1) tanh(-1), h = s(2) tanh(c).
  x = jnp.array([[[1.0, 0.0, -1.0, 2.0]]])
  carry = {'h': jnp.ones((1, 1)), 'c': jnp.full((1, 1), 3.0)}
  y, last = scan_cell(CELLS['lstm'], False, 1, x, jnp.zeros((1, 4)), None, carry)
  np.testing.assert_allclose(last['c'], [[1.5 - 0.7310586 * 0.7615942]], rtol=1e-6)
  np.testing.assert_allclose(y[0], 0.8807971 * np.tanh(last['c']), rtol=1e-6)


VARIANTS = {
  'plain': {},
  'lengths': {'live': True},
  'documents': {'reset': True, 'unroll': 3},
  'all': {'mask': True, 'live': True, 'reset': True, 'reverse': True},
}


@BOTH
@pytest.mark.parametrize('variant', VARIANTS)
def test_the_gradient_is_that_of_autodiff(kind, variant):
  cell, options = CELLS[kind], VARIANTS[variant]
  params, _, carry = layer(kind)
  flags = {
    'mask': jnp.asarray(2.0 * (RNG.random((B, H)) < 0.5), jnp.float32),
    'live': jnp.asarray(RNG.random((T, B)) < 0.6),
    'reset': jnp.asarray(RNG.random((T, B)) < 0.3),
  }
  flags = {name: flag if name in options else None for name, flag in flags.items()}
  static = (cell, options.get('reverse', False), options.get('unroll', 1))
  weight = {'y': normal(T, B, H), 'last': jax.tree.map(lambda x: normal(*x.shape), carry)}

  def loss(scan, x, kernel, bias, carry):
    y, last = scan(*static, x, kernel, bias, carry, *flags.values())
    products = jax.tree.map(lambda a, w: jnp.sum(a * w), {'y': y, 'last': last}, weight)
    return sum(jax.tree.leaves(products))

  args = (
    jnp.asarray(normal(T, B, cell.gates * H)),
    params['recurrent_kernel'],
    params.get('recurrent_bias'),
    carry,
  )
  gradient = jax.value_and_grad(loss, argnums=(1, 2, 3, 4) if kind == 'gru' else (1, 2, 4))
  own = jax.jit(partial(gradient, scan_cell))(*args)
  automatic = jax.jit(partial(gradient, scan_cell.fun))(*args)
  chex.assert_trees_all_close(own, automatic, rtol=2e-5, atol=2e-6)
  if variant == 'plain':  # without compiling
    chex.assert_trees_all_close(own, gradient(scan_cell, *args), rtol=2e-5, atol=2e-6)


@BOTH
def test_a_sequence_in_pieces_is_the_whole(kind):
  params, x, carry = layer(kind)
  y, last = run(kind, params, x, carry)
  parts = []
  for piece in (x[:1], x[1:4], x[4:]):
    part, carry = run(kind, params, piece, carry)
    parts.append(part)
  np.testing.assert_allclose(jnp.concatenate(parts), y, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_close(carry, last, rtol=1e-5, atol=1e-6)


@BOTH
@pytest.mark.parametrize('reverse', [False, True])
def test_what_does_not_count_changes_nothing(kind, reverse):
  params, x, carry = layer(kind)
  start, stop = jnp.array([0, 2, 1]), jnp.array([6, 5, 1])
  y, last = run(kind, params, x, carry, reverse=reverse, start=start, stop=stop)
  garbage = jnp.where(recurrent.real_steps(T, start, stop)[..., None], x, 1e3)
  same = run(kind, params, garbage, carry, reverse=reverse, start=start, stop=stop)
  chex.assert_trees_all_equal((y, last), same)
  for b in range(B):
    alone = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], carry)
    part = x[start[b] : stop[b], b : b + 1]
    expected, state = run(kind, params, part, alone, reverse=reverse) if len(part) else (0, alone)
    np.testing.assert_allclose(y[start[b] : stop[b], b : b + 1], expected, rtol=1e-5, atol=1e-6)
    assert not y[: start[b], b].any() and not y[stop[b] :, b].any()
    one = jax.tree.map(lambda leaf, b=b: leaf[b : b + 1], last)
    chex.assert_trees_all_close(one, state, rtol=1e-5, atol=1e-6)


@BOTH
def test_reverse_is_the_layer_on_the_reversed_sequence(kind):
  params, x, carry = layer(kind)
  y, last = run(kind, params, x, carry, reverse=True)
  expected, state = run(kind, params, x[::-1], carry)
  np.testing.assert_allclose(y, expected[::-1], rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_close(last, state, rtol=1e-5, atol=1e-6)


@BOTH
def test_a_document_starts_from_zeros(kind):
  params, x, carry = layer(kind)
  reset = jnp.zeros((T, B), bool).at[4].set(True)
  y, _ = run(kind, params, x, carry, reset=reset)
  np.testing.assert_allclose(y[:4], run(kind, params, x[:4], carry)[0], rtol=1e-5, atol=1e-6)
  fresh, _ = run(kind, params, x[4:], zeros(kind))
  np.testing.assert_allclose(y[4:], fresh, rtol=1e-5, atol=1e-6)


@BOTH
def test_unrolling_changes_nothing(kind):
  params, x, carry = layer(kind)
  one, four = run(kind, params, x, carry), run(kind, params, x, carry, unroll=4)
  chex.assert_trees_all_close(one, four, rtol=1e-6, atol=1e-7)


@BOTH
def test_the_mask_multiplies_the_state_at_every_step(kind):
  # Dropping units of h, for the gates, is dropping rows of the recurrent kernel.
  params, x, carry = layer(kind)
  mask = jnp.array([2.0, 0.0, 0.0, 2.0])
  y, last = run(kind, params, x, carry, mask=jnp.tile(mask, (B, 1)))
  params['recurrent_kernel'] = params['recurrent_kernel'] * mask[:, None]
  chex.assert_trees_all_close((y, last), run(kind, params, x, carry), rtol=1e-5, atol=1e-6)


@BOTH
def test_bfloat16_keeps_the_cell_in_float32(kind):
  params, x, carry = layer(kind, jnp.bfloat16)
  y, last = run(kind, params, x, carry)
  assert y.dtype == last['h'].dtype == jnp.bfloat16
  assert last.get('c', jnp.zeros(())).dtype == jnp.float32
  wide = jax.tree.map(lambda a: a.astype(jnp.float32), (x, carry))
  exact, _ = run(kind, params, *wide)
  np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.04)
  gradient = jax.grad(lambda p, x: run(kind, p, x, carry)[0].astype(jnp.float32).sum())
  wanted = jax.grad(lambda p, x: run(kind, p, x, wide[1])[0].sum())(params, wide[0])
  for name, found in gradient(params, x).items():
    assert found.dtype == jnp.float32
    scale = float(jnp.abs(wanted[name]).max())
    np.testing.assert_allclose(found, wanted[name], atol=0.05 * scale)


def test_packing_for_cudnn_is_what_jax_unpacks():
  params, _, _ = layer('lstm')
  flat = cudnn.pack(params)
  assert flat.size == rnn.get_num_params_in_lstm(D, H, 1, False)
  W_ih, W_hh, b_ih, b_hh = rnn.unpack_lstm_weights(flat, D, H, 1, False)
  np.testing.assert_array_equal(W_ih[0], params['input_kernel'].T)
  np.testing.assert_array_equal(W_hh[0], params['recurrent_kernel'].T)
  np.testing.assert_array_equal(b_ih[0] + b_hh[0], params['input_bias'])


@pytest.mark.parametrize('reverse', [False, True])
def test_the_cudnn_path_agrees_where_jax_stands_in_for_cudnn(monkeypatch, reverse):
  # All around the call of cuDNN, which itself is replaced by the reference that JAX has for it.
  def lstm(x, h, c, weights, lengths, *sizes):
    weights = rnn.unpack_lstm_weights(weights, *sizes[:3], sizes[4])
    return rnn.lstm_ref(x, h, c, *weights, lengths, *sizes)

  monkeypatch.setattr(rnn, 'lstm', lstm)
  params, x, carry = layer('lstm')
  for stop in (None, jnp.array([6, 3, 0])):
    with jax.numpy_rank_promotion('allow'):
      found = cudnn.run_lstm(params, x, carry, reverse, stop)
    expected = run('lstm', params, x, carry, reverse=reverse, stop=stop)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


def test_auto_is_xla_on_a_cpu():
  params, x, carry = layer('lstm')
  found = run_layer('lstm', params, x, carry)
  chex.assert_trees_all_close(found, run('lstm', params, x, carry), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'kind, options, message',
  [
    ('lstm', {'implementation': 'cudnn'}, "implementation 'cudnn' needs an NVIDIA GPU, not cpu"),
    ('lstm', {'implementation': 'cuddn'}, "unknown implementation 'cuddn'; did you mean 'cudnn'"),
    ('lstn', {}, "unknown cell 'lstn'; did you mean 'lstm'"),
  ],
)
def test_bad_names_are_refused_in_one_line(kind, options, message):
  params, x, carry = layer('lstm')
  with pytest.raises(ValueError, match=message) as error:
    run_layer(kind, params, x, carry, **options)
  assert '\n' not in str(error.value)
