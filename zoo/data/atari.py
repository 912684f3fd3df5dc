"""The games of an Atari 2600, by the Arcade Learning Environment: its own vector environment.

Frames are grey, 84 x 84, the maximum of the last two of those that an action lasts, as in Nature.

References:
  Mnih et al. 2015, Human-level control through deep reinforcement learning. Machado et al. 2018,
  Revisiting the Arcade Learning Environment, for sticky actions and the rest of that protocol.
"""

import re
from typing import NamedTuple

import jax
import numpy as np

from zoo.data.hosted import HostEnvironment, Step, Vector
from zoo.names import unknown

ATARI = 'atari:'
SIZE = 84


class Atari(NamedTuple):
  """How a game is played.

  Attributes:
    frame_skip: frames that an action lasts.
    sticky: the chance, at every frame, that the action before goes on instead.
    noop_max: an episode starts with up to so many frames in which nothing is done; at random.
    episodic_life: while learning, to lose a life is to lose all. The game goes on.
    full_action_space: all 18 actions, and not only those that the game knows.
    max_frames: an episode is cut off after so many.
  """

  frame_skip: int = 4
  sticky: float = 0.0
  noop_max: int = 30
  episodic_life: bool = False
  full_action_space: bool = False
  max_frames: int = 108_000


def game_of(name: str) -> str | None:
  """The game in 'atari:Pong' or 'ALE/Pong-v5'; None if the name is of something else."""
  if name.startswith(ATARI):
    return name.removeprefix(ATARI)
  found = re.fullmatch(r'ALE/(\w+)-v5', name)
  return found[1] if found else None


def of_atari(game: str, options: Atari) -> HostEnvironment:
  """A game.

  Args:
    game: 'MsPacman' or 'ms_pacman'.
    options: how it is played.

  Raises:
    ValueError: ale-py is not installed; an unknown game, with the nearest there is; an option out
      of its range.
  """
  try:
    from ale_py import roms
    from ale_py.vector_env import AtariVectorEnv
  except ImportError:
    raise ValueError(
      f"{ATARI}{game} needs ale-py, which is not installed: pip install 'zoo-jax[atari]'"
    ) from None
  games = {rom.replace('_', ''): rom for rom in roms.get_all_rom_ids()}
  rom = games.get(game.lower().replace('_', ''))
  if rom is None:
    raise unknown('game of Atari', game, games.values())
  if not 0 <= options.sticky < 1:
    raise ValueError(f'config.data.sticky must be in [0, 1), not {options.sticky}')
  for option, least in (('frame_skip', 1), ('noop_max', 0), ('max_frames', options.frame_skip)):
    if getattr(options, option) < least:
      value = getattr(options, option)
      raise ValueError(f'config.data.{option} must be at least {least}, not {value}')

  def open_games(count: int) -> AtariVectorEnv:
    return AtariVectorEnv(
      rom,
      count,
      frameskip=options.frame_skip,
      repeat_action_probability=options.sticky,
      noop_max=options.noop_max,
      full_action_space=options.full_action_space,
      max_num_frames_per_episode=options.max_frames,
      img_height=SIZE,
      img_width=SIZE,
      stack_num=1,  # the replay stacks, and keeps each frame once
      reward_clipping=False,  # what is learnt from is clipped, what is judged is not
      use_fire_reset=False,
      # Its own episodes of a life start every one with a new game; the later lives are never seen.
      episodic_life=False,
    )

  def make(count: int, learning: bool) -> Vector:
    envs = open_games(count)
    lives = np.zeros(count, np.int32)
    frames = lambda seen: np.moveaxis(seen, 1, -1)  # [N, 1, H, W] -> [N, H, W, 1]

    def reset(seed: int) -> np.ndarray:
      seen, info = envs.reset(seed=seed)
      lives[:] = info['lives']
      return frames(seen)

    def step(action: np.ndarray) -> Step:
      seen, reward, terminated, truncated, info = envs.step(action)
      over = terminated | truncated
      if learning and options.episodic_life:
        terminated = terminated | (info['lives'] < lives)
      lives[:] = info['lives']
      return Step(frames(seen), reward.astype(np.float32), terminated, over)

    return Vector(reset, step, envs.close)

  num_actions = len(open_games(1).ale.get_action_set())
  frame = jax.ShapeDtypeStruct((SIZE, SIZE, 1), np.uint8)
  limit = -(-options.max_frames // options.frame_skip)
  return HostEnvironment(f'{ATARI}{rom}', num_actions, frame, limit, make)
