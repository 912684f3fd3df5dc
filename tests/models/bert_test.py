"""BERT: published sizes, against NumPy, and what padding, places and types do."""

import math
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.bert import BERT, SIZES

KEY = jax.random.key(0)
V, D, H, F, C = 13, 16, 2, 24, 3
SMALL: dict[str, Any] = dict(
  vocab_size=V, num_layers=1, width=D, num_heads=H, ffn_width=F, max_length=12
)
TOKENS = np.array([[1, 9, 4, 7, 2, 0], [1, 3, 2, 0, 0, 0], [1, 6, 10, 11, 12, 2]], np.int32)
TYPES = np.array([[0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]], np.int32)


def build(**options: Any) -> tuple[BERT, Any]:
  module = BERT(**{**SMALL, **options})
  return module, random(jax.eval_shape(lambda: module.init(KEY, TOKENS)))


def random(shapes):
  # Not as they start: biases and scales of 0 and 1 would hide mistakes.
  rng = np.random.default_rng(1)
  draw = lambda x: jnp.asarray(0.3 * rng.normal(size=x.shape), jnp.float32)
  return jax.tree.map(lambda x: draw(x) + (x.ndim == 1), shapes)


# Not compiled, but where a test says so: most modules here are called once.


def logits_of(module, variables, tokens: Any = TOKENS, types: Any = None) -> Any:
  return module.apply(variables, tokens, token_types=types)


def train(module, variables, seed: Any = 0) -> Any:
  rngs = {'dropout': jax.random.key(seed)}
  return module.apply(variables, TOKENS, train=True, rngs=rngs)


@pytest.mark.parametrize(
  'size, options, method, expected',
  [
    ('base', {}, 'pooled', 109_482_240),
    ('base', {}, '__call__', 109_514_298),
    ('base', {'num_classes': 2}, '__call__', 109_483_778),
    ('large', {}, 'pooled', 335_141_888),
  ],
)
def test_published_sizes(size, options, method, expected):
  # Of base: tables (30,522 + 512 + 2) * 768 and a norm of 1536: 23,837,184. Each layer: attention
  # 4 * (768^2 + 768), dense 2 * 768 * 3072 + 3840, norms 3072: 7,087,872. Pooler 768^2 + 768. The
  # masked language model has in its place as large a layer, a norm and 30,522 biases.
  module = BERT(**SIZES[size], **options)
  shapes = jax.eval_shape(lambda: module.init(KEY, TOKENS, method=method))
  assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@pytest.mark.slow
def test_weights_start_small_and_cut_off():
  module = BERT(**{**SMALL, 'vocab_size': 5000})
  params = module.init(KEY, TOKENS)['params']
  for table in (params['token_embedding'], params['layer_0']['ffn_in']['kernel']):
    assert 0.016 < table.std() < 0.019 and abs(table).max() <= 0.04  # 0.88 * 0.02
  assert not params['masked_lm']['bias'].any()


# An implementation of its own: float64, one example and one head at a time, without padding.


def dense(p, x):
  return x @ p['kernel'] + p['bias']


def norm(p, x):
  centred = x - x.mean(-1, keepdims=True)
  return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * p['scale'] + p['bias']


def gelu(x):
  return x * np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))))(x)


def attention(p, x):
  q, k, v = (dense(p[name], x) for name in ('query', 'key', 'value'))
  out, size = np.zeros_like(q), D // H
  for head in (slice(h * size, (h + 1) * size) for h in range(H)):
    weights = np.exp(q[:, head] @ k[:, head].T / np.sqrt(size))
    out[:, head] = weights / weights.sum(1, keepdims=True) @ v[:, head]
  return dense(p['out'], out)


def reference(p, tokens, types):
  x = p['token_embedding'][tokens] + p['type_embedding'][types]
  x = norm(p['embedding_norm'], x + p['position_embedding'][: len(tokens)])
  for i in range(sum(name.startswith('layer_') for name in p)):
    layer = p[f'layer_{i}']
    x = norm(layer['attention_norm'], x + attention(layer['attention'], x))
    y = dense(layer['ffn_out'], gelu(dense(layer['ffn_in'], x)))
    x = norm(layer['ffn_norm'], x + y)
  return x


def test_the_masked_language_model_is_what_the_paper_says():
  module, variables = build(num_layers=2)
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables['params'])
  logits = logits_of(module, variables, TOKENS, TYPES)
  for b, n in enumerate([5, 3, 6]):  # real tokens
    x = reference(p, TOKENS[b, :n], TYPES[b, :n])
    head = p['masked_lm']
    x = norm(head['norm'], gelu(dense(head['dense'], x)))
    expected = x @ p['token_embedding'].T + head['bias']
    np.testing.assert_allclose(logits[b, :n], expected, rtol=1e-4, atol=1e-5)


def test_the_classifier_reads_the_first_token():
  module, variables = build(num_classes=C)
  assert 'masked_lm' not in variables['params']
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables['params'])
  logits = logits_of(module, variables, TOKENS, TYPES)
  for b, n in enumerate([5, 3, 6]):
    first = reference(p, TOKENS[b, :n], TYPES[b, :n])[0]
    expected = dense(p['classifier'], np.tanh(dense(p['pooler'], first)))
    np.testing.assert_allclose(logits[b], expected, rtol=1e-4, atol=1e-5)


def test_logits_are_the_head_of_hidden():
  module, variables = build()
  hidden = module.apply(variables, TOKENS, method='hidden')
  logits = module.apply(variables, hidden, method='head')
  np.testing.assert_allclose(logits, logits_of(module, variables), rtol=1e-5, atol=1e-5)
  one = module.apply(variables, hidden[:, 2], method='head')
  np.testing.assert_allclose(one, logits[:, 2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('num_classes', [0, C])
def test_longer_padding_changes_nothing(num_classes):
  module, variables = build(num_classes=num_classes)
  exact = logits_of(module, variables)
  longer = logits_of(module, variables, np.pad(TOKENS, ((0, 0), (0, 5))))
  longer = longer if num_classes else longer[:, :6]
  np.testing.assert_allclose(longer, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_padding_is_what_pad_id_says():
  module, variables = build(pad_id=12, num_classes=C)
  padded = np.where(TOKENS == 0, 12, TOKENS)[:2]
  exact = logits_of(module, variables, padded[1:, :3])
  np.testing.assert_allclose(logits_of(module, variables, padded)[1:], exact, rtol=1e-5, atol=1e-5)
  zero = module.clone(pad_id=0)  # for which 12 is a token like others
  assert jnp.abs(logits_of(zero, variables, padded)[1:] - exact).max() > 1e-3


def test_every_logit_depends_on_every_token_its_place_and_its_type():
  module, variables = build()
  exact = logits_of(module, variables)[2]
  for t in range(6):
    tokens, types = TOKENS.copy(), np.zeros_like(TOKENS)
    tokens[2, t], types[2, t] = 5, 1
    for other in (
      logits_of(module, variables, tokens),
      logits_of(module, variables, TOKENS, types),
    ):
      assert (jnp.abs(other[2] - exact).max(1) > 1e-4).all()
  order = np.array([0, 3, 5, 1, 4, 2])
  permuted = logits_of(module, variables, TOKENS[:, order])[2]
  assert jnp.abs(permuted - exact[order]).max() > 1e-2


def loss(module, variables):
  logits = module.apply(variables, TOKENS, token_types=TYPES)
  return jnp.mean(jnp.square(jax.nn.log_softmax(logits)))


@pytest.mark.slow
def test_compiled_gradients_are_those_computed_eagerly_with_remat_too():
  module, variables = build()
  eager = jax.grad(partial(loss, module))(variables)
  for other in (module, module.clone(remat=True)):
    compiled = jax.jit(jax.grad(partial(loss, other)))(variables)
    chex.assert_trees_all_close(compiled, eager, rtol=1e-3, atol=1e-6)
  # Each parameter has a gradient, but for the biases of keys, which a softmax does not see.
  for path, gradient in jax.tree_util.tree_leaves_with_path(eager):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    assert (jnp.abs(gradient).max() > 1e-6) != name.endswith('key/bias'), name


@pytest.mark.parametrize('rate', ['dropout', 'attention_dropout', 'classifier_dropout'])
def test_dropout_follows_its_key_in_training_and_is_off_otherwise(rate):
  off = {'dropout': 0.0, 'attention_dropout': 0.0, 'classifier_dropout': 0.0}
  module, variables = build(num_classes=C, **{**off, rate: 0.5})
  first, again, other = (train(module, variables, seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert jnp.abs(first - other).max() > 1e-3
  without = train(module.clone(**off), variables)
  np.testing.assert_allclose(logits_of(module, variables), without, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('num_classes', [0, C])
def test_bfloat16_computes_on_float32_parameters(num_classes):
  module, variables = build(num_classes=num_classes, dtype='bfloat16')
  exact = logits_of(module.clone(dtype='float32'), variables)
  logits = logits_of(module, variables)
  assert {x.dtype for x in jax.tree.leaves((variables, logits))} == {jnp.dtype('float32')}
  assert 0 < jnp.abs(logits - exact).max() < 0.1 * jnp.abs(exact).max()


def test_more_tokens_than_places_are_refused():
  module, variables = build()
  with pytest.raises(ValueError, match='13 tokens are more than max_length 12'):
    module.apply(variables, np.ones((1, 13), np.int32))
