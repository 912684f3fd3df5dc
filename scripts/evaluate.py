"""Evaluates a run on its validation and test splits; the config comes from the run directory.

  python scripts/evaluate.py --workdir=runs/digits_cnn [--step=best]

Prints the figures of each split, and with --json one JSON object and nothing else.
"""

import json
from pathlib import Path

import jax
from absl import flags

from zoo import cli
from zoo.data import normalize
from zoo.experiment import complete_config, make_experiment
from zoo.training import build, make_evaluate, rundir
from zoo.training.checkpoint import CheckpointError, Checkpoints

FLAGS = flags.FLAGS
flags.DEFINE_string('workdir', None, 'Run directory, as scripts/train.py left it.')
flags.DEFINE_string('step', 'last', "Which checkpoint: 'last', 'best' or a number.")
flags.DEFINE_bool('json', False, 'Print JSON.')
flags.mark_flag_as_required('workdir')


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'the config comes from the run directory; {argv[1]} cannot change it')
  workdir = Path(FLAGS.workdir)
  config = complete_config(rundir.read_config(workdir))
  kept = workdir / 'normalization.json'
  statistics = normalize.load(kept) if config.data.normalization == 'standardize' else None
  experiment = make_experiment(config, statistics=statistics)
  parallel, source = experiment.parallel, experiment.dataset.train
  program = build(experiment.objective, experiment.tx, source, parallel)
  settings = experiment.settings
  folder = workdir / 'checkpoints'
  with Checkpoints(folder, best=settings.best, mode=settings.best_mode) as checkpoints:
    restored = checkpoints.restore(*program.abstract, step=choose(checkpoints, FLAGS.step))
  if restored is None:
    raise CheckpointError(f'the run in {workdir} has no checkpoint yet')

  figures = {
    split: make_evaluate(experiment.objective, one_pass, parallel, program.state)(restored.state)
    for split, one_pass in experiment.dataset.evaluation.items()
  }
  if FLAGS.json:
    print(json.dumps({'step': restored.step, 'metrics': figures}))
    return 0
  parameters = sum(x.size for x in jax.tree.leaves(restored.state.params))
  print(f'{config.model.name} ({parameters:,} parameters) at step {restored.step}')
  for split, metrics in figures.items():
    print(f'{split:11}' + '  '.join(f'{name} {value:.4f}' for name, value in metrics.items()))
  return 0


def choose(checkpoints: Checkpoints, which: str) -> int | None:
  """The step that --step means; None for the newest good one."""
  if which == 'last':
    return None
  if which == 'best':
    step = checkpoints.best_step()
    if step is None:
      raise ValueError('no checkpoint of this run has a validation figure to be best by')
    return step
  if not which.isdecimal():
    raise ValueError(f"--step must be 'last', 'best' or a number, not {which!r}")
  return int(which)


if __name__ == '__main__':
  cli.run(main)
