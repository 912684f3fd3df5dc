"""Recurrent language models and classifiers: what depends on what, and what changes nothing."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.lstm import GRU, LSTM
from zoo.models.rnn import Stack
from zoo.models.rnn_classifier import RNNClassifier

KEY = jax.random.key(0)
TOKENS = jax.random.randint(jax.random.key(1), (3, 7), 1, 11)
SMALL: Any = {'vocab_size': 11, 'width': 8, 'num_layers': 2}
MODELS = pytest.mark.parametrize('model', [LSTM, GRU])


# One compilation for each module and shape, over all tests.
@partial(jax.jit, static_argnums=0, static_argnames=('method', 'train'))
def apply(module, params, *args, method='__call__', **options) -> Any:
  return module.apply(params, *args, method=method, **options)


def draw(module, x):
  """Parameters from a normal distribution: to initialise them takes longer to compile."""
  rng = np.random.default_rng(0)
  one = lambda leaf: jnp.asarray(rng.normal(scale=0.3, size=leaf.shape), leaf.dtype)
  return jax.tree.map(one, jax.eval_shape(module.init, KEY, x))


def build(model, x: Any = TOKENS, **options):
  module = model(**{**(SMALL if model is not RNNClassifier else {'width': 8}), **options})
  return module, draw(module, x)


def train(module, params, x: Any = TOKENS, seed=0):
  return apply(module, params, x, train=True, rngs={'dropout': jax.random.key(seed)})


def shapes(params):
  return jax.tree.map(lambda x: x.shape, params['params'])


def close(found, expected):
  chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


def test_parameters_have_the_documented_shapes():
  _, params = build(LSTM, embedding_width=5)
  layer = {'input_bias': (32,), 'recurrent_kernel': (8, 32)}
  assert shapes(params) == {
    'embedding': {'embedding': (11, 5)},
    'rnn': {
      'layers_0': {'input_kernel': (5, 32), **layer},
      'layers_1': {'input_kernel': (8, 32), **layer},
    },
    'logits': {'kernel': (8, 11), 'bias': (11,)},
  }
  _, params = build(GRU, tie_head=True, num_layers=1)
  assert shapes(params) == {
    'embedding': {'embedding': (11, 8)},
    'rnn': {
      'layers_0': {
        'input_kernel': (8, 24),
        'input_bias': (24,),
        'recurrent_kernel': (8, 24),
        'recurrent_bias': (8,),
      }
    },
  }


def test_gates_start_open_and_orthogonal():
  module = LSTM(vocab_size=11, width=8, num_layers=1)
  layer = jax.jit(module.init)(KEY, TOKENS)['params']['rnn']['layers_0']
  i, f, g, o = np.split(layer['input_bias'], 4)
  assert (f == 1).all() and not i.any() and not g.any() and not o.any()
  gates = np.split(np.asarray(layer['recurrent_kernel']), 4, axis=1)
  for gate in gates:
    np.testing.assert_allclose(gate @ gate.T, np.eye(8), atol=1e-5)
  assert np.abs(gates[0] - gates[1]).max() > 0.1


@MODELS
def test_logits_depend_on_no_later_token(model):
  module, params = build(model)
  before = apply(module, params, TOKENS)
  after = apply(module, params, TOKENS.at[:, 4].set(0))
  close(after[:, :4], before[:, :4])
  assert jnp.abs(after[:, 4:] - before[:, 4:]).max(2).min() > 1e-5


@MODELS
@pytest.mark.parametrize('options', [{}, {'tie_head': True}])
def test_the_call_is_the_head_of_what_is_hidden(model, options):
  module, params = build(model, **options)
  hidden = apply(module, params, TOKENS, method='hidden')
  logits = apply(module, params, TOKENS)
  close(apply(module, params, hidden, method='head'), logits)
  if options:
    close(logits, hidden @ params['params']['embedding']['embedding'].T)


@MODELS
def test_decoding_in_pieces_is_one_long_pass(model):
  module, params = build(model)
  expected = apply(module, params, TOKENS)
  cache, logits = module.apply({}, 3, 7, method='start'), []
  for piece in (TOKENS[:, :4], TOKENS[:, 4:5], TOKENS[:, 5:6], TOKENS[:, 6:]):
    part, cache = apply(module, params, piece, cache, method='decode')
    logits.append(part)
  close(jnp.concatenate(logits, axis=1), expected)
  assert cache.pop('index') == 7
  assert {leaf.shape[0] for leaf in jax.tree.leaves(cache)} == {3}


@MODELS
def test_padding_at_the_left_of_a_prompt_changes_nothing(model):
  module, params = build(model)
  padding = jnp.array([0, 2, 5])
  cache, logits = module.apply({}, 3, 7, padding, method='start'), []
  for piece in (TOKENS[:, :4], TOKENS[:, 4:]):  # the third row has padding in both
    part, cache = apply(module, params, piece, cache, method='decode')
    logits.append(part)
  logits = jnp.concatenate(logits, axis=1)
  for b, start in enumerate(padding):
    alone = apply(module, params, TOKENS[b : b + 1, start:])
    close(logits[b : b + 1, start:], alone)


def test_rows_of_a_cache_may_be_exchanged():
  # What beam search does: row b goes on from where row order[b] was.
  module, params = build(LSTM)
  cache = module.apply({}, 3, 7, method='start')
  _, cache = apply(module, params, TOKENS[:, :4], cache, method='decode')
  order = jnp.array([2, 2, 0])
  index = cache.pop('index')
  cache = {'index': index, **jax.tree.map(lambda leaf: leaf[order], cache)}
  logits, _ = apply(module, params, TOKENS[:, 4:], cache, method='decode')
  whole = jnp.concatenate([TOKENS[order, :4], TOKENS[:, 4:]], axis=1)
  close(logits, apply(module, params, whole)[:, 4:])


@MODELS
def test_packed_documents_do_not_see_each_other(model):
  module, params = build(model)
  segments = jnp.array([[1, 1, 1, 2, 2, 2, 2], [1, 1, 2, 2, 3, 3, 0], [1] * 7])
  logits = apply(module, params, TOKENS, segments=segments)
  close(logits[0, 3:], apply(module, params, TOKENS[:1, 3:])[0])
  close(logits[1, 2:4], apply(module, params, TOKENS[1:2, 2:4])[0])
  close(logits[2], apply(module, params, TOKENS)[2])


@pytest.mark.slow
def test_compiled_gradients_are_those_of_eager_execution():
  module, params = build(LSTM, num_layers=1)

  def loss(params):
    return jnp.square(module.apply(params, TOKENS)).sum()

  chex.assert_trees_all_close(
    jax.jit(jax.grad(loss))(params), jax.grad(loss)(params), rtol=1e-4, atol=1e-5
  )


def test_options_of_speed_change_nothing():
  module, params = build(LSTM)
  logits = apply(module, params, TOKENS)
  close(apply(LSTM(**SMALL, unroll=3, implementation='xla'), params, TOKENS), logits)
  rough = apply(LSTM(**SMALL, dtype='bfloat16'), params, TOKENS)
  assert rough.dtype == jnp.float32
  assert 0 < jnp.abs(rough - logits).max() < 0.1


@pytest.mark.parametrize('option', ['dropout', 'recurrent_dropout'])
def test_dropout_follows_its_key_in_training_and_is_off_otherwise(option):
  module, params = build(LSTM, **{option: 0.5})
  first, again, other = (train(module, params, seed=seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert jnp.abs(first - other).max() > 1e-3
  close(apply(module, params, TOKENS), apply(LSTM(**SMALL), params, TOKENS))


def test_variational_dropout_drops_the_same_units_at_all_steps():
  # With the last dropout alone to see: of constants, units dropped at one step are at all steps.
  hidden = {}
  for variational in (False, True):
    module, params = build(LSTM, dropout=0.5, variational=variational, num_layers=0, width=64)
    tokens, rngs = jnp.ones((2, 9), jnp.int32), {'dropout': KEY}
    hidden[variational] = apply(module, params, tokens, train=True, method='hidden', rngs=rngs) == 0
  assert (hidden[True] == hidden[True][:, :1]).all()
  assert 0.3 < hidden[True].mean() < 0.7
  assert (hidden[True][0] != hidden[True][1]).any()
  assert not (hidden[False] == hidden[False][:, :1]).all()


def test_recurrent_dropout_drops_the_same_units_of_the_state_at_all_steps():
  # Only h feeds the gates (the input is 0), so whether a unit of h counts shows in the gradient of
  # its row of the recurrent kernel: units dropped for good have none, for one example.
  module = Stack(width=32, num_layers=1, recurrent_dropout=0.5)
  x = jnp.zeros((6, 1, 4))
  params = draw(module, x)

  @jax.jit
  def gradient(key):
    def loss(params):
      return module.apply(params, x, train=True, rngs={'dropout': key})[0].sum()

    return jax.grad(loss)(params)['params']['layers_0']['recurrent_kernel']

  dead = jnp.stack([(gradient(jax.random.key(i)) == 0).all(1) for i in range(4)])
  # Were there a new mask at each of five steps, a row would be without gradient once in 32 times.
  assert 0.3 < dead.mean() < 0.7


def test_an_initial_loss_is_that_of_guessing():
  module = GRU(vocab_size=500, width=32, num_layers=1)
  tokens = jax.random.randint(KEY, (4, 16), 0, 500)
  logits, params = jax.jit(module.init_with_output)(KEY, tokens)
  assert abs(jax.nn.logsumexp(logits, axis=-1).mean() - np.log(500)) < 0.1
  assert not params['params']['rnn']['layers_0']['input_bias'].any()


@pytest.mark.parametrize('cell, pooling', [('lstm', 'last'), ('gru', 'mean')])
def test_longer_padding_changes_nothing(cell, pooling):
  options = {'cell': cell, 'pooling': pooling, 'vocab_size': 11, 'bidirectional': True}
  module, params = build(RNNClassifier, num_layers=2, **options)
  lengths = jnp.array([7, 4, 1])
  tokens = jnp.where(jnp.arange(7)[None] < lengths[:, None], TOKENS, 0)
  logits = apply(module, params, tokens)
  close(apply(module, params, jnp.pad(tokens, ((0, 0), (0, 5)))), logits)
  close(apply(module, params, tokens[1:2, :4])[0], logits[1])


def test_a_sequence_of_padding_alone_is_finite():
  module, params = build(RNNClassifier, vocab_size=11, pooling='mean')
  logits, gradient = jax.jit(
    jax.value_and_grad(lambda p: module.apply(p, jnp.zeros((2, 5), jnp.int32)).sum())
  )(params)
  chex.assert_tree_all_finite((logits, gradient))


@pytest.mark.parametrize('cell', ['lstm', 'gru'])
def test_bidirectional_is_a_forward_and_a_reversed_pass(cell):
  x = jax.random.normal(KEY, (5, 2, 3))  # [T, B, D]
  both = Stack(cell, width=4, num_layers=2, bidirectional=True)
  params = draw(both, x)['params']
  y, carry = jax.jit(both.apply)({'params': params}, x)
  one = jax.jit(Stack(cell, width=4, num_layers=1).apply)
  expected = x
  for i in range(2):
    forward, last = one({'params': {'layers_0': params[f'layers_{i}']}}, expected)
    reverse = {'params': {'layers_0': params[f'layers_{i}_reverse']}}
    backward, first = one(reverse, expected[::-1])
    expected = jnp.concatenate([forward, backward[::-1]], axis=-1)
    close(carry[f'layers_{i}'], last['layers_0'])
    close(carry[f'layers_{i}_reverse'], first['layers_0'])
  close(y, expected)


def test_the_last_state_of_both_directions_is_pooled():
  x = jax.random.normal(KEY, (2, 5, 3))
  module, params = build(RNNClassifier, x, bidirectional=True, num_classes=0)
  features = apply(module, params, x)
  rnn = Stack('lstm', 8, 1, True)
  y, _ = jax.jit(rnn.apply)({'params': params['params']['rnn']}, jnp.swapaxes(x, 0, 1))
  close(features, jnp.concatenate([y[-1, :, :8], y[0, :, 8:]], axis=-1))


def test_images_are_read_row_by_row():
  images = jax.random.uniform(KEY, (2, 6, 4, 3))
  module, params = build(RNNClassifier, images, pooling='mean')
  assert params['params']['rnn']['layers_0']['input_kernel'].shape == (12, 32)
  rows = images.reshape(2, 6, 12)
  close(apply(module, params, images), apply(module, params, rows))


@pytest.mark.parametrize(
  'module, x, message',
  [
    (LSTM(**SMALL, bidirectional=True), TOKENS, 'a language model reads forward only'),
    (LSTM(**SMALL, tie_head=True, embedding_width=4), TOKENS, 'not 4 and 8'),
    (LSTM(**SMALL, implementation='cudnn'), TOKENS, 'needs an NVIDIA GPU, not cpu'),
    (RNNClassifier(cell='lstn'), jnp.zeros((1, 2, 3)), "unknown cell 'lstn'; did you mean 'lstm'"),
    (RNNClassifier(pooling='max'), jnp.zeros((1, 2, 3)), "unknown pooling 'max'"),
    (RNNClassifier(vocab_size=3), jnp.zeros((1, 2, 3)), r'takes tokens \[batch, time\], not float'),
    (RNNClassifier(), TOKENS, r'without vocab_size takes .* not \(3, 7\)'),
  ],
)
def test_what_does_not_fit_is_refused_in_one_line(module, x, message):
  with pytest.raises(ValueError, match=message) as error:
    module.init(KEY, x)
  assert '\n' not in str(error.value)
