import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import sampling

V = 12
choose, sample = jax.jit(sampling.choose), jax.jit(sampling.sample)


def rows(seed=0, batch=4, width=V):
  return jnp.asarray(np.random.default_rng(seed).normal(0, 2, (batch, width)), jnp.float32)


def keys(n, seed=0):
  return jax.random.split(jax.random.key(seed), n)


def kept(logits):
  return np.isfinite(np.asarray(logits))


def test_top_k_keeps_the_k_greatest():
  logits = np.asarray(rows())
  for k in (1, 3, V, V + 5):
    left = np.asarray(sampling.top_k(jnp.asarray(logits), k))
    for row, found in zip(logits, left, strict=True):
      expected = np.sort(row)[::-1][:k]
      np.testing.assert_array_equal(np.sort(found[np.isfinite(found)])[::-1], expected)


def test_top_k_keeps_ties():
  logits = jnp.asarray([[0.0, 2.0, 1.0, 1.0, -1.0]])
  np.testing.assert_array_equal(kept(sampling.top_k(logits, 2)), [[0, 1, 1, 1, 0]])


@pytest.mark.parametrize('p', [1e-6, 0.2, 0.5, 0.8, 0.95])
def test_top_p_is_the_smallest_set_that_reaches_p(p):
  logits = rows(1, batch=50)
  for row, mask in zip(
    np.asarray(jax.nn.softmax(logits)), kept(sampling.top_p(logits, p)), strict=True
  ):
    order = np.argsort(-row)
    count = int(mask.sum())
    assert set(np.flatnonzero(mask)) == set(order[:count])
    assert row[order[:count]].sum() >= p - 1e-6
    assert row[order[: count - 1]].sum() < p


def test_top_p_of_one_keeps_all_and_of_ties_all_that_are_alike():
  assert kept(sampling.top_p(rows(2), 1.0)).all()
  logits = jnp.log(jnp.asarray([[0.4, 0.2, 0.2, 0.1, 0.1]]))
  np.testing.assert_array_equal(kept(sampling.top_p(logits, 0.5)), [[1, 1, 1, 0, 0]])


def test_filters_take_logits_of_any_sign_and_minus_infinity():
  logits = jnp.asarray([[-3.0, -jnp.inf, -1.0, -2.0], [0.0, 5.0, -5.0, 1e-30]])
  np.testing.assert_array_equal(kept(sampling.top_k(logits, 2)), [[0, 0, 1, 1], [0, 1, 0, 1]])
  np.testing.assert_array_equal(kept(sampling.top_p(logits, 1.0))[0], [1, 0, 1, 1])


def test_repetition_penalty_by_hand():
  logits = jnp.asarray([[2.0, -2.0, 3.0, -3.0, 0.0]])
  seen = jnp.asarray([[True, True, False, False, True]])
  found = sampling.repetition_penalty(logits, seen, 2.0)
  np.testing.assert_allclose(found, [[1.0, -4.0, 3.0, -3.0, 0.0]])
  np.testing.assert_array_equal(sampling.repetition_penalty(logits, seen, 1.0), logits)


def test_the_penalty_never_makes_a_token_likelier():
  logits, seen = rows(3), rows(4) > 0
  before, after = (
    np.asarray(jax.nn.softmax(x)) for x in (logits, sampling.repetition_penalty(logits, seen, 1.5))
  )
  share = lambda p: (p * np.asarray(seen)).sum(-1)
  assert (share(after) < share(before)).all()


@pytest.mark.parametrize('t', [0.5, 1.0, 2.0])
def test_frequencies_are_the_probabilities(t):
  n = 40_000
  logits = rows(5, batch=1)
  draws = sample(jnp.broadcast_to(sampling.temperature(logits, t), (n, V)), keys(n))
  expected = n * np.asarray(jax.nn.softmax(logits[0] / t), np.float64)
  statistic = ((np.bincount(draws, minlength=V) - expected) ** 2 / expected).sum()
  assert statistic < 31.3  # 99.9% of chi-square with 11 degrees of freedom


def test_a_row_depends_on_its_own_key_and_logits_alone():
  logits, ks = rows(6, batch=8), keys(8)
  together = sample(logits, ks)
  for i in (0, 5):
    assert sample(logits[i : i + 1], ks[i : i + 1])[0] == together[i]
    others = logits[::-1].at[i].set(logits[i])
    assert sample(others, keys(8, 1).at[i].set(ks[i]))[i] == together[i]
  wider = jnp.pad(logits, ((0, 0), (0, 116)), constant_values=-1e9)
  np.testing.assert_array_equal(sample(wider, ks), together)


@pytest.mark.parametrize('t', [1.0, 1e4, 1e12])
def test_what_is_no_token_is_never_sampled(t):
  n = 20_000
  logits = jnp.concatenate([rows(7, batch=1), jnp.full((1, 116), -1e9)], axis=1)
  settings = {'temperature': t, 'top_p': 1.0, 'top_k': 100, 'repetition_penalty': 1e3}
  seen = jnp.zeros((n, V + 116), bool).at[:, V:].set(True)
  draws = choose(jnp.broadcast_to(logits, (n, V + 116)), keys(n), settings, seen)
  assert draws.max() < V
  if t > 1:  # all tokens are alike then
    assert np.bincount(draws).min() > n / V / 2


def test_a_token_without_a_chance_is_not_hit_at_the_ends():
  logits = jnp.full((2_000, 300), -jnp.inf).at[:, 150].set(1.0)
  assert set(np.asarray(sample(logits, keys(2_000)))) == {150}


def test_choose_without_a_temperature_is_greedy():
  logits = rows(8)
  np.testing.assert_array_equal(choose(logits, keys(4), {}), np.argmax(np.asarray(logits), -1))


def test_choose_is_the_composition_in_its_order():
  # Seen: 0. Logits 4, 3, 2.9, 0 become 2, 3, 2.9, 0; of the two greatest 1 has 52%.
  logits, seen = jnp.asarray([[4.0, 3.0, 2.9, 0.0]]), jnp.asarray([[True, False, False, False]])
  settings = {'repetition_penalty': 2.0, 'temperature': 1.0, 'top_k': 2, 'top_p': 0.5}
  logits, seen = jnp.tile(logits, (40, 1)), jnp.tile(seen, (40, 1))
  assert set(np.asarray(choose(logits, keys(40), settings, seen))) == {1}
  del settings['top_p']
  assert set(np.asarray(choose(logits, keys(40), settings, seen))) == {1, 2}
