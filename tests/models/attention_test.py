"""Attention: against a loop written out by hand, its masks, its cache, and what it refuses."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import attention
from zoo.models.attention import attend, causal_mask, key_mask, segment_mask

B, T, H, D = 2, 5, 3, 4


def arrays(seed=0, queries=T, keys=T, heads=H, size=D):
  kq, kk, kv = jax.random.split(jax.random.key(seed), 3)
  q = jax.random.normal(kq, (B, queries, heads, size))
  k, v = (jax.random.normal(key, (B, keys, heads, size)) for key in (kk, kv))
  return q, k, v


def by_hand(q, k, v, mask):
  """Each output in float64, by loops; mask[b, h, i, j]."""
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  mask = np.broadcast_to(mask, (q.shape[0], q.shape[2], q.shape[1], k.shape[1]))
  out = np.zeros((*q.shape[:3], v.shape[-1]))
  for b, i, h in np.ndindex(q.shape[:3]):
    seen = [j for j in range(k.shape[1]) if mask[b, h, i, j]]
    weights = np.array([math.exp(q[b, i, h] @ k[b, j, h] / math.sqrt(q.shape[3])) for j in seen])
    for w, j in zip(weights / weights.sum(), seen, strict=True):
      out[b, i, h] += w * v[b, j, h]
  return out


def test_plain_causal_and_masked_attention_equal_loops():
  q, k, v = arrays()
  chex.assert_trees_all_close(attend(q, k, v), by_hand(q, k, v, True), rtol=1e-5, atol=1e-6)
  below = np.tril(np.ones((T, T), bool))
  chex.assert_trees_all_close(
    attend(q, k, v, causal=True), by_hand(q, k, v, below), rtol=1e-5, atol=1e-6
  )
  # Keys at the end that are padding, and the causal mask beside it.
  valid = jnp.arange(T)[None] < jnp.array([[3], [5]])
  expected = by_hand(q, k, v, below & np.asarray(key_mask(valid)))
  found = attend(q, k, v, mask=key_mask(valid), causal=True)
  chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


def test_queries_and_keys_may_differ_in_number():
  q, k, v = arrays(queries=2)
  mask = causal_mask(2, T, 3)  # the queries are at places 3 and 4
  assert mask.tolist() == [[[[True] * 4 + [False], [True] * 5]]]
  chex.assert_trees_all_close(
    attend(q, k, v, mask=mask), by_hand(q, k, v, np.asarray(mask)), rtol=1e-5, atol=1e-6
  )
  with pytest.raises(ValueError, match='2 queries to 5 keys'):
    attend(q, k, v, causal=True)


def test_segments_see_themselves_alone():
  mask = segment_mask(jnp.array([[1, 1, 2, 0]]))
  assert mask.shape == (1, 1, 4, 4)
  assert mask[0, 0].astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_query_without_keys_gives_the_mean_and_finite_gradients():
  q, k, v = arrays()
  mask = jnp.zeros((1, 1, T, T), bool)
  out = attend(q, k, v, mask=mask)
  chex.assert_trees_all_close(out, jnp.broadcast_to(v.mean(1, keepdims=True), v.shape), rtol=1e-5)
  chex.assert_tree_all_finite(jax.grad(lambda q: attend(q, k, v, mask=mask).sum())(q))


def test_large_scores_do_not_overflow_in_half_precision():
  q, k, v = (100 * x.astype(jnp.bfloat16) for x in arrays())
  out = attend(q, k, v, causal=True)
  assert out.dtype == jnp.bfloat16
  chex.assert_tree_all_finite(out)


def test_compiled_gradients_equal_eager_ones_and_finite_differences():
  q, k, v = arrays()
  valid = jnp.arange(T)[None] < jnp.array([[3], [5]])

  def loss(q, k, v):
    return jnp.sum(jnp.sin(attend(q, k, v, mask=key_mask(valid), causal=True)))

  grads = jax.grad(loss, (0, 1, 2))(q, k, v)
  compiled = jax.jit(jax.grad(loss, (0, 1, 2)))(q, k, v)
  chex.assert_trees_all_close(compiled, grads, rtol=1e-5, atol=1e-6)
  along = arrays(1)
  _, slope = jax.jvp(loss, (q, k, v), along)
  ends = [loss(*(x + s * 1e-2 * d for x, d in zip((q, k, v), along, strict=True))) for s in (1, -1)]
  np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-2, rtol=2e-2)
  inner = sum(jnp.vdot(g, d) for g, d in zip(grads, along, strict=True))
  np.testing.assert_allclose(slope, inner, rtol=1e-4)


def test_dropout_keeps_the_mean_and_needs_a_key():
  q, k, _ = arrays(heads=1)
  v = jnp.ones((B, T, 1, 1))
  np.testing.assert_allclose(attend(q, k, v, dropout=0.3), 1, rtol=1e-6)
  keys = jax.random.split(jax.random.key(0), 400)
  sums = jax.jit(jax.vmap(lambda key: attend(q, k, v, dropout=0.3, key=key)))(keys)
  # Each output is a sum of weights, kept with probability 0.7 and then divided by it.
  np.testing.assert_allclose(sums.mean(), 1, atol=0.03)
  assert sums.std() > 0.1


def test_a_cache_that_is_filled_in_parts_gives_causal_attention():
  q, k, v = arrays()
  cache = attention.init_cache(B, T + 2, H, D, 'float32')
  outs, index = [], 0
  for width in (2, 1, 1, 1):
    part = slice(index, index + width)
    cache = attention.update_cache(cache, k[:, part], v[:, part], jnp.int32(index))
    mask = causal_mask(width, T + 2, jnp.int32(index))
    outs.append(attend(q[:, part], *attention.read_cache(cache), mask=mask))
    index += width
  expected = attend(q, k, v, causal=True)
  chex.assert_trees_all_close(jnp.concatenate(outs, 1), expected, rtol=1e-5, atol=1e-6)
  chex.assert_trees_all_equal(attention.read_cache(cache)[0][:, :T], k)


def test_what_cannot_be_done_is_refused_in_one_line():
  q, k, v = arrays()
  with pytest.raises(ValueError, match="unknown attention 'cudn'; did you mean 'cudnn'"):
    attend(q, k, v, implementation='cudn')
  for name, reason in (('cudnn', 'needs an NVIDIA GPU'), ('splash', 'needs a TPU')):
    with pytest.raises(ValueError, match=f"attention '{name}' {reason}"):
      attend(q, k, v, implementation=name)
  equal = partial(chex.assert_trees_all_equal, attend(q, k, v, implementation='xla'))
  equal(attend(q, k, v, implementation='auto'))


@pytest.mark.parametrize(
  'shape, dtype, plain, reason',
  [
    ((2, 128, 4, 64), 'bfloat16', True, ''),
    ((2, 128, 4, 64), 'float32', True, 'computes in bfloat16 or float16'),
    ((2, 128, 4, 20), 'bfloat16', True, 'multiple of 8'),
    ((2, 128, 4, 512), 'bfloat16', True, 'at most 256'),
    ((2, 128, 4, 64), 'bfloat16', False, 'neither a mask nor dropout'),
  ],
)
def test_what_cudnn_takes(monkeypatch, shape, dtype, plain, reason):
  class Client:
    platform_version = 'PJRT C API\ncuda 13000'

  class Device:
    client = Client()
    compute_capability = '9.0'

  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  monkeypatch.setattr(jax, 'devices', lambda: [Device()])
  found = attention.cudnn_obstacle(jnp.zeros(shape, dtype), plain)
  assert reason in found if reason else found == ''
  Client.platform_version = 'rocm 60000'
  assert attention.cudnn_obstacle(jnp.zeros(shape, dtype), plain) == 'needs an NVIDIA GPU'


@pytest.mark.slow
@pytest.mark.parametrize('causal', [True, False])
def test_the_splash_kernel_agrees_when_interpreted(causal):
  q, k, v = (x.astype(jnp.float32) for x in arrays(queries=128, keys=128, heads=2, size=64))
  found = attention.splash_attention(q, k, v, causal, interpret=True)
  expected = attend(q, k, v, causal=causal, implementation='xla')
  chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)
