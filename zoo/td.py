"""Temporal differences, of one transition each: `jax.vmap` makes batches of them.

Names are those of the field: `q_tm1` and `a_tm1` are of the state before, `r_t`, `discount_t` and
`q_t` of what came after. `discount_t` is 0 where the episode terminated, and only there: one that
was cut off by a time limit goes on in what its last state is worth.
"""

import jax
import jax.numpy as jnp
import optax

from zoo.types import Array


def of_action(values: Array, action: Array) -> Array:
  """values[action], of values [A, ...]: by a masked sum, whose gradient is no scatter."""
  chosen = jnp.arange(len(values)) == action
  return jnp.sum(jnp.where(chosen.reshape(-1, *(1,) * (values.ndim - 1)), values, 0), axis=0)


def q_learning(q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array) -> Array:
  """The error r + discount * max q_t - q_tm1[a], float [].

  Args:
    q_tm1: float [A].
    a_tm1: integer [].
    r_t: float [].
    discount_t: float [].
    q_t: float [A].

  References:
    Watkins and Dayan 1992, Q-learning.
  """
  return double_q_learning(q_tm1, a_tm1, r_t, discount_t, q_t, q_t)


def double_q_learning(
  q_tm1: Array, a_tm1: Array, r_t: Array, discount_t: Array, q_t: Array, q_t_selector: Array
) -> Array:
  """The same, where the action that counts in `q_t` is the best by `q_t_selector`, float [A].

  References:
    van Hasselt et al. 2016, Deep Reinforcement Learning with Double Q-learning.
  """
  target = r_t + discount_t * of_action(q_t, jnp.argmax(q_t_selector))
  return jax.lax.stop_gradient(target) - of_action(q_tm1, a_tm1)


def lambda_returns(r_t: Array, discount_t: Array, v_t: Array, trace_t: Array) -> Array:
  """Targets of a sequence of steps: G = r + discount * ((1 - trace) * v + trace * next G).

  Args:
    r_t: float [T], rewards.
    discount_t: float [T].
    v_t: float [T], what the states after the steps are worth.
    trace_t: float [T], lambda of each step; 0 where the sequence breaks off.

  Returns:
    float [T].

  References:
    Sutton and Barto 2018, Reinforcement Learning: An Introduction, equation 12.18.
  """

  def one(after: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
    r, discount, v, trace = step
    found = r + discount * ((1 - trace) * v + trace * after)
    return found, found

  return jax.lax.scan(one, v_t[-1], (r_t, discount_t, v_t, trace_t), reverse=True)[1]


def munchausen_q_learning(
  q_tm1: Array,
  a_tm1: Array,
  r_t: Array,
  discount_t: Array,
  q_t: Array,
  q_tm1_target: Array,
  temperature: float = 0.03,
  alpha: float = 0.9,
  clip: float = -1.0,
) -> Array:
  """Q-learning with a soft value, whose reward has the log probability of the action added.

  Args:
    q_tm1: float [A], what is learnt.
    a_tm1: integer [].
    r_t: float [].
    discount_t: float [].
    q_t: float [A], of the target network.
    q_tm1_target: float [A], of the target network in the state before.
    temperature: of the policy softmax(q / temperature).
    alpha: share of the log probability.
    clip: what temperature * log probability is at least.

  References:
    Vieillard et al. 2020, Munchausen Reinforcement Learning, equation 1.
  """
  scaled_log_pi = lambda q: q - temperature * jax.nn.logsumexp(q / temperature)
  bonus = alpha * jnp.clip(of_action(scaled_log_pi(q_tm1_target), a_tm1), clip, 0)
  # sum_a pi(a) (q(a) - temperature log pi(a)) is this log sum.
  soft_value = temperature * jax.nn.logsumexp(q_t / temperature)
  target = r_t + bonus + discount_t * soft_value
  return jax.lax.stop_gradient(target) - of_action(q_tm1, a_tm1)


def project(z: Array, probs: Array, atoms: Array) -> Array:
  """Moves a distribution over values `z` to evenly spaced `atoms`: each part to its neighbours.

  Args:
    z: float [K], anywhere; what lies beyond the atoms goes to the outermost.
    probs: float [K].
    atoms: float [M], evenly spaced, ascending.

  Returns:
    float [M]; the mean is kept where nothing lay beyond.

  References:
    Bellemare et al. 2017, A Distributional Perspective on Reinforcement Learning, equation 7.
  """
  step = atoms[1] - atoms[0]
  distance = jnp.abs(jnp.clip(z, atoms[0], atoms[-1])[None] - atoms[:, None]) / step
  return jnp.sum(jnp.clip(1 - distance, 0, 1) * probs[None], axis=-1)


def categorical_q_learning(
  logits_tm1: Array,
  a_tm1: Array,
  r_t: Array,
  discount_t: Array,
  logits_t: Array,
  q_t_selector: Array,
  atoms: Array,
) -> Array:
  """The cross-entropy of the predicted returns with the projected target, nats, float [].

  Args:
    logits_tm1: float [A, K].
    a_tm1: integer [].
    r_t: float [].
    discount_t: float [].
    logits_t: float [A, K].
    q_t_selector: float [A], by which the next action is chosen.
    atoms: float [K], the returns.

  References:
    Bellemare et al. 2017, algorithm 1.
  """
  probs = jax.nn.softmax(of_action(logits_t, jnp.argmax(q_t_selector)))
  target = project(r_t + discount_t * atoms, probs, atoms)
  return -jnp.sum(jax.lax.stop_gradient(target) * jax.nn.log_softmax(of_action(logits_tm1, a_tm1)))


def quantile_q_learning(
  quantiles_tm1: Array,
  taus_tm1: Array,
  a_tm1: Array,
  r_t: Array,
  discount_t: Array,
  quantiles_t: Array,
  q_t_selector: Array,
  huber_delta: float = 1.0,
) -> Array:
  """The quantile regression loss, float []: summed over N quantiles, mean over the M of the target.

  Args:
    quantiles_tm1: float [A, N].
    taus_tm1: float [N], which quantiles these are, in (0, 1).
    a_tm1: integer [].
    r_t: float [].
    discount_t: float [].
    quantiles_t: float [A, M].
    q_t_selector: float [A], by which the next action is chosen.
    huber_delta: where the loss turns from a square into a line; 0 for a line throughout.

  References:
    Dabney et al. 2018, Distributional Reinforcement Learning with Quantile Regression, algorithm 1;
    2018, Implicit Quantile Networks, equation 3.
  """
  target = r_t + discount_t * of_action(quantiles_t, jnp.argmax(q_t_selector))
  delta = jax.lax.stop_gradient(target)[None] - of_action(quantiles_tm1, a_tm1)[:, None]  # [N, M]
  asymmetry = jnp.abs(taus_tm1[:, None] - (delta < 0))
  size = optax.huber_loss(delta, delta=huber_delta) / huber_delta if huber_delta else jnp.abs(delta)
  return jnp.sum(jnp.mean(jax.lax.stop_gradient(asymmetry) * size, axis=-1))


def expectation(outputs: Array, head: str, v_min: float, v_max: float) -> Array:
  """What actions are worth, float [..., A], of what a network says of them.

  Args:
    outputs: [..., A] of the head 'scalar', otherwise [..., A, K], see `models/qnetwork.py`.
    head: which.
    v_min: lowest atom of 'c51'.
    v_max: highest.
  """
  if head == 'scalar':
    return outputs
  if head == 'c51':
    atoms = jnp.linspace(v_min, v_max, outputs.shape[-1])
    return jax.nn.softmax(outputs) @ atoms
  return outputs.mean(-1)
