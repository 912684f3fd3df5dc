"""The loader of environments: what the section `data` of a config says of acting and storing."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from zoo.data.atari import Atari
from zoo.data.dataset import Dataset
from zoo.data.environment import with_stack
from zoo.data.envs import make_environment
from zoo.data.experience import Epsilon, Policy, Prioritized
from zoo.data.hosted import HostEnvironment
from zoo.data.hosting import episodes_on_host, interact_on_host
from zoo.data.interaction import episodes, interact
from zoo.data.replay import Layout, num_bytes
from zoo.names import unknown
from zoo.platform import device_memory
from zoo.types import Array, Source


def load_environment(
  name: str = 'CartPole-v1',
  *,
  num_envs: int = 10,
  batch_size: int = 128,
  learn_every: int = 10,
  replay_size: int = 10_000,
  warmup: int = 1_000,
  n_step: int = 1,
  discount: float = 0.99,
  stack: int = 1,
  epsilon_start: float = 1.0,
  epsilon_end: float = 0.05,
  epsilon_steps: int = 10_000,
  prioritized: bool = False,
  priority_exponent: float = 0.6,
  importance_start: float = 0.4,
  importance_steps: int = 0,
  clip_rewards: bool = False,
  replay: str = 'device',
  parts: int = 0,
  validation: int = 16,
  test: int = 128,
  eval_epsilon: float = 0.0,
  processes: bool = False,
  frame_skip: int = 4,
  sticky: float = 0.0,
  noop_max: int = 30,
  episodic_life: bool = False,
  full_action_space: bool = False,
  max_frames: int = 108_000,
) -> Dataset:
  """Makes environments to act in, a replay to learn from, and episodes to be judged by.

  Steps are those of environments, over all of them: one that starts a new episode counts as well.

  Args:
    name: see `envs.make_environment`.
    num_envs: how many are acted in at once.
    batch_size: transitions in a batch, which is what a step of training takes.
    learn_every: steps between two batches; a multiple of `num_envs`.
    replay_size: steps that the replay holds; a multiple of `num_envs`.
    warmup: steps at random before anything is learnt; a multiple of `num_envs`.
    n_step: steps between the two states of a transition.
    discount: per step.
    stack: frames that are seen at once.
    epsilon_start: share of random actions in the beginning.
    epsilon_end: and after `epsilon_steps`.
    epsilon_steps: steps, the warm-up included.
    prioritized: draw by errors, see `interaction.Prioritized`.
    priority_exponent: of the errors.
    importance_start: the exponent of importance weights in the beginning.
    importance_steps: steps until it is 1; 0 for never.
    clip_rewards: learn from rewards in [-1, 1]. What is judged by is not clipped.
    replay: where it is: 'device', or 'host', whose memory is larger; the latter only for
      environments that run there.
    parts: into how many parts that share nothing environments and replay are divided: a multiple of
      the number of devices; 0 for as many as can be.
    validation: episodes to choose by, in which the best action is always taken; 0 for none.
    test: likewise, for the final figures.
    eval_epsilon: share of random actions in them.
    processes: see `hosted.of_gymnasium`.
    frame_skip: of games of Atari, like all that follow: see `atari.Atari`.
    sticky: likewise.
    noop_max: likewise.
    episodic_life: likewise.
    full_action_space: likewise.
    max_frames: likewise.

  Raises:
    ValueError: an unknown environment or one with continuous actions; numbers out of their range,
      or that do not fit each other; a replay that is larger than the memory it is to be in.
  """
  game = Atari(frame_skip, sticky, noop_max, episodic_life, full_action_space, max_frames)
  environment = make_environment(name, processes=processes, atari=game)
  on_host = isinstance(environment, HostEnvironment)
  if on_host and jax.process_count() > 1:
    raise ValueError(f'{name} runs on the host, which one process must do alone')
  options = {'num_envs': num_envs, 'batch_size': batch_size, 'learn_every': learn_every}
  options |= {'n_step': n_step, 'stack': stack, 'epsilon_steps': epsilon_steps}
  at_least_one(options)
  for option, value in (
    ('learn_every', learn_every),
    ('replay_size', replay_size),
    ('warmup', warmup),
  ):
    if value % num_envs:
      raise ValueError(
        f'config.data.{option}={value} is no multiple of config.data.num_envs={num_envs}'
      )
  chances = {'discount': discount, 'eval_epsilon': eval_epsilon}
  within_one(chances | {'epsilon_start': epsilon_start, 'epsilon_end': epsilon_end})
  if warmup > replay_size:
    raise ValueError(
      f'config.data.warmup={warmup} is more than config.data.replay_size={replay_size} holds'
    )
  if stack > 1 and len(environment.observation.shape) < 2:
    raise ValueError(f'config.data.stack: observations of {name} have no axis of channels')
  if replay not in ('device', 'host'):
    raise unknown('config.data.replay', replay, ('device', 'host'))
  if replay == 'host' and not on_host:
    raise ValueError(
      f"config.data.replay='host' is for environments on the host, and {name} is on the device"
    )
  layout = Layout(replay_size // num_envs, n_step, discount, stack)
  frame = environment.frame if on_host else environment.observation
  held_by = jax.local_devices(backend='cpu' if replay == 'host' else None)
  held_by = held_by[:1] if on_host else held_by
  needed, limit = num_bytes(layout, num_envs, frame), device_memory(held_by)
  if limit and needed > limit:
    elsewhere = '; try --config.data.replay=host' if on_host and replay == 'device' else ''
    raise ValueError(
      f'config.data.replay_size={replay_size} takes {needed:,} bytes; there are {limit:,} on the '
      f'{replay}{elsewhere}'
    )
  parts = parts or math.gcd(num_envs, batch_size)
  for option, value in (('num_envs', num_envs), ('batch_size', batch_size)):
    if value % parts:
      raise ValueError(f'config.data.parts={parts} does not divide config.data.{option}={value}')
  act: Callable[..., Source]
  judge: Callable[..., Source]
  if isinstance(environment, HostEnvironment):
    seen = environment._replace(stack=stack)
    act = functools.partial(interact_on_host, environment, device=held_by[0])
    judge = functools.partial(episodes_on_host, seen)
  else:
    seen = with_stack(environment, stack) if stack > 1 else environment
    act, judge = functools.partial(interact, environment), functools.partial(episodes, seen)

  def bind(policy: Policy) -> Dataset:
    train = act(
      policy,
      layout,
      num_envs=num_envs,
      batch_size=batch_size,
      frames_per_batch=learn_every // num_envs,
      warmup=warmup // num_envs,
      epsilon=Epsilon(epsilon_start, epsilon_end, epsilon_steps),
      prioritized=Prioritized(priority_exponent, importance_start, importance_steps)
      if prioritized
      else None,
      clip_rewards=clip_rewards,
      parts=parts,
    )
    judge_by = functools.partial(judge, policy, epsilon=eval_epsilon)
    dataset = dataset_of(seen, train, judge_by, validation, test)
    note = f'{dataset.notes[0]}, replay {needed / 2**20:.1f} MiB'
    return dataset._replace(notes=(note,), bind=bind)

  return bind(nobody)


def dataset_of(
  environment: Any, train: Source, judge: Callable[..., Source], validation: int, test: int
) -> Dataset:
  """What is made by acting, with episodes to be judged by.

  Args:
    environment: as it is seen.
    train: to learn from.
    judge: (count, draw) -> a source of so many episodes.
    validation: how many to choose by; none if 0.
    test: likewise, for the final figures.
  """
  splits = {'validation': validation, 'test': test}
  evaluation = {
    split: judge(count, draw) for draw, (split, count) in enumerate(splits.items(), 1) if count
  }
  seen, actions = environment.observation, environment.num_actions
  shape = 'x'.join(map(str, seen.shape))
  note = f'{environment.name}: observations {np.dtype(seen.dtype)} {shape}, {actions} actions'
  given = {'num_actions': actions}
  return Dataset(train, evaluation, given, notes=(note,), environment=environment)


def at_least_one(options: Mapping[str, int]) -> None:
  """Refuses an option below 1."""
  for option, value in options.items():
    if value < 1:
      raise ValueError(f'config.data.{option} must be at least 1, not {value}')


def within_one(options: Mapping[str, float]) -> None:
  """Refuses an option that is not in [0, 1]."""
  for option, value in options.items():
    if not 0 <= value <= 1:
      raise ValueError(f'config.data.{option} must be in [0, 1], not {value}')


def nobody(params: Any, observations: Array, key: Array | None = None) -> Array:
  """Stands for the policy until there is one."""
  raise ValueError('these sources have no policy yet: Dataset.bind gives them one')
