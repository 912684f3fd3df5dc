"""The encoder-decoder: against NumPy, and what padding, order and caches may not change."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.transformer import SIZES, Transformer, sinusoids

KEY = jax.random.key(0)
V, D, H, F = 13, 16, 2, 24
SMALL: dict[str, Any] = dict(
  vocab_size=V, encoder_layers=1, decoder_layers=1, width=D, num_heads=H, ffn_width=F, max_length=16
)
SOURCE = np.array([[5, 9, 4, 7, 2, 0], [8, 3, 2, 0, 0, 0], [6, 6, 10, 11, 12, 2]], np.int32)
TOKENS = np.array([[1, 7, 4, 9, 3], [1, 8, 3, 2, 0], [1, 12, 12, 5, 6]], np.int32)


def build(**options: Any) -> tuple[Transformer, Any]:
  module = Transformer(**{**SMALL, **options})
  return module, random(jax.eval_shape(lambda: module.init(KEY, SOURCE, TOKENS)))


def random(shapes):
  # Not as they start: biases and scales of 0 and 1 would hide mistakes.
  rng = np.random.default_rng(1)
  draw = lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32)
  return jax.tree.map(lambda x: draw(x) + (x.ndim == 1), shapes)


# Not compiled, but where a test says so: most modules here are called once.


def logits_of(module, variables, source: Any = SOURCE, tokens: Any = TOKENS) -> Any:
  return module.apply(variables, source, tokens)


def train(module, variables, seed: Any = 0) -> Any:
  rngs = {'dropout': jax.random.key(seed)}
  return module.apply(variables, SOURCE, TOKENS, train=True, rngs=rngs)


def encode(module, variables, source: Any = SOURCE) -> Any:
  return module.apply(variables, source, method='encode')


def count(module) -> int:
  shapes = jax.eval_shape(lambda: module.init(KEY, SOURCE, TOKENS))
  return sum(x.size for x in jax.tree.leaves(shapes))


# An implementation of its own: float64, one example, one head and one query at a time.


def dense(p, x):
  return x @ p['kernel'] + p['bias']


def norm(p, x):
  centred = x - x.mean(-1, keepdims=True)
  return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p['scale'] + p['bias']


def attention(p, x, memory, visible):
  q, k, v = dense(p['query'], x), dense(p['key'], memory), dense(p['value'], memory)
  out, size = np.zeros_like(q), D // H
  for head in (slice(h * size, (h + 1) * size) for h in range(H)):
    for i in range(len(x)):
      js = [j for j in range(len(memory)) if visible(i, j)]
      weights = np.exp([q[i, head] @ k[j, head] / np.sqrt(size) for j in js])
      out[i, head] = sum(w * v[j, head] for w, j in zip(weights / weights.sum(), js, strict=True))
  return dense(p['out'], out)


def layer(p, x, pre_norm, visible, memory=None, memory_visible=None):
  def add(name, x, part):
    return x + part(norm(p[name], x)) if pre_norm else norm(p[name], x + part(x))

  x = add('attention_norm', x, lambda y: attention(p['attention'], y, y, visible))
  if memory is not None:
    cross = lambda y: attention(p['cross_attention'], y, memory, memory_visible)
    x = add('cross_norm', x, cross)
  relu = lambda y: np.maximum(y, 0)
  return add('ffn_norm', x, lambda y: dense(p['ffn_out'], relu(dense(p['ffn_in'], y))))


def reference(p, source, tokens, pre_norm):
  waves = np.zeros((16, D))
  for place in range(16):
    for i in range(D // 2):
      angle = place / 10_000 ** (2 * i / D)
      waves[place, i], waves[place, D // 2 + i] = np.sin(angle), np.cos(angle)
  embed = lambda ids: np.sqrt(D) * p['embedding'][ids] + waves[: len(ids)]
  real = lambda i, j: source[j] != 0
  memory = layer(p['encoder_0'], embed(source), pre_norm, real)
  memory = layer(p['encoder_1'], memory, pre_norm, real)
  memory = norm(p['encoder_norm'], memory) if pre_norm else memory
  past = lambda i, j: j <= i
  x = layer(p['decoder_0'], embed(tokens), pre_norm, past, memory, real)
  x = norm(p['decoder_norm'], x) if pre_norm else x
  return x @ p['embedding'].T


@pytest.mark.parametrize('pre_norm', [pytest.param(False, marks=pytest.mark.slow), True])
def test_it_is_what_the_paper_says(pre_norm):
  module, variables = build(encoder_layers=2, pre_norm=pre_norm)
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables['params'])
  expected = [reference(p, s, t, pre_norm) for s, t in zip(SOURCE, TOKENS, strict=True)]
  np.testing.assert_allclose(logits_of(module, variables), expected, rtol=1e-4, atol=1e-4)


def test_sinusoids_by_hand():
  table = sinusoids(100, 4)  # wave lengths 2 pi and 100 * 2 pi
  np.testing.assert_allclose(table[0], [0, 0, 1, 1])
  expected = [np.sin(99), np.sin(0.99), np.cos(99), np.cos(0.99)]
  np.testing.assert_allclose(table[99], expected, rtol=1e-6)


def test_sinusoids_of_a_shift_are_a_rotation():
  # Section 3.5: PE(t + k) is a linear function of PE(t).
  table = sinusoids(60, 8)
  waves = table[:, :4] + 1j * table[:, 4:]
  np.testing.assert_allclose(
    waves[7:] / waves[:-7], np.tile(waves[7] / waves[0], (53, 1)), rtol=1e-4
  )


@pytest.mark.parametrize('size, expected', [('base', 63_082_496), ('big', 214_245_376)])
def test_published_sizes(size, expected):
  # For big, D = 1024 and F = 4096. An attention has 4 (D^2 + D), dense layers 2 D F + F + D, a norm
  # 2 D. An encoder layer of one, one and two: 12,596,224; a decoder layer of two, one and three:
  # 16,796,672. Six of each, and a table of 37,000 D.
  assert count(Transformer(**SIZES[size])) == expected


@pytest.mark.parametrize(
  'options, tables',
  [
    ({}, V * D),
    ({'share_embeddings': 'target', 'source_vocab_size': 20}, V * D + 20 * D),
    ({'share_embeddings': 'none'}, 3 * V * D),
    ({'share_embeddings': 'none', 'source_vocab_size': 20}, 2 * V * D + 20 * D),
    ({'logits_bias': True}, V * D + V),
    ({'positions': 'learned'}, V * D + 2 * 16 * D),
    ({'pre_norm': True}, V * D + 2 * 2 * D),
  ],
)
def test_parameters_are_as_many_as_counted_by_hand(options, tables):
  attention, ffn, norm = 4 * (D * D + D), 2 * D * F + F + D, 2 * D
  layers = attention + ffn + 2 * norm + 3 * (2 * attention + ffn + 3 * norm)
  assert count(Transformer(**{**SMALL, **options, 'decoder_layers': 3})) == tables + layers


@pytest.mark.parametrize('share', ['all', 'target', 'none'])
def test_which_embeddings_are_one_table(share):
  # A change of a token's row is felt where the table serves.
  module, variables = build(share_embeddings=share)
  before = logits_of(module, variables)

  def change(name, token):
    table = variables['params'][name].at[token].add(1.0)
    changed = {'params': {**variables['params'], name: table}}
    moved = jnp.abs(logits_of(module, changed) - before) > 1e-6
    by_source, by_target = moved[2, 0, 0], moved[0, 1, 0]  # tokens 10 and 7, and a logit of neither
    return {
      'source': bool(by_source),
      'target': bool(by_target),
      'logits': bool(moved[1, 0, token]),
    }

  # 10 is in the source of example 2 alone, 7 in the target of example 0, neither in example 1.
  target = change('embedding', 7)
  assert target['target'] and target['logits'] == (share != 'none')
  assert change('embedding', 10)['source'] == (share == 'all')
  if share != 'all':
    assert change('source_embedding', 10) == {'source': True, 'target': False, 'logits': False}
  if share == 'none':
    assert change('logits_embedding', 11) == {'source': False, 'target': False, 'logits': True}


def test_embeddings_are_scaled_by_the_root_of_the_width():
  module, variables = build(share_embeddings='none')
  params = variables['params']
  scaled = {n: x * 4.0 if n in ('embedding', 'source_embedding') else x for n, x in params.items()}
  plain = Transformer(**SMALL, share_embeddings='none', scale_embedding=False)
  chex.assert_trees_all_close(
    logits_of(plain, {'params': scaled}), logits_of(module, variables), rtol=1e-5
  )


def test_the_logits_bias_is_added():
  module, variables = build(logits_bias=True)
  params = dict(variables['params'])
  bias = params.pop('logits_bias')
  without = logits_of(Transformer(**SMALL), {'params': params})
  np.testing.assert_allclose(
    logits_of(module, variables), without + bias[None, None], rtol=1e-5, atol=1e-5
  )


@pytest.mark.slow
@pytest.mark.parametrize(
  'options',
  [pytest.param({}, marks=pytest.mark.slow), {'pre_norm': True, 'positions': 'learned'}],
)
def test_longer_padding_changes_nothing(options):
  module, variables = build(**options)
  exact = logits_of(module, variables)
  longer = logits_of(module, variables, np.pad(SOURCE, ((0, 0), (0, 4))))
  np.testing.assert_allclose(longer, exact, rtol=1e-5, atol=1e-5)
  longer = logits_of(module, variables, SOURCE, np.pad(TOKENS, ((0, 0), (0, 4))))
  np.testing.assert_allclose(longer[:, :5], exact, rtol=1e-5, atol=1e-5)
  alone = logits_of(module, variables, SOURCE[1:2, :3], TOKENS[1:2, :4])  # without any padding
  np.testing.assert_allclose(alone[0], exact[1, :4], rtol=1e-5, atol=1e-5)


def test_a_source_of_nothing_but_padding_gives_finite_logits():
  module, variables = build()
  assert np.isfinite(logits_of(module, variables, np.zeros_like(SOURCE))).all()


def test_no_logits_depend_on_later_tokens():
  module, variables = build()
  exact = logits_of(module, variables)
  for t in range(5):
    other = TOKENS.copy()
    other[:, t] = 11
    moved = jnp.abs(logits_of(module, variables, SOURCE, other) - exact).max((0, 2))
    assert (moved[:t] == 0).all() and (moved[t:] > 1e-4).all()


def test_every_source_token_reaches_every_logit():
  module, variables = build()
  exact = logits_of(module, variables)
  for s in range(2):
    other = SOURCE.copy()
    other[:, s] = 1
    moved = jnp.abs(logits_of(module, variables, other) - exact).max(2)
    assert (moved > 1e-4).all()


@pytest.mark.parametrize('positions', ['sinusoidal', 'learned', 'none'])
def test_the_order_of_the_source_matters_if_it_has_positions(positions):
  module, variables = build(positions=positions)
  order = np.array([3, 0, 5, 1, 4, 2])
  memory, permuted = encode(module, variables), encode(module, variables, SOURCE[:, order])
  change = jnp.abs(permuted[2] - memory[2, order]).max()
  logits = logits_of(module, variables)
  effect = jnp.abs(logits_of(module, variables, SOURCE[:, order]) - logits)[2].max()
  assert max(change, effect) < 1e-5 if positions == 'none' else min(change, effect) > 1e-2


@pytest.mark.parametrize(
  'options',
  [
    {},
    {'pre_norm': True, 'positions': 'learned', 'logits_bias': True},
    {'positions': 'none', 'share_embeddings': 'none', 'decoder_layers': 2},
  ],
)
@pytest.mark.parametrize('chunks', [(1, 1, 1, 1, 1), (3, 1, 1), (5,)])
def test_decoding_with_a_cache_equals_the_whole_forward(options, chunks):
  module, variables = build(**options)
  cache, found, t = module.apply(variables, SOURCE, 9, method='start'), [], 0
  for size in chunks:
    logits, cache = module.apply(variables, TOKENS[:, t : t + size], cache, method='decode')
    found.append(logits)
    t += size
  assert int(cache['index']) == 5
  expected = logits_of(module, variables)
  np.testing.assert_allclose(jnp.concatenate(found, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_cache_may_be_reordered_by_rows():
  # As beam search does it: every leaf but the index has the batch as its leading axis.
  module, variables = build()
  cache = module.apply(variables, SOURCE, 6, method='start')
  _, cache = module.apply(variables, TOKENS[:, :2], cache, method='decode')
  rows = np.array([2, 0, 0])
  index = cache.pop('index')
  assert all(len(x) == 3 for x in jax.tree.leaves(cache))
  cache = {**jax.tree.map(lambda x: x[rows], cache), 'index': index}
  logits, _ = module.apply(variables, TOKENS[rows, 2:3], cache, method='decode')
  expected = logits_of(module, variables)[rows, 2:3]
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def loss(module, variables):
  logits = module.apply(variables, SOURCE, TOKENS)
  return jnp.mean(jnp.square(jax.nn.log_softmax(logits)) * (TOKENS != 0)[..., None])


@pytest.mark.slow
def test_compiled_gradients_are_those_computed_eagerly_with_remat_too():
  module, variables = build(activation='swish')
  eager = jax.grad(partial(loss, module))(variables)
  for other in (module, module.clone(remat=True)):
    compiled = jax.jit(jax.grad(partial(loss, other)))(variables)
    chex.assert_trees_all_close(compiled, eager, rtol=1e-3, atol=1e-6)
  # Each parameter has a gradient, but for the biases of keys, which a softmax does not see.
  for path, gradient in jax.tree_util.tree_leaves_with_path(eager):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    assert (jnp.abs(gradient).max() > 1e-6) != name.endswith('key/bias'), name


@pytest.mark.parametrize(
  'rate, remat',
  [
    ('dropout', False),
    ('attention_dropout', False),
    ('attention_dropout', True),
    ('activation_dropout', False),
  ],
)
def test_dropout_follows_its_key_in_training_and_is_off_otherwise(rate, remat):
  off = {'dropout': 0.0, 'attention_dropout': 0.0, 'activation_dropout': 0.0}
  module, variables = build(**{**off, rate: 0.5}, remat=remat)
  first, again, other = (train(module, variables, seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert jnp.abs(first - other).max() > 1e-3
  without = train(Transformer(**SMALL, **off), variables)
  np.testing.assert_allclose(logits_of(module, variables), without, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_computes_on_float32_parameters():
  module, variables = build(dtype='bfloat16')
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  exact = logits_of(Transformer(**SMALL), variables)
  logits = logits_of(module, variables)
  assert logits.dtype == jnp.float32
  assert 0 < jnp.abs(logits - exact).max() < 0.05 * jnp.abs(exact).max()
  cache = module.apply(variables, SOURCE, 6, method='start')
  decoded, cache = module.apply(variables, TOKENS, cache, method='decode')
  assert cache['self'][0]['k'].dtype == jnp.bfloat16
  assert jnp.abs(decoded - exact).max() < 0.05 * jnp.abs(exact).max()


@pytest.mark.parametrize(
  'options, message',
  [
    ({'positions': 'sinusoid'}, "unknown positions 'sinusoid'; did you mean 'sinusoidal'?"),
    ({'share_embeddings': 'targets'}, "unknown share_embeddings 'targets'; did you mean 'target'?"),
    (
      {'source_vocab_size': 20},
      "share_embeddings 'all' needs one vocabulary, not 20 source tokens",
    ),
    ({'num_heads': 3}, 'width 16 is not a multiple of num_heads 3'),
    ({'width': 15, 'num_heads': 3}, 'sinusoidal positions need an even width, not 15'),
    ({'max_length': 5}, '6 tokens are more than max_length 5'),
    ({'activation': 'swich'}, "unknown activation 'swich'; did you mean 'swish'?"),
  ],
)
def test_bad_fields_are_named(options, message):
  with pytest.raises(ValueError) as error:
    jax.eval_shape(lambda: Transformer(**{**SMALL, **options}).init(KEY, SOURCE, TOKENS))
  assert str(error.value).startswith(message) and '\n' not in str(error.value)


def test_a_cache_longer_than_the_model_is_refused():
  module, variables = build()
  with pytest.raises(ValueError, match='17 tokens are more than max_length 16'):
    module.apply(variables, SOURCE, 17, method='start')
