"""The classic problems of control, with the dynamics, rewards and limits of Gymnasium.

Its arithmetic is in float64, ours in float32: a step from the same state agrees to rounding.
"""

import jax
import jax.numpy as jnp

from zoo.data.environment import Environment, Transition, with_time_limit
from zoo.types import Array


def cartpole() -> Environment:
  """CartPole-v1: keep a pole upright on a cart; reward 1 for every step, at most 500.

  Observations are [position, velocity, angle, angular velocity]; actions push left and right.

  References:
    Barto, Sutton and Anderson 1983, Neuronlike adaptive elements.
  """
  gravity, cart, pole, half_length, force, dt = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
  furthest, widest = 2.4, 12 * 2 * jnp.pi / 360

  def reset(key: Array) -> tuple[Array, Array]:
    state = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
    return state, state

  def step(state: Array, action: Array, key: Array) -> Transition:
    del key
    x, v, angle, turn = state
    push = jnp.where(action == 1, force, -force)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    moment, mass = pole * half_length, cart + pole
    pushed = (push + moment * turn**2 * sin) / mass
    turned = (gravity * sin - cos * pushed) / (half_length * (4 / 3 - pole * cos**2 / mass))
    moved = pushed - moment * turned * cos / mass
    state = jnp.stack([x + dt * v, v + dt * moved, angle + dt * turn, turn + dt * turned])
    fallen = (jnp.abs(state[0]) > furthest) | (jnp.abs(state[2]) > widest)
    return Transition(state, state, jnp.ones(()), fallen, jnp.zeros((), bool))

  shape = jax.ShapeDtypeStruct((4,), jnp.float32)
  return with_time_limit(Environment('CartPole-v1', 2, shape, 500, reset, step))


def mountain_car() -> Environment:
  """MountainCar-v0: swing a weak car up a hill; reward -1 for every step, at most 200.

  Observations are [position, velocity]; actions push left, not, and right.

  References:
    Moore 1990, Efficient Memory-based Learning for Robot Control.
  """

  def reset(key: Array) -> tuple[Array, Array]:
    state = jnp.stack([jax.random.uniform(key, minval=-0.6, maxval=-0.4), jnp.zeros(())])
    return state, state

  def step(state: Array, action: Array, key: Array) -> Transition:
    del key
    x, v = state
    v = jnp.clip(v + (action - 1) * 0.001 - 0.0025 * jnp.cos(3 * x), -0.07, 0.07)
    x = jnp.clip(x + v, -1.2, 0.6)
    v = jnp.where((x == -1.2) & (v < 0), 0.0, v)  # the wall on the left
    state = jnp.stack([x, v])
    there = (x >= 0.5) & (v >= 0)
    return Transition(state, state, -jnp.ones(()), there, jnp.zeros((), bool))

  shape = jax.ShapeDtypeStruct((2,), jnp.float32)
  return with_time_limit(Environment('MountainCar-v0', 3, shape, 200, reset, step))


def acrobot() -> Environment:
  """Acrobot-v1: swing two links up by a torque between them; reward -1 until then, at most 500.

  Observations are [cos, sin of the first angle, cos, sin of the second, both velocities]; actions
  turn by -1, 0 and 1. Dynamics of the book, by Runge and Kutta's method of order 4.

  References:
    Sutton and Barto 2018, Reinforcement Learning: An Introduction, section 11.3 of its first
    edition. Sutton 1996, Generalization in Reinforcement Learning.
  """
  dt, gravity, com, inertia = 0.2, 9.8, 0.5, 1.0  # links of length and mass 1

  def slope(s: Array, torque: Array) -> Array:
    a, b, u, v = s
    sin, cos = jnp.sin(b), jnp.cos(b)
    d1 = com**2 + 1 + com**2 + 2 * com * cos + 2 * inertia
    d2 = com**2 + com * cos + inertia
    phi2 = com * gravity * jnp.cos(a + b - jnp.pi / 2)
    phi1 = -com * v**2 * sin - 2 * com * v * u * sin
    phi1 += (com + 1) * gravity * jnp.cos(a - jnp.pi / 2) + phi2
    of_v = (torque + d2 / d1 * phi1 - com * u**2 * sin - phi2) / (com**2 + inertia - d2**2 / d1)
    of_u = -(d2 * of_v + phi1) / d1
    return jnp.stack([u, v, of_u, of_v])

  def observe(s: Array) -> Array:
    a, b, u, v = s
    return jnp.stack([jnp.cos(a), jnp.sin(a), jnp.cos(b), jnp.sin(b), u, v])

  def reset(key: Array) -> tuple[Array, Array]:
    state = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
    return state, observe(state)

  def step(state: Array, action: Array, key: Array) -> Transition:
    del key
    torque = action.astype(jnp.float32) - 1
    k1 = slope(state, torque)
    k2 = slope(state + dt / 2 * k1, torque)
    k3 = slope(state + dt / 2 * k2, torque)
    k4 = slope(state + dt * k3, torque)
    a, b, u, v = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    wrap = lambda x: x - 2 * jnp.pi * jnp.round(x / (2 * jnp.pi))
    u, v = jnp.clip(u, -4 * jnp.pi, 4 * jnp.pi), jnp.clip(v, -9 * jnp.pi, 9 * jnp.pi)
    state = jnp.stack([wrap(a), wrap(b), u, v])
    high = -jnp.cos(a) - jnp.cos(a + b) > 1
    return Transition(state, observe(state), high - 1.0, high, jnp.zeros((), bool))

  shape = jax.ShapeDtypeStruct((6,), jnp.float32)
  return with_time_limit(Environment('Acrobot-v1', 3, shape, 500, reset, step))
