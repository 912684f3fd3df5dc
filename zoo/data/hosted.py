"""Environments that run on the host, many at once; those of Gymnasium."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo.names import unknown

GYMNASIUM = 'gymnasium:'
UNLIMITED = 27_000  # steps of an episode that are judged where its environment sets no limit


class CrashError(RuntimeError):
  """Environments failed, and starting them again did not help; the message is one line."""


class Step(NamedTuple):
  """What a step of all environments leads to.

  Attributes:
    observation: [N, ...], also the last of an episode.
    reward: float32 [N].
    terminated: bool [N]: nothing more can be earned.
    over: bool [N]: the next step ignores its action, earns 0 and leads to the first observation of
      a new episode (Gymnasium calls this autoreset on the next step). Without `terminated` the
      episode was cut off; `terminated` without it is a life that is lost, if that is to be feared.
  """

  observation: np.ndarray
  reward: np.ndarray
  terminated: np.ndarray
  over: np.ndarray


class Vector(NamedTuple):
  """Environments at work.

  Attributes:
    reset: (seed) -> observations [N, ...] of new episodes; environment i is seeded with seed + i.
    step: (actions int32 [N]) -> Step.
    close: () -> None; nothing of them can be used after.
    picture: () -> uint8 [H, W, 3], what the first of them looks like now; None if nobody knows.
  """

  reset: Callable[[int], np.ndarray]
  step: Callable[[np.ndarray], Step]
  close: Callable[[], None]
  picture: Callable[[], np.ndarray | None] = lambda: None


class HostEnvironment(NamedTuple):
  """An environment with discrete actions that is no program for the device.

  Attributes:
    name: as configs have it.
    num_actions: actions are 0 .. num_actions - 1.
    frame: shape and dtype of an observation, channels last.
    max_steps: of an episode no more are judged.
    make: (count, learning) -> Vector. Learning is in several processes, and fears the loss of a
      life, if options say so; judging never is.
    stack: how many frames are seen at once, along the last axis.
  """

  name: str
  num_actions: int
  frame: jax.ShapeDtypeStruct
  max_steps: int
  make: Callable[[int, bool], Vector]
  stack: int = 1

  @property
  def observation(self) -> jax.ShapeDtypeStruct:
    """Shape and dtype of what is seen."""
    if self.stack == 1:
      return self.frame
    shape = (*self.frame.shape[:-1], self.stack * self.frame.shape[-1])
    return jax.ShapeDtypeStruct(shape, self.frame.dtype)


@contextlib.contextmanager
def opened(environment: HostEnvironment, count: int) -> Iterator[Vector]:
  """Environments to judge by, closed in the end. Whatever goes wrong in them is a CrashError."""

  def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*args: Any) -> Any:
      try:
        return call(*args)
      except Exception as error:
        raise CrashError(f'{environment.name} failed: {first_line(error)}') from error

    return checked

  vector = guarded(environment.make)(count, False)
  try:
    yield Vector(*map(guarded, vector))
  finally:
    vector.close()


Choose = Callable[[np.ndarray, int], Any]  # (observations [N, ...], step) -> actions [N]


def episodes_of(
  environment: HostEnvironment, vector: Vector, choose: Choose, seed: int
) -> Iterator[tuple[np.ndarray, Step]]:
  """Plays one episode in each of the environments: yields (bool [N], whose still last; Step)."""
  frame = vector.reset(seed)
  going, channels = np.ones(len(frame), bool), environment.frame.shape[-1]
  seen = np.zeros((len(frame), *environment.observation.shape), frame.dtype)
  for time in range(environment.max_steps):
    seen = np.concatenate([seen[..., channels:], frame], axis=-1)
    after = vector.step(np.asarray(choose(seen, time)))
    yield going, after
    going = going & ~after.over
    if not going.any():
      return
    frame = after.observation


def watch(environment: HostEnvironment, choose: Choose, seed: int) -> np.ndarray:
  """What an episode looks like: pictures if there are any, else its observations; [T, ...]."""
  with opened(environment, 1) as vector:
    look = lambda frames: frames[0] if (shown := vector.picture()) is None else shown
    steps = episodes_of(environment, vector, choose, seed)
    return np.stack([look(after.observation) for _, after in steps])


def of_gymnasium(name: str, processes: bool = False) -> HostEnvironment:
  """An environment of Gymnasium, with its own limit on time.

  Args:
    name: as Gymnasium has it, such as 'LunarLander-v3'.
    processes: learn in as many processes as there are environments. Each takes seconds to start: it
      pays where a step takes milliseconds.

  Raises:
    ValueError: Gymnasium, or what it needs for this environment, is not installed; an unknown name,
      with the nearest there is; observations that are no arrays; actions that are not discrete.
  """
  full = f'{GYMNASIUM}{name}'
  missing = "is not installed: pip install 'zoo-jax[gymnasium]'"
  try:
    import gymnasium as gym
  except ImportError:
    raise ValueError(f'{full} needs gymnasium, which {missing}') from None
  if name.startswith('MinAtar/'):
    register_minatar(full)
  if name not in gym.registry:
    raise unknown('environment of Gymnasium', name, gym.registry)
  try:
    one = gym.make(name)
  except gym.error.DependencyNotInstalled as error:
    raise ValueError(f'{full} needs what {missing} ({first_line(error)})') from None
  except (gym.error.Error, ImportError, AttributeError) as error:
    raise ValueError(f'{full} cannot be made: {first_line(error)}') from error
  seen, actions, spec = one.observation_space, one.action_space, one.spec
  # Pictures of MinAtar are of floats, at which Gymnasium warns; its boards show as much.
  pictures = 'rgb_array' in one.metadata['render_modes'] and not name.startswith('MinAtar/')
  drawn = {'render_mode': 'rgb_array'} if pictures else {}
  one.close()
  if not isinstance(actions, gym.spaces.Discrete) or actions.start != 0:
    raise ValueError(f'{full} has no discrete actions from 0 on, which Q-learning needs')
  if not isinstance(seen, gym.spaces.Box):
    raise ValueError(f'{full} has observations that are no arrays: {type(seen).__name__}')
  dtype = np.uint8 if seen.dtype == np.uint8 else np.float32

  def make(count: int, learning: bool) -> Vector:
    # Forked, a process would inherit the locks of JAX's threads, and might wait for them for ever.
    apart: Any = {'vectorization_mode': 'async', 'vector_kwargs': {'context': 'spawn'}}
    here: Any = {'vectorization_mode': 'sync', **({} if learning else drawn)}
    envs = gym.make_vec(name, num_envs=count, **(apart if processes and learning else here))

    def step(action: np.ndarray) -> Step:
      observation, reward, terminated, truncated, _ = envs.step(action)
      reward = reward.astype(np.float32)
      return Step(observation.astype(dtype), reward, terminated, terminated | truncated)

    def picture() -> np.ndarray | None:
      with contextlib.suppress(gym.error.DependencyNotInstalled):
        frames = envs.render()
        return np.asarray(frames[0]) if frames else None
      return None

    def close() -> None:
      # By itself it would first wait for what a process was asked, also for one that has died.
      for process in getattr(envs, 'processes', ()):
        process.kill()
        process.join()
        envs.closed = True
      envs.close()

    reset = lambda seed: envs.reset(seed=seed)[0].astype(dtype)
    return Vector(reset, step, close, picture)

  frame = jax.ShapeDtypeStruct(seen.shape, dtype)
  limit = spec.max_episode_steps if spec else None
  return HostEnvironment(full, int(actions.n), frame, limit or UNLIMITED, make)


def register_minatar(name: str) -> None:
  """Lets Gymnasium know the games of the MinAtar package: by the rules of its paper.

  References:
    Young and Tian 2019, MinAtar: An Atari-Inspired Testbed.
  """
  try:
    from minatar import gym as games  # pyright: ignore[reportMissingImports]
  except ImportError:
    raise ValueError(
      f"{name} needs MinAtar, which is not installed: pip install 'zoo-jax[minatar]'"
    ) from None
  import gymnasium

  if 'MinAtar/Breakout-v0' not in gymnasium.registry:
    games.register_envs()


def first_line(error: BaseException) -> str:
  """An error in one line."""
  return f'{type(error).__name__}: {error}'.splitlines()[0]
