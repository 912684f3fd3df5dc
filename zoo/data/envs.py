"""Environments by name: ours, and those of gymnax (an optional extra)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo.data import catch, control
from zoo.data.environment import Environment, Transition
from zoo.names import unknown
from zoo.types import Array, PyTree

ENVIRONMENTS: dict[str, Callable[[], Environment]] = {
  'Acrobot-v1': control.acrobot,
  'CartPole-v1': control.cartpole,
  'Catch': catch.catch,
  'MountainCar-v0': control.mountain_car,
}
GYMNAX = 'gymnax:'


def make_environment(name: str) -> Environment:
  """Makes an environment.

  Args:
    name: one of `ENVIRONMENTS`, or 'gymnax:' and a name of gymnax.

  Raises:
    ValueError: an unknown name, with the nearest there is; actions that are not discrete; gymnax is
      not installed.
  """
  if name.startswith(GYMNAX):
    return of_gymnax(name.removeprefix(GYMNAX))
  if name not in ENVIRONMENTS:
    raise unknown('environment', name, ENVIRONMENTS)
  return ENVIRONMENTS[name]()


def of_gymnax(name: str) -> Environment:
  """An environment of gymnax, with its own limits on time.

  Raises:
    ValueError: as above.
  """
  try:
    import gymnax  # pyright: ignore[reportMissingImports]
  except ImportError:
    raise ValueError(
      f"{GYMNAX}{name} needs gymnax, which is not installed: pip install 'zoo-jax[gymnax]'"
    ) from None
  if name not in gymnax.registered_envs:
    raise unknown('environment of gymnax', name, gymnax.registered_envs)
  inner, params = gymnax.make(name)
  actions = inner.action_space(params)
  if not hasattr(actions, 'n'):
    raise ValueError(f'{GYMNAX}{name} has continuous actions, and Q-learning needs discrete ones')
  space = inner.observation_space(params)
  observation = jax.ShapeDtypeStruct(space.shape, jnp.float32)

  def reset(key: Array) -> tuple[PyTree, Array]:
    seen, state = inner.reset_env(key, params)
    return state, seen.astype(jnp.float32)

  def step(state: PyTree, action: Array, key: Array) -> Transition:
    seen, state, reward, terminated, _ = inner.step_env(key, state, action, params)
    truncated = inner.is_truncated(state, params) & ~terminated
    reward = jnp.asarray(reward, jnp.float32)
    return Transition(state, seen.astype(jnp.float32), reward, terminated, truncated)

  limit = int(params.max_steps_in_episode)
  return Environment(f'{GYMNAX}{name}', int(actions.n), observation, limit, reset, step)
