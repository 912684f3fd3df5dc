"""Temporal differences against rlax, values and gradients, to 1e-6."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import td

rlax = pytest.importorskip('rlax')
pytestmark = pytest.mark.parity

B, A, K = 16, 4, 7
rng = np.random.default_rng(0)


def normal(*shape: int) -> jax.Array:
  return jnp.array(rng.normal(size=shape), jnp.float32)


ACTIONS = jnp.array(rng.integers(0, A, B), jnp.int32)
REWARDS, DISCOUNTS = normal(B), jnp.array(rng.choice([0.0, 0.9], B), jnp.float32)
STEP = (ACTIONS, REWARDS, DISCOUNTS)
ATOMS = jnp.linspace(-2, 2, K)
TAUS = jnp.array(rng.uniform(0.05, 0.95, (B, K)), jnp.float32)
OF_ACTIONS = jnp.swapaxes(normal(B, A, K), 1, 2)  # rlax has the actions last


def same(ours, theirs, x):
  """Values [B] and the gradient of their sum with respect to x."""
  for of in (lambda f: f(x), lambda f: jax.grad(lambda x: jnp.sum(f(x)))(x)):
    np.testing.assert_allclose(of(ours), of(theirs), rtol=1e-6, atol=1e-6)


def test_q_learning():
  q, q_t = normal(B, A), normal(B, A)
  same(
    lambda q: jax.vmap(td.q_learning)(q, *STEP, q_t),
    lambda q: jax.vmap(rlax.q_learning)(q, *STEP, q_t),
    q,
  )


def test_lambda_returns():
  r, v = normal(B), normal(B)
  discount, trace = (jax.nn.sigmoid(normal(B)) for _ in range(2))
  same(
    lambda v: td.lambda_returns(r, discount, v, trace),
    lambda v: rlax.lambda_returns(r, discount, v, trace),
    v,
  )


def test_double_q_learning():
  q, q_t, selector = normal(B, A), normal(B, A), normal(B, A)
  same(
    lambda q: jax.vmap(td.double_q_learning)(q, *STEP, q_t, selector),
    lambda q: jax.vmap(rlax.double_q_learning)(q, *STEP, q_t, selector),
    q,
  )


def test_projection():
  z, probs = 2 * normal(B, K), jax.nn.softmax(normal(B, K))
  np.testing.assert_allclose(
    jax.vmap(lambda *x: td.project(*x, ATOMS))(z, probs),
    jax.vmap(lambda *x: rlax.categorical_l2_project(*x, ATOMS))(z, probs),
    atol=1e-6,
  )


def test_categorical_double_q_learning():
  logits, logits_t, selector = normal(B, A, K), normal(B, A, K), normal(B, A)
  same(
    lambda x: jax.vmap(lambda *a: td.categorical_q_learning(*a, ATOMS))(
      x, *STEP, logits_t, selector
    ),
    lambda x: jax.vmap(
      lambda x, a, r, d, t, s: rlax.categorical_double_q_learning(ATOMS, x, a, r, d, ATOMS, t, s)
    )(x, *STEP, logits_t, selector),
    logits,
  )


@pytest.mark.parametrize('delta', [0.0, 1.0])
def test_quantile_q_learning(delta):
  quantiles, after, selector = normal(B, A, K), normal(B, A, K + 2), normal(B, A, K)
  last = lambda x: jnp.swapaxes(x, -1, -2)
  same(
    lambda x: jax.vmap(lambda *a: td.quantile_q_learning(*a, huber_delta=delta))(
      x, TAUS, *STEP, after, selector.mean(-1)
    ),
    lambda x: jax.vmap(lambda *a: rlax.quantile_q_learning(*a, huber_param=delta))(
      last(x), TAUS, *STEP, last(selector), last(after)
    ),
    quantiles,
  )
