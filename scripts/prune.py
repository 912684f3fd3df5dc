"""Takes channels out of a convolutional network that was trained: a smaller dense one, as a run.

  python scripts/prune.py --workdir=runs/digits_cnn --out=runs/digits_slim --keep=0.7
  python scripts/evaluate.py --workdir=runs/digits_slim

What it writes is a run directory, for evaluation and for fine-tuning (`train.init_from`, see
configs/digits_prune.py). Prints the parameters of both networks, their figures, and how many times
as fast the smaller one is on this machine: forward, in turns, by the median.
"""

import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from absl import flags

from zoo import cli, huge_pages, timing
from zoo.experiment import complete_config, make_experiment
from zoo.judge import make_judges
from zoo.runs import Run, best_of, keep, kept
from zoo.slimming import CRITERIA, Slim, slim
from zoo.training import build, rundir
from zoo.training.checkpoint import Checkpoints
from zoo.types import PyTree

FLAGS = flags.FLAGS
flags.DEFINE_string('workdir', None, 'Run directory of the network; its best checkpoint is taken.')
flags.DEFINE_string('out', None, 'Run directory to write; it must not exist, or be empty.')
flags.DEFINE_float('keep', 0.5, 'Share of the channels of each convolution to keep.')
flags.DEFINE_enum('by', 'l1', list(CRITERIA), 'What the channels to keep have most of.')
flags.DEFINE_integer('batch_size', 128, 'Of the batches that are timed.', lower_bound=1)
flags.DEFINE_bool('speed', True, 'Measure how many times as fast it is.')
flags.DEFINE_bool('json', False, 'Print JSON.')
flags.mark_flags_as_required(['workdir', 'out'])


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'the config comes from the run directory; {argv[1]} cannot change it')
  workdir, out = Path(FLAGS.workdir), Path(FLAGS.out)
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f'--out={out} exists and is no empty folder')
  huge_pages.ask()
  whole = best_of(workdir)
  model = whole.config.to_dict()['model']
  if model['name'] != 'cnn':
    raise ValueError(f'{workdir} holds a {model["name"]}: only a cnn can be slimmed')
  variables = jax.device_get(whole.variables)
  found = slim(variables, FLAGS.keep, convs_per_block=model['convs_per_block'], by=FLAGS.by)
  small = write(whole, found, workdir, out)

  report: dict[str, Any] = {
    'widths': [list(model['widths']), list(found.widths)],
    'parameters': [sum(x.size for x in jax.tree.leaves(r.state.params)) for r in (whole, small)],
    'metrics': [judged(whole), judged(small)],
  }
  if FLAGS.speed:
    modules = [run.experiment.module for run in (whole, small)]
    report['speed'] = speed(modules, [variables, found.variables], spec_of(whole))
  if FLAGS.json:
    print(json.dumps(report))
    return 0
  for i, what in enumerate(('whole', 'slim')):
    figures = '  '.join(
      f'{split} accuracy {of_split["accuracy"]:.4f}'
      for split, of_split in report['metrics'][i].items()
    )
    print(f'{what:6}{report["parameters"][i]:>10,} parameters  {figures}')
  if FLAGS.speed:
    median, p10, p90 = (report['speed'][q] for q in ('median', 'p10', 'p90'))
    print(f'{median:.2f} times as fast ({p10:.2f} to {p90:.2f}), batches of {FLAGS.batch_size}')
  return 0


def write(whole: Run, found: Slim, workdir: Path, out: Path) -> Run:
  """Writes the slim network as a run of one checkpoint."""
  values = whole.config.to_dict()
  values['model']['widths'] = found.widths
  config = complete_config(values)
  experiment = make_experiment(config, **kept(workdir))
  source = experiment.dataset.train
  program = build(experiment.objective, experiment.tx, source, experiment.parallel)
  state, source_state = program.init(jax.random.key(experiment.settings.seed))
  params, extras = jax.device_get((state.params, state.extras))
  adopted = experiment.objective.adopt(params, extras, found.variables)
  placed = experiment.parallel.put(adopted, (program.state.params, program.state.extras))
  state = state.replace(params=placed[0], extras=placed[1])
  rundir.write_config(out, config.to_dict())
  keep(experiment.dataset, out)
  with Checkpoints(out / 'checkpoints') as checkpoints:
    checkpoints.save(whole.step, state, program.merge_source(source_state))
    checkpoints.wait()
  return Run(config, experiment, program, whole.step, state)


def judged(run: Run) -> dict[str, dict[str, float]]:
  """The figures of every split."""
  judges = make_judges(run.experiment, run.program.state)
  return {split: judge(run.state) for split, judge in judges.items()}


def spec_of(run: Run) -> Any:
  """The shape of one input."""
  dataset = run.experiment.dataset
  return dataset.train.spec[dataset.given['input_key']].shape[1:]


def speed(
  modules: list[nn.Module], variables: list[PyTree], shape: tuple[int, ...]
) -> dict[str, float]:
  """How many times as fast the second module is as the first: quantiles over rounds."""
  x = jax.random.normal(jax.random.key(0), (FLAGS.batch_size, *shape))

  def block_of(module: nn.Module, variables: PyTree) -> timing.Block:
    forward = jax.jit(lambda variables, x: module.apply(variables, x, train=False))
    variables = jax.device_put(variables)

    def block(calls: int) -> None:
      outputs = [forward(variables, x) for _ in range(calls)]
      jax.block_until_ready(outputs)

    return block

  blocks = [block_of(m, v) for m, v in zip(modules, variables, strict=True)]
  (first, second), _ = timing.time_in_turns(blocks, *timing.plan(blocks))
  return timing.quantiles(np.asarray(first / second))


if __name__ == '__main__':
  cli.run(main)
