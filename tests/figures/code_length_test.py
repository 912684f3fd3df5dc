"""Code lengths: probabilities that sum to one, divergences by hand, sums that merge."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.figures.code_length import CodeMetrics, discretized_logistic, gaussian_kl


@pytest.mark.parametrize('levels', [2, 17, 256])
@pytest.mark.parametrize(('location', 'log_scale'), [(0.3, -2.0), (-1.0, -3.0), (0.5, 4.0)])
def test_the_probabilities_of_all_levels_sum_to_one(levels, location, log_scale):
  values = jnp.arange(levels) / (levels - 1)
  full = lambda x: jnp.full(levels, x)
  found = discretized_logistic(values, full(location), full(log_scale), levels)
  assert float(jax.nn.logsumexp(found)) == pytest.approx(0, abs=1e-5)


def test_against_the_distribution_function():
  sigmoid = lambda x: 1 / (1 + np.exp(-np.float64(x)))
  values, location, scale = np.arange(5) / 4, 0.4, 0.15
  above = sigmoid((values + 0.125 - location) / scale)
  below = sigmoid((values - 0.125 - location) / scale)
  expected = [above[0], *(above - below)[1:4], 1 - below[4]]
  full = lambda x: jnp.full(5, x)
  found = discretized_logistic(jnp.asarray(values), full(location), full(math.log(scale)), 5)
  np.testing.assert_allclose(np.exp(found), expected, rtol=1e-5)


def test_values_far_from_a_narrow_distribution_cost_much_and_have_a_gradient():
  cost = lambda at: -discretized_logistic(jnp.array(0.5), at, jnp.array(-7.0), 256)
  value, gradient = jax.value_and_grad(cost)(jnp.array(0.0))
  # In units of the scale, the value is half of e^7 away.
  assert float(value) == pytest.approx(math.exp(7) / 2, rel=0.02)
  assert float(gradient) == pytest.approx(-math.exp(7), rel=0.02)


def test_values_are_taken_for_the_nearest_level():
  of = lambda x: float(discretized_logistic(jnp.array(x), jnp.array(0.4), jnp.array(-1.0), 5))
  assert of(0.3) == of(0.25) != of(0.5)


def test_the_divergence_of_known_distributions():
  mean, variance = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), jnp.array([1.0, 1.0, 4.0])
  log_variance = jnp.stack([jnp.log(variance), jnp.zeros(3)], axis=1)
  found = gaussian_kl(mean, log_variance)
  np.testing.assert_allclose(found, [0, 1 / 2, (4 - 1 - math.log(4)) / 2], atol=1e-6)


def test_sums_merge_and_padding_does_not_count():
  costs, kl = jnp.array([4.0, 8.0, jnp.nan]), jnp.array([1.0, 3.0, jnp.nan])
  first = CodeMetrics.from_costs(costs, kl, 10, jnp.array([1.0, 1.0, 0.0]))
  last = CodeMetrics.from_costs(jnp.array([12.0]), jnp.array([2.0]), 10, None)
  figures = jax.tree.map(jnp.add, first, last).compute()
  expected = {'loss': 10, 'elbo': -10, 'kl': 2, 'reconstruction': 8}
  assert figures == pytest.approx(expected | {'bits_per_dim': 1 / math.log(2)}, rel=1e-6)


def test_without_a_distribution_of_latent_numbers_there_is_no_code():
  figures = CodeMetrics.from_costs(jnp.array([4.0, 8.0]), None, 10, None).compute()
  assert figures == {'loss': 6.0, 'reconstruction': 6.0}
