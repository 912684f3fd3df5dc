"""What an environment is: pure functions of one, which `jax.vmap` makes many of."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from zoo.types import Array, PyTree


class Transition(NamedTuple):
  """What a step leads to.

  Attributes:
    state: of the environment.
    observation: of that state, also if the episode ends with it.
    reward: float32 [].
    terminated: bool []: the task is over, and nothing more can be earned.
    truncated: bool []: the episode is cut off, by a time limit; what was to come is not worth 0.
  """

  state: PyTree
  observation: Array
  reward: Array
  terminated: Array
  truncated: Array


class Environment(NamedTuple):
  """One environment with discrete actions.

  Attributes:
    name: as configs have it.
    num_actions: actions are 0 .. num_actions - 1.
    observation: shape and dtype of one observation.
    max_steps: no episode is longer.
    reset: (key) -> (state, observation).
    step: (state, action, key) -> Transition. It starts no new episode.
  """

  name: str
  num_actions: int
  observation: jax.ShapeDtypeStruct
  max_steps: int
  reset: Callable[[Array], tuple[PyTree, Array]]
  step: Callable[[PyTree, Array, Array], Transition]


def with_time_limit(environment: Environment) -> Environment:
  """Truncates episodes after `max_steps`, unless they terminate with that very step."""

  def reset(key: Array) -> tuple[PyTree, Array]:
    state, observation = environment.reset(key)
    return (state, jnp.zeros((), jnp.int32)), observation

  def step(state: PyTree, action: Array, key: Array) -> Transition:
    inner, steps = state
    after = environment.step(inner, action, key)
    steps += 1
    late = (steps >= environment.max_steps) & ~after.terminated
    return after._replace(state=(after.state, steps), truncated=after.truncated | late)

  return environment._replace(reset=reset, step=step)


def with_stack(environment: Environment, count: int) -> Environment:
  """Shows the last `count` frames of the episode at once, along the last axis; zeros before it."""
  frame = environment.observation
  shape = (*frame.shape[:-1], count * frame.shape[-1])

  def reset(key: Array) -> tuple[PyTree, Array]:
    state, observation = environment.reset(key)
    before = jnp.zeros((*shape[:-1], shape[-1] - frame.shape[-1]), frame.dtype)
    seen = jnp.concatenate([before, observation], axis=-1)
    return (state, seen), seen

  def step(state: PyTree, action: Array, key: Array) -> Transition:
    inner, seen = state
    after = environment.step(inner, action, key)
    seen = jnp.concatenate([seen[..., frame.shape[-1] :], after.observation], axis=-1)
    return after._replace(state=(after.state, seen), observation=seen)

  observation = jax.ShapeDtypeStruct(shape, frame.dtype)
  return environment._replace(observation=observation, reset=reset, step=step)


def advance(
  environment: Environment, state: PyTree, ended: Array, action: Array, key: Array
) -> Transition:
  """A step, or the start of a new episode if the last one has `ended`.

  The action then does nothing and the reward is 0. So every observation, the last of an episode
  too, is seen by whoever acts, and stored once; a new episode costs one step (Gymnasium calls this
  autoreset on the next step).
  """
  fresh_state, fresh_observation = environment.reset(key)
  after = environment.step(state, action, key)
  none = jnp.zeros((), bool)
  fresh = Transition(fresh_state, fresh_observation, jnp.zeros(()), none, none)
  return jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, after)


class Episode(NamedTuple):
  """One episode, from its start, filled up to `max_steps` with what does not count.

  Attributes:
    observations: [max_steps + 1, ...].
    actions: int32 [max_steps].
    rewards: float32 [max_steps], 0 after the end.
    length: int32 [], steps.
  """

  observations: Array
  actions: Array
  rewards: Array
  length: Array


def play(environment: Environment, choose: Callable[[Array, Array], Array], key: Array) -> Episode:
  """Plays an episode.

  Args:
    environment: in which.
    choose: (observation, key) -> action.
    key: typed key [].
  """

  def one(carry: tuple, key: Array) -> tuple[tuple, tuple]:
    state, observation, over = carry
    act_key, step_key = jax.random.split(key)
    action = choose(observation, act_key)
    after = environment.step(state, action, step_key)
    reward = jnp.where(over, 0.0, after.reward)
    carry = (after.state, after.observation, over | after.terminated | after.truncated)
    return carry, (observation, action, reward, over)

  start_key, key = jax.random.split(key)
  state, observation = environment.reset(start_key)
  start = (state, observation, jnp.zeros((), bool))
  keys = jax.random.split(key, environment.max_steps)
  (_, last, _), (seen, actions, rewards, over) = jax.lax.scan(one, start, keys)
  observations = jnp.concatenate([seen, last[None]])
  return Episode(observations, actions, rewards, jnp.sum(~over))
