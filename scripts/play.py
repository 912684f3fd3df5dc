"""Plays episodes with a run that acts, says what they earned, and draws one.

  python scripts/play.py --workdir=runs/cartpole_dqn --episodes=10 --gif=cartpole.gif

Prints the return and the length of every episode: the true ones, whatever is clipped or feared in
training. The GIF is of the first.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from zoo import cli
from zoo.data.environment import play
from zoo.data.hosted import HostEnvironment, episodes_of, opened, watch
from zoo.previews import episode
from zoo.runs import open_run
from zoo.training import rundir
from zoo.types import Array

FLAGS = flags.FLAGS
flags.DEFINE_string('workdir', None, 'Run directory, as scripts/train.py left it.')
flags.DEFINE_string('step', 'last', "Which checkpoint: 'last', 'best' or a number.")
flags.DEFINE_string('member', 'best', "Of runs side by side: 'best' or a number from 0 on.")
flags.DEFINE_integer('episodes', 1, 'How many.', lower_bound=1)
flags.DEFINE_integer('seed', 0, 'Of the episodes.', lower_bound=0)
flags.DEFINE_float('epsilon', 0.0, 'Share of random actions.', lower_bound=0, upper_bound=1)
flags.DEFINE_string('gif', None, 'Where to draw the first episode.')
flags.mark_flag_as_required('workdir')

Choose = Callable[[Array, Array], Array]  # (observations [N, ...], key) -> actions [N]


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'unexpected argument {argv[1]}')
  run = open_run(Path(FLAGS.workdir), FLAGS.step, FLAGS.member)
  environment, predict = run.experiment.dataset.environment, run.experiment.objective.predict
  if environment is None or predict is None:
    raise ValueError(f'{FLAGS.workdir} holds a {run.experiment.task}, which plays nothing')
  params, extras = jax.device_get((run.state.params, run.state.extras))

  def choose(seen: Array, key: Array) -> Array:
    whether, which = jax.random.split(key)
    best = predict(params, extras, {'s_tm1': seen}).argmax(-1)
    other = jax.random.randint(which, best.shape, 0, environment.num_actions)
    return jnp.where(jax.random.uniform(whether, best.shape) < FLAGS.epsilon, other, best)

  on_host = isinstance(environment, HostEnvironment)
  played = (played_on_host if on_host else played_on_device)(environment, choose)
  returns = []
  for number, (earned, length) in enumerate(played):
    returns.append(earned)
    print(f'episode {number}: return {earned:g} in {length} steps', flush=True)
  print(f'{environment.name}: mean {np.mean(returns):.2f}, deviation {np.std(returns):.2f}')
  if FLAGS.gif:
    shown = (watched_on_host if on_host else watched_on_device)(environment, choose)
    drawn = episode.gif(environment.name, shown)
    if drawn is None:
      raise ValueError(f'nothing is known of how {environment.name} looks: there is no --gif of it')
    rundir.atomic_write(FLAGS.gif, drawn)
    print(f'drawn in {FLAGS.gif}')
  return 0


def key_of(number: int) -> Array:
  """The key of an episode."""
  return jax.random.fold_in(jax.random.key(FLAGS.seed), number)


def played_on_device(environment: Any, choose: Choose) -> Iterator[tuple[float, int]]:
  """Returns and lengths."""
  one = lambda seen, key: choose(seen[None], key)[0]
  played = jax.jit(lambda key: play(environment, one, key))
  for number in range(FLAGS.episodes):
    found = jax.device_get(played(key_of(number)))
    yield float(found.rewards.sum()), int(found.length)


def watched_on_device(environment: Any, choose: Choose) -> np.ndarray:
  """What was seen in the first episode."""
  one = lambda seen, key: choose(seen[None], key)[0]
  found = jax.jit(lambda key: play(environment, one, key))(key_of(0))
  return np.asarray(found.observations[: int(found.length) + 1])


def played_on_host(environment: HostEnvironment, choose: Choose) -> Iterator[tuple[float, int]]:
  """Returns and lengths."""
  act = jax.jit(choose)
  with opened(environment, 1) as vector:
    for number in range(FLAGS.episodes):
      key, earned, length = key_of(number), 0.0, 0
      choose_at = lambda seen, time, key=key: act(seen, jax.random.fold_in(key, time))
      for _, after in episodes_of(environment, vector, choose_at, FLAGS.seed + number):
        earned, length = earned + float(after.reward[0]), length + 1
      yield earned, length


def watched_on_host(environment: HostEnvironment, choose: Choose) -> np.ndarray:
  """What the first episode looked like."""
  act, key = jax.jit(choose), key_of(0)
  return watch(environment, lambda seen, time: act(seen, jax.random.fold_in(key, time)), FLAGS.seed)


if __name__ == '__main__':
  cli.run(main)
