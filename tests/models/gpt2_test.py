"""GPT-2: sizes, causality, packed documents, the cache, and layouts that must agree."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import gpt2
from zoo.models.gpt2 import GPT2

TINY = {'vocab_size': 13, 'context_length': 12, 'num_layers': 2, 'width': 16, 'num_heads': 2}
TINY |= {'dropout': 0.0}
TOKENS = jax.random.randint(jax.random.key(1), (3, 8), 0, 13)
# Compiling takes most of the time here, and a third of it so.
jit = partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


@partial(jit, static_argnums=0)
def initial(module):
  params = module.init(jax.random.key(0), TOKENS)['params']
  # Biases and norms that are not at their start, so that none of them can be left out.
  return jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(2), x.shape), params)


# One compilation for each module and shape, over all tests.
@partial(jit, static_argnums=0, static_argnames=('train', 'method'))
def apply(module, params, *args, seed=0, **options) -> Any:
  return module.apply({'params': params}, *args, rngs={'dropout': jax.random.key(seed)}, **options)


def loss(module, params, train=False):
  logits = module.apply(
    {'params': params}, TOKENS, train=train, rngs={'dropout': jax.random.key(0)}
  )
  return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.sin(logits[..., 0]))


grad = jit(jax.grad(loss, argnums=1), static_argnums=(0, 2))
close = partial(chex.assert_trees_all_close, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
  'name, expected',
  [
    ('gpt2', 124_439_808),
    ('gpt2_medium', 354_823_168),
    ('gpt2_large', 774_030_080),
    ('gpt2_xl', 1_557_611_200),
  ],
)
def test_published_sizes(name, expected):
  module = GPT2(**gpt2.SIZES[name], scan_layers=True)
  variables = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))
  assert sum(x.size for x in jax.tree.leaves(variables)) == expected


def test_weights_start_as_published():
  module = GPT2(**TINY | {'width': 64, 'vocab_size': 500, 'num_layers': 3})
  params = jit(module.init)(jax.random.key(0), TOKENS)['params']
  for layer in (params['blocks_0'], params['blocks_2']):
    for name in ('qkv', 'mlp_in', 'attention_out', 'mlp_out'):
      deviation = 0.02 if name in ('qkv', 'mlp_in') else 0.02 / 6**0.5
      np.testing.assert_allclose(layer[name]['kernel'].std(), deviation, rtol=0.05)
      assert not layer[name]['bias'].any()
  np.testing.assert_allclose(params['token_embedding']['embedding'].std(), 0.02, rtol=0.05)


def test_a_token_changes_no_earlier_logits():
  module = GPT2(**TINY)
  params = initial(module)
  logits = apply(module, params, TOKENS)
  for t in (0, 3, 7):
    changed = apply(module, params, TOKENS.at[:, t].set((TOKENS[:, t] + 1) % 13))
    chex.assert_trees_all_equal(changed[:, :t], logits[:, :t])
    assert (changed[:, t] != logits[:, t]).any(-1).all()


def test_packed_documents_are_as_if_alone():
  module = GPT2(**TINY)
  params = initial(module)
  segments = jnp.array([[1, 1, 1, 2, 2, 2, 2, 0]] * 3)
  assert gpt2.positions_within(segments)[0].tolist() == [0, 1, 2, 0, 1, 2, 3, 0]
  packed = apply(module, params, TOKENS, segments=segments)
  close(packed[:, :3], apply(module, params, TOKENS[:, :3]))
  close(packed[:, 3:7], apply(module, params, TOKENS[:, 3:7]))
  one = apply(module, params, TOKENS, segments=jnp.ones_like(TOKENS))
  close(one, apply(module, params, TOKENS))


@pytest.mark.parametrize('dtype', ['float32', pytest.param('bfloat16', marks=pytest.mark.slow)])
def test_a_cache_gives_what_there_is_without_it(dtype):
  """Prompts of 5, 3 and 1 tokens, padded at the left, then three tokens one by one."""
  module = GPT2(**TINY, dtype=dtype)
  params = initial(module)
  lengths = (5, 3, 1)
  padding = jnp.array([0, 2, 4])
  rows = [TOKENS[b, : n + 3] for b, n in enumerate(lengths)]
  padded = jnp.stack([jnp.pad(row, (8 - len(row), 0), constant_values=9) for row in rows])

  cache = module.apply({}, 3, 10, padding, method='start')
  assert all(x.shape[0] == 3 for x in jax.tree.leaves(cache) if x.ndim)
  logits, cache = apply(module, params, padded[:, :5], cache, method='decode')
  for t in range(5, 8):
    new, cache = apply(module, params, padded[:, t : t + 1], cache, method='decode')
    logits = jnp.concatenate([logits, new], 1)
  assert int(cache['index']) == 8

  tolerance = {'rtol': 1e-4, 'atol': 1e-5} if dtype == 'float32' else {'rtol': 0.1, 'atol': 0.1}
  for b, row in enumerate(rows):
    alone = apply(module, params, row[None])[0]
    chex.assert_trees_all_close(logits[b, 8 - len(row) :], alone, **tolerance)


@pytest.mark.slow
def test_scanned_and_rematerialised_layers_agree_with_plain_ones():
  options = TINY | {'dropout': 0.2}
  plain = GPT2(**options)
  params = initial(plain)
  stacked = gpt2.stack_layers(params)
  chex.assert_trees_all_equal(gpt2.unstack_layers(stacked), params)
  scanned = GPT2(**options, scan_layers=True)
  shapes = jax.eval_shape(lambda: scanned.init(jax.random.key(0), TOKENS)['params'])
  chex.assert_trees_all_equal_shapes_and_dtypes(stacked, shapes)

  close(apply(scanned, stacked, TOKENS), apply(plain, params, TOKENS))
  close(gpt2.unstack_layers(grad(scanned, stacked)), grad(plain, params))
  # With dropout: the second pass must drop what the first one did.
  close(grad(GPT2(**options, remat=True), params, True), grad(plain, params, True))
  both = GPT2(**options, remat=True, scan_layers=True)
  close(grad(both, stacked, True), grad(scanned, stacked, True))


def test_more_than_ten_layers_stay_in_order():
  layers = {f'blocks_{i}': {'a': np.full(2, i)} for i in (10, 2, 0, 1, 11, *range(3, 10))}
  stacked = gpt2.stack_layers(layers | {'final_norm': {}})
  assert stacked['blocks']['a'][:, 0].tolist() == list(range(12))


@pytest.mark.slow
def test_padding_of_the_vocabulary_changes_nothing():
  plain, padded = GPT2(**TINY), GPT2(**TINY, vocab_multiple=8)
  params = initial(padded)
  table = params['token_embedding']['embedding']
  assert table.shape == (16, 16)
  cut = params | {'token_embedding': {'embedding': table[:13]}}
  logits = apply(padded, params, TOKENS)
  close(logits[..., :13], apply(plain, cut, TOKENS))
  assert (logits[..., 13:] == -1e9).all()
  chex.assert_trees_all_equal(jax.nn.softmax(logits)[..., 13:], jnp.zeros((3, 8, 3)))
  # Nor do the added rows move.
  gradient = grad(padded, params)
  assert not gradient['token_embedding']['embedding'][13:].any()


@pytest.mark.slow
def test_compiled_gradients_equal_eager_ones():
  module = GPT2(**TINY, vocab_multiple=8)
  params = initial(module)
  compiled = jax.jit(jax.grad(loss, argnums=1), static_argnums=0)(module, params)
  close(compiled, jax.grad(loss, argnums=1)(module, params), rtol=1e-3)


def test_bfloat16_is_close_to_float32():
  params = initial(GPT2(**TINY))
  full, half = (apply(GPT2(**TINY, dtype=t), params, TOKENS) for t in ('float32', 'bfloat16'))
  assert half.dtype == jnp.float32
  assert 0 < np.abs(half - full).max() < 0.05 * np.abs(full).max()
  gradients = grad(GPT2(**TINY, dtype='bfloat16'), params)
  assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(gradients))


def test_dropout_is_for_training():
  module = GPT2(**TINY | {'dropout': 0.5})
  params = initial(module)
  chex.assert_trees_all_equal(
    apply(module, params, TOKENS, seed=0), apply(module, params, TOKENS, seed=1)
  )
  first, second = (apply(module, params, TOKENS, train=True, seed=s) for s in (0, 1))
  assert (first != second).mean() > 0.9


def test_the_head_of_what_is_hidden_is_the_whole():
  module = GPT2(**TINY)
  params = initial(module)
  hidden = apply(module, params, TOKENS, method='hidden')
  assert hidden.shape == (3, 8, 16)
  close(apply(module, params, hidden, method='head'), apply(module, params, TOKENS))


def test_bad_input_is_named_in_one_line():
  module = GPT2(**TINY)
  variables = {'params': initial(module)}
  long = jnp.zeros((1, 13), jnp.int32)
  with pytest.raises(ValueError, match='13 tokens are more than the context_length 12'):
    module.apply(variables, long)
  with pytest.raises(ValueError, match='13 tokens are more than the context_length 12'):
    module.start(1, 13)
  with pytest.raises(ValueError, match='8 tokens do not fit into a cache of 4'):
    module.apply(variables, TOKENS, module.start(3, 4), method='decode')
  with pytest.raises(ValueError, match='scan_layers does not decode'):
    GPT2(**TINY, scan_layers=True).start(1, 4)
  with pytest.raises(ValueError, match='width 16 is not a multiple of num_heads 3'):
    GPT2(**TINY | {'num_heads': 3}).init(jax.random.key(0), TOKENS)
