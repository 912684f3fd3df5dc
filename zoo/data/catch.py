"""Catch: a ball falls through a board of 10 x 5 places, and a paddle is to be under it."""

import jax
import jax.numpy as jnp

from zoo.data.environment import Environment, Transition
from zoo.types import Array

ROWS, COLUMNS = 10, 5


def catch() -> Environment:
  """Episodes of 9 steps, in the last of which the ball is caught, reward 1, or not, -1.

  Observations are boards, uint8 [10, 5, 1]: 255 where ball and paddle are. Actions move the paddle
  left, not, and right; it starts in the middle of the last row. The state is [row and column of the
  ball, column of the paddle].

  References:
    Mnih et al. 2014, Recurrent Models of Visual Attention, section 4.2. Osband et al. 2020,
    Behaviour Suite for Reinforcement Learning, for this size.
  """

  def observe(state: Array) -> Array:
    row, column, paddle = state
    board = jnp.zeros((ROWS, COLUMNS, 1), jnp.uint8)
    return board.at[row, column].set(255).at[ROWS - 1, paddle].set(255)

  def reset(key: Array) -> tuple[Array, Array]:
    column = jax.random.randint(key, (), 0, COLUMNS)
    state = jnp.stack([jnp.zeros((), jnp.int32), column, jnp.full((), COLUMNS // 2)])
    return state, observe(state)

  def step(state: Array, action: Array, key: Array) -> Transition:
    del key
    row, column, paddle = state
    row, paddle = row + 1, jnp.clip(paddle + action - 1, 0, COLUMNS - 1)
    state = jnp.stack([row, column, paddle])
    landed = row >= ROWS - 1
    reward = jnp.where(landed, jnp.where(paddle == column, 1.0, -1.0), 0.0)
    return Transition(state, observe(state), reward, landed, jnp.zeros((), bool))

  shape = jax.ShapeDtypeStruct((ROWS, COLUMNS, 1), jnp.uint8)
  return Environment('Catch', 3, shape, ROWS - 1, reset, step)
