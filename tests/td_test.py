"""Temporal differences, derived by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from zoo import td

Q_TM1 = jnp.array([1.0, 2.0, 4.0])
Q_T = jnp.array([3.0, -1.0, 2.0])
STEP = (Q_TM1, jnp.int32(1), jnp.float32(0.5), jnp.float32(0.9))


def test_q_learning_bootstraps_from_the_best_action_unless_terminal():
  np.testing.assert_allclose(td.q_learning(*STEP, Q_T), 0.5 + 0.9 * 3 - 2, rtol=1e-6)
  np.testing.assert_allclose(td.q_learning(*STEP[:3], jnp.float32(0), Q_T), 0.5 - 2, rtol=1e-6)


def test_double_q_learning_chooses_by_one_and_values_by_the_other():
  error = td.double_q_learning(*STEP, Q_T, jnp.array([0.0, 7.0, 1.0]))
  np.testing.assert_allclose(error, 0.5 + 0.9 * -1 - 2, rtol=1e-6)


def test_the_target_has_no_gradient():
  every = lambda q, after: td.double_q_learning(q, *STEP[1:], after, after)
  of_q, of_after = jax.grad(every, (0, 1))(Q_TM1, Q_T)
  np.testing.assert_array_equal(of_q, [0, -1, 0])
  np.testing.assert_array_equal(of_after, [0, 0, 0])


def test_munchausen_adds_what_the_policy_says_of_the_action_and_values_softly():
  temperature, alpha = 0.5, 0.9
  log_pi = lambda q: q / temperature - np.log(np.sum(np.exp(q / temperature)))
  q_t, q_tm1 = np.asarray(Q_T, np.float64), np.array([1.5, 1.0, 1.2])
  pi = np.exp(log_pi(q_t))
  soft = np.sum(pi * (q_t - temperature * log_pi(q_t)))
  expected = 0.5 + alpha * max(temperature * log_pi(q_tm1)[1], -1) + 0.9 * soft - 2
  error = td.munchausen_q_learning(*STEP, Q_T, jnp.array(q_tm1, jnp.float32), temperature, alpha)
  np.testing.assert_allclose(error, expected, rtol=1e-5)
  # What the policy would hardly ever do costs no more than the clip.
  clipped = td.munchausen_q_learning(*STEP, Q_T, jnp.array([90.0, 0, 0]), temperature, alpha)
  np.testing.assert_allclose(clipped, 0.5 - alpha + 0.9 * soft - 2, rtol=1e-5)


def test_a_projection_shares_mass_between_neighbours_and_keeps_the_mean():
  atoms = jnp.array([-1.0, 0.0, 1.0, 2.0])
  found = td.project(jnp.array([0.25, -9.0, 2.0]), jnp.array([0.4, 0.1, 0.5]), atoms)
  np.testing.assert_allclose(found, [0.1, 0.3, 0.1, 0.5], atol=1e-6)
  inside = td.project(jnp.array([0.3, 1.9]), jnp.array([0.5, 0.5]), atoms)
  np.testing.assert_allclose(inside @ atoms, 1.1, rtol=1e-6)


def test_a_terminal_return_of_one_atom_is_cross_entropy_with_that_class():
  atoms, logits = jnp.array([0.0, 1.0]), jnp.array([[0.3, -0.2], [0.1, 0.5]])
  loss = td.categorical_q_learning(
    logits, jnp.int32(1), jnp.float32(1), jnp.float32(0), logits, jnp.zeros(2), atoms
  )
  np.testing.assert_allclose(loss, np.log(1 + np.exp(-0.4)), rtol=1e-5)


def test_quantiles_pay_by_the_side_on_which_they_err():
  # Targets 0 and 4 (terminal), quantiles 1 at tau 1/4 and 3 at tau 3/4, lines throughout.
  loss = td.quantile_q_learning(
    jnp.array([[1.0, 3.0]]),
    jnp.array([0.25, 0.75]),
    jnp.int32(0),
    jnp.float32(0),
    jnp.float32(1),
    jnp.array([[0.0, 4.0]]),
    jnp.zeros(1),
    0.0,
  )
  first = (0.75 * 1 + 0.25 * 3) / 2
  second = (0.25 * 3 + 0.75 * 1) / 2
  np.testing.assert_allclose(loss, first + second, rtol=1e-6)


def test_lambda_returns_by_hand():
  r, v = jnp.array([1.0, 2, 3]), jnp.array([4.0, 6, 8])
  discount, trace = jnp.array([0.5, 0.5, 0.5]), jnp.array([0.5, 0, 1])
  # The last goes on in what its state is worth; the one before it in its state's worth alone.
  want = [1 + 0.5 * (0.5 * 4 + 0.5 * 5), 2 + 0.5 * 6, 3 + 0.5 * 8]
  np.testing.assert_allclose(td.lambda_returns(r, discount, v, trace), want)
