"""Plays episodes with a run that acts, says what they earned, and draws one.

  python scripts/play.py --workdir=runs/cartpole_dqn --episodes=10 --gif=cartpole.gif

Prints the return and the length of every episode. The GIF is of the first.
"""

from pathlib import Path

import jax
import numpy as np
from absl import flags

from zoo import cli
from zoo.data.environment import Episode, play
from zoo.previews import episode
from zoo.runs import open_run
from zoo.training import rundir
from zoo.types import Array

FLAGS = flags.FLAGS
flags.DEFINE_string('workdir', None, 'Run directory, as scripts/train.py left it.')
flags.DEFINE_string('step', 'last', "Which checkpoint: 'last', 'best' or a number.")
flags.DEFINE_string('member', 'best', "Of runs side by side: 'best' or a number from 0 on.")
flags.DEFINE_integer('episodes', 1, 'How many.', lower_bound=1)
flags.DEFINE_integer('seed', 0, 'Of the episodes.')
flags.DEFINE_float('epsilon', 0.0, 'Share of random actions.', lower_bound=0, upper_bound=1)
flags.DEFINE_string('gif', None, 'Where to draw the first episode.')
flags.mark_flag_as_required('workdir')


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'unexpected argument {argv[1]}')
  run = open_run(Path(FLAGS.workdir), FLAGS.step, FLAGS.member)
  environment, predict = run.experiment.dataset.environment, run.experiment.objective.predict
  if environment is None or predict is None:
    raise ValueError(f'{FLAGS.workdir} holds a {run.experiment.task}, which plays nothing')
  params, extras = jax.device_get((run.state.params, run.state.extras))

  def choose(seen: Array, key: Array) -> Array:
    chance_key, action_key = jax.random.split(key)
    best = predict(params, extras, {'s_tm1': seen[None]})[0].argmax()
    other = jax.random.randint(action_key, (), 0, environment.num_actions)
    return jax.numpy.where(jax.random.uniform(chance_key) < FLAGS.epsilon, other, best)

  played = jax.jit(lambda key: play(environment, choose, key))
  keys = jax.random.split(jax.random.key(FLAGS.seed), FLAGS.episodes)
  episodes: list[Episode] = []
  for number, key in enumerate(keys):
    episodes.append(jax.device_get(played(key)))
    earned, length = float(episodes[-1].rewards.sum()), int(episodes[-1].length)
    print(f'episode {number}: return {earned:g} in {length} steps', flush=True)
  returns = np.array([x.rewards.sum() for x in episodes])
  print(f'{environment.name}: mean {returns.mean():.2f}, standard deviation {returns.std():.2f}')
  if FLAGS.gif:
    first = episodes[0]
    drawn = episode.gif(environment.name, first.observations[: int(first.length) + 1])
    if drawn is None:
      raise ValueError(f'nothing is known of how {environment.name} looks: there is no --gif of it')
    rundir.atomic_write(FLAGS.gif, drawn)
    print(f'drawn in {FLAGS.gif}')
  return 0


if __name__ == '__main__':
  cli.run(main)
