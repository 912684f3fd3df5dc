"""The loader of rollouts: what the section `data` of a config says of acting without a replay."""

import functools
import math

from zoo.data.dataset import Dataset
from zoo.data.environment import with_stack
from zoo.data.envs import make_environment
from zoo.data.experience import Epsilon, Policy
from zoo.data.hosted import HostEnvironment
from zoo.data.interaction import episodes
from zoo.data.interactive import at_least_one, dataset_of, nobody, within_one
from zoo.data.rollouts import rollouts


def load_rollouts(
  name: str = 'CartPole-v1',
  *,
  num_envs: int = 32,
  steps: int = 64,
  minibatches: int = 16,
  epochs: int = 4,
  trace: float = 0.95,
  discount: float = 0.99,
  stack: int = 1,
  epsilon_start: float = 1.0,
  epsilon_end: float = 0.05,
  epsilon_steps: int = 100_000,
  parts: int = 0,
  validation: int = 16,
  test: int = 128,
) -> Dataset:
  """Makes environments to act in and to learn from at once, and episodes to be judged by.

  A step of training takes num_envs * steps / minibatches transitions; there are minibatches *
  epochs of them for every num_envs * steps of the environments.

  Args:
    name: see `envs.make_environment`; one on the device.
    num_envs: how many are acted in at once.
    steps: of each of them between two phases of learning.
    minibatches: into how many batches these are divided.
    epochs: how often each is learnt.
    trace: lambda of the returns.
    discount: per step.
    stack: frames that are seen at once.
    epsilon_start: share of random actions in the beginning.
    epsilon_end: and after `epsilon_steps`.
    epsilon_steps: steps of environments, over all of them.
    parts: into how many parts that share nothing environments are divided: a multiple of the number
      of devices; 0 for as many as can be.
    validation: episodes to choose by, in which the best action is always taken; 0 for none.
    test: likewise, for the final figures.

  Raises:
    ValueError: an unknown environment, or one on the host; numbers out of their range, or that do
      not divide.
  """
  options = {'num_envs': num_envs, 'steps': steps, 'minibatches': minibatches, 'epochs': epochs}
  options |= {'stack': stack, 'epsilon_steps': epsilon_steps}
  at_least_one(options)
  shares = {'trace': trace, 'discount': discount}
  within_one(shares | {'epsilon_start': epsilon_start, 'epsilon_end': epsilon_end})
  environment = make_environment(name)
  if isinstance(environment, HostEnvironment):
    raise ValueError(f'{name} runs on the host, and rollouts need an environment on the device')
  if stack > 1:
    if len(environment.observation.shape) < 2:
      raise ValueError(f'config.data.stack: observations of {name} have no axis of channels')
    environment = with_stack(environment, stack)
  # A part gives an equal share of each batch.
  parts = parts or math.gcd(num_envs, num_envs * steps // minibatches)

  def bind(policy: Policy) -> Dataset:
    train = rollouts(
      environment,
      policy,
      num_envs=num_envs,
      steps=steps,
      minibatches=minibatches,
      epochs=epochs,
      discount=discount,
      trace=trace,
      epsilon=Epsilon(epsilon_start, epsilon_end, epsilon_steps),
      parts=parts,
    )
    judge = functools.partial(episodes, environment, policy)
    return dataset_of(environment, train, judge, validation, test)._replace(bind=bind)

  return bind(nobody)
