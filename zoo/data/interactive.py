"""The loader of environments: what the section `data` of a config says of acting and storing."""

import math
from typing import Any

import numpy as np

from zoo.data import replay
from zoo.data.dataset import Dataset
from zoo.data.environment import with_stack
from zoo.data.envs import make_environment
from zoo.data.interaction import Epsilon, Policy, Prioritized, episodes, interact
from zoo.platform import device_memory
from zoo.types import Array


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
  parts: int = 0,
  validation: int = 16,
  test: int = 128,
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
    parts: into how many parts that share nothing environments and replay are divided: a multiple of
      the number of devices; 0 for as many as can be.
    validation: episodes to choose by, in which the best action is always taken; 0 for none.
    test: likewise, for the final figures.

  Raises:
    ValueError: an unknown environment or one with continuous actions; numbers out of their range,
      or that do not fit each other; a replay that is larger than the device's memory.
  """
  environment = make_environment(name)
  options = {'num_envs': num_envs, 'batch_size': batch_size, 'learn_every': learn_every}
  options |= {'n_step': n_step, 'stack': stack, 'epsilon_steps': epsilon_steps}
  for option, value in options.items():
    if value < 1:
      raise ValueError(f'config.data.{option} must be at least 1, not {value}')
  for option, value in (
    ('learn_every', learn_every),
    ('replay_size', replay_size),
    ('warmup', warmup),
  ):
    if value % num_envs:
      raise ValueError(
        f'config.data.{option}={value} is no multiple of config.data.num_envs={num_envs}'
      )
  for option, value in (
    ('discount', discount),
    ('epsilon_start', epsilon_start),
    ('epsilon_end', epsilon_end),
  ):
    if not 0 <= value <= 1:
      raise ValueError(f'config.data.{option} must be in [0, 1], not {value}')
  if warmup > replay_size:
    raise ValueError(
      f'config.data.warmup={warmup} is more than config.data.replay_size={replay_size} holds'
    )
  if stack > 1 and len(environment.observation.shape) < 2:
    raise ValueError(f'config.data.stack: observations of {name} have no axis of channels')
  layout = replay.Layout(replay_size // num_envs, n_step, discount, stack)
  needed, limit = replay.num_bytes(layout, num_envs, environment.observation), device_memory()
  if limit and needed > limit:
    raise ValueError(
      f'config.data.replay_size={replay_size} takes {needed:,} bytes; the devices have {limit:,}'
    )
  parts = parts or math.gcd(num_envs, batch_size)
  for option, value in (('num_envs', num_envs), ('batch_size', batch_size)):
    if value % parts:
      raise ValueError(f'config.data.parts={parts} does not divide config.data.{option}={value}')
  seen = with_stack(environment, stack) if stack > 1 else environment

  def bind(policy: Policy) -> Dataset:
    train = interact(
      environment,
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
      parts=parts,
    )
    splits = {'validation': validation, 'test': test}
    evaluation = {
      split: episodes(seen, policy, count, draw)
      for draw, (split, count) in enumerate(splits.items(), 1)
      if count
    }
    given = {'num_actions': environment.num_actions}
    shape = 'x'.join(map(str, seen.observation.shape))
    note = (
      f'{name}: observations {np.dtype(seen.observation.dtype)} {shape}, '
      f'{environment.num_actions} actions, replay {needed / 2**20:.1f} MiB'
    )
    return Dataset(train, evaluation, given, notes=(note,), environment=seen, bind=bind)

  return bind(nobody)


def nobody(params: Any, observations: Array, key: Array | None = None) -> Array:
  """Stands for the policy until there is one."""
  raise ValueError('these sources have no policy yet: Dataset.bind gives them one')
