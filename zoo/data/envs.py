"""Environments by name: ours; those of gymnax, Gymnasium and Atari (each an optional extra)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo.data import catch, control
from zoo.data.atari import ATARI, Atari, game_of, of_atari
from zoo.data.environment import Environment, Transition
from zoo.data.hosted import GYMNASIUM, HostEnvironment, of_gymnasium
from zoo.names import unknown
from zoo.types import Array, PyTree

ENVIRONMENTS: dict[str, Callable[[], Environment]] = {
  'Acrobot-v1': control.acrobot,
  'CartPole-v1': control.cartpole,
  'Catch': catch.catch,
  'MountainCar-v0': control.mountain_car,
}
GYMNAX = 'gymnax:'
NATURE = Atari()


def make_environment(
  name: str, *, processes: bool = False, atari: Atari = NATURE
) -> Environment | HostEnvironment:
  """Makes an environment.

  Args:
    name: one of `ENVIRONMENTS`; 'gymnax:' or 'gymnasium:' and a name of theirs; 'atari:' and a
      game, also written as in 'ALE/Pong-v5'.
    processes: of Gymnasium: learn in several processes.
    atari: of a game of Atari: how it is played.

  Raises:
    ValueError: an unknown name, with the nearest there is; actions that are not discrete; a library
      that is not installed; an option of other environments.
  """
  game = game_of(name)
  for option, value in atari._asdict().items():
    if game is None and value != getattr(NATURE, option):
      raise ValueError(f'config.data.{option} is for games of Atari ({ATARI}Pong), not for {name}')
  if processes and not name.startswith(GYMNASIUM):
    raise ValueError(f'config.data.processes is for {GYMNASIUM}NAME, not for {name}')
  if game is not None:
    return of_atari(game, atari)
  if name.startswith(GYMNASIUM):
    return of_gymnasium(name.removeprefix(GYMNASIUM), processes)
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
