"""Products of one row agree with those that XLA has by itself, and read no table twice."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import GPT2, products

KEY = jax.random.key(0)
LARGE = (1024, 512)  # 2 MiB
DENSE = (((2,), (0,)), ((), ()))


@pytest.mark.parametrize(
  ('rows', 'shape', 'dtype', 'slow'),
  [
    ((1, 1), LARGE, 'float32', True),
    ((1, 2), LARGE, 'float32', False),
    ((2, 1), LARGE, 'float32', False),
    ((1, 1), (64, 512), 'float32', False),
    ((1, 1), (1026, 512), 'float32', False),
    ((1, 1), LARGE, 'bfloat16', False),
  ],
)
def test_a_dense_layer_and_its_gradients_are_the_same(rows, shape, dtype, slow):
  x = jax.random.normal(KEY, (*rows, shape[0]), dtype)
  kernel = jax.random.normal(KEY, shape, dtype)
  assert products.is_slow(x, kernel) == slow
  weight = jax.random.normal(jax.random.key(1), (*rows, shape[1]))

  def value(dot, x, kernel):
    return jnp.sum(weight * dot(x, kernel, DENSE).astype(jnp.float32))

  made = products.dot_general(x, kernel, DENSE)
  expected = jax.lax.dot_general(x, kernel, DENSE)
  assert (made.shape, made.dtype) == (expected.shape, expected.dtype)
  np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-4)
  gradients = [
    jax.grad(lambda *a, dot=dot: value(dot, *a), (0, 1))(x, kernel)
    for dot in (products.dot_general, jax.lax.dot_general)
  ]
  for found, wanted in zip(*gradients, strict=True):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


def test_rows_side_by_side_are_as_each_by_itself():
  x, kernel = jax.random.normal(KEY, (3, 1, 1, LARGE[0])), jax.random.normal(KEY, LARGE)
  together = jax.vmap(products.dot_general, (0, None, None))(x, kernel, DENSE)
  np.testing.assert_allclose(together, x @ kernel, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_logits_of_one_row_are_those_of_the_row_among_others(dtype):
  table = jax.random.normal(KEY, (640, 512))
  hidden = jax.random.normal(jax.random.key(1), (1, 3, 512), dtype)
  many = products.logits_by(table, hidden)
  for i in range(3):
    one = products.logits_by(table, hidden[:, i : i + 1])
    assert one.dtype == jnp.float32
    np.testing.assert_allclose(one, many[:, i : i + 1], rtol=1e-5, atol=1e-4)


def test_a_token_is_decoded_without_a_copy_of_a_table():
  """By jax 0.12 that of the embedding was transposed for every token of one sequence."""
  model = GPT2(vocab_size=4096, context_length=64, num_layers=1, width=512, num_heads=4)
  params = jax.eval_shape(model.init, KEY, jnp.zeros((1, 8), jnp.int32))

  def generate(params, cache):
    def step(_, carry):
      token, cache = carry
      logits, cache = model.apply(params, token, cache, method='decode')
      return jnp.argmax(logits[:, -1:], -1).astype(jnp.int32), cache

    return jax.lax.fori_loop(0, 8, step, (jnp.zeros((1, 1), jnp.int32), cache))

  cache = jax.eval_shape(lambda: nn.apply(GPT2.start, model)({}, 1, 64))
  text = jax.jit(generate).lower(params, cache).compile().as_text()
  sizes = {(4096, 512), (512, 2048), (512, 1536), (512, 512)}
  turned = '|'.join(f'{a},{b}|{b},{a}' for a, b in sizes)
  assert 'f32[4096,512]' in text
  assert not re.findall(rf'f32\[(?:{turned})\]\S* copy\(.*', text)
