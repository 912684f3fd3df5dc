"""Takes channels or attention heads out of a trained network: a smaller dense one, as a run.

  python scripts/prune.py --workdir=runs/digits_cnn --out=runs/digits_slim --keep=0.7
  python scripts/evaluate.py --workdir=runs/digits_slim

A CNN loses channels of its convolutions; a ViT, GPT-2, BERT or Transformer heads of its attentions.
What it writes is a run directory, for evaluation and for fine-tuning (`train.init_from`, see
configs/digits_prune.py). Prints the parameters of both networks, their figures, and how many times
as fast the smaller one is on this machine: forward, in turns, by the median.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from zoo import attention_heads, cli, huge_pages, models, slimming
from zoo.benchmark import timing
from zoo.experiment import complete_config, make_experiment
from zoo.judge import make_judges
from zoo.metrics import show
from zoo.runs import Run, best_of, keep, kept
from zoo.training import build, rundir
from zoo.training.checkpoint import Checkpoints
from zoo.types import PyTree

FLAGS = flags.FLAGS
flags.DEFINE_string('workdir', None, 'Run directory of the network; its best checkpoint is taken.')
flags.DEFINE_string('out', None, 'Run directory to write; it must not exist, or be empty.')
flags.DEFINE_float('keep', 0.5, 'Share of the channels, or heads, of each layer to keep.')
flags.DEFINE_enum(
  'by',
  None,
  sorted({*slimming.CRITERIA, *attention_heads.CRITERIA}),
  'What is kept has most of: of channels l1 (default) or scale, of heads l2 (default) or l1.',
)
flags.DEFINE_integer('batch_size', 128, 'Of the batches that are timed.', lower_bound=1)
flags.DEFINE_bool('speed', True, 'Measure how many times as fast it is.')
flags.DEFINE_bool('json', False, 'Print JSON.')
flags.mark_flags_as_required(['workdir', 'out'])

Slimmed = tuple[PyTree, dict[str, Any]]  # variables, and the fields of the smaller module


def fewer_channels(module: models.CNN, variables: PyTree, keep: float, **by: str) -> Slimmed:
  """A network of narrower convolutions."""
  found = slimming.slim(variables, keep, convs_per_block=module.convs_per_block, **by)
  return found.variables, {'widths': found.widths}


def fewer_heads(module: Any, variables: PyTree, keep: float, **by: str) -> Slimmed:
  """A network of fewer attention heads."""
  found = attention_heads.slim(variables, keep, module.num_heads, **by)
  return found.variables, {'num_heads': found.num_heads, 'head_dim': found.head_dim}


SLIMMERS: dict[type[nn.Module], Callable[..., Slimmed]] = {
  models.CNN: fewer_channels,
  models.BERT: fewer_heads,
  models.GPT2: fewer_heads,
  models.Transformer: fewer_heads,
  models.ViT: fewer_heads,
}
TOKENS = ('tokens', 'source', 'target')  # inputs that are tokens, in the order of modules


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'the config comes from the run directory; {argv[1]} cannot change it')
  workdir, out = Path(FLAGS.workdir), Path(FLAGS.out)
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f'--out={out} exists and is no empty folder')
  huge_pages.ask()
  whole = best_of(workdir)
  module = whole.experiment.module
  if type(module) not in SLIMMERS:
    able = ', '.join(kind.__name__ for kind in SLIMMERS)
    raise ValueError(f'{workdir} holds a {type(module).__name__}: {able} can be slimmed')
  variables = jax.device_get(whole.variables)
  by = {} if FLAGS.by is None else {'by': FLAGS.by}
  smaller, fields = SLIMMERS[type(module)](module, variables, FLAGS.keep, **by)
  small = write(whole, smaller, fields, workdir, out)

  report: dict[str, Any] = {
    **{name: [getattr(module, name), value] for name, value in fields.items()},
    'parameters': [sum(x.size for x in jax.tree.leaves(r.state.params)) for r in (whole, small)],
    'metrics': [judged(whole), judged(small)],
  }
  if FLAGS.speed:
    modules = [run.experiment.module for run in (whole, small)]
    report['speed'] = speed(modules, [variables, smaller], inputs_of(whole))
  if FLAGS.json:
    print(json.dumps(report))
    return 0
  best = whole.experiment.settings.best
  for i, what in enumerate(('whole', 'slim')):
    figures = '  '.join(
      f'{split} {best} {show(best, of_split.get(best, float("nan")))}'
      for split, of_split in report['metrics'][i].items()
    )
    print(f'{what:6}{report["parameters"][i]:>10,} parameters  {figures}')
  if FLAGS.speed:
    median, p10, p90 = (report['speed'][q] for q in ('median', 'p10', 'p90'))
    print(f'{median:.2f} times as fast ({p10:.2f} to {p90:.2f}), batches of {FLAGS.batch_size}')
  return 0


def write(whole: Run, variables: PyTree, fields: dict[str, Any], workdir: Path, out: Path) -> Run:
  """Writes the slim network as a run of one checkpoint."""
  values = whole.config.to_dict()
  values['model'] |= fields
  config = complete_config(values)
  experiment = make_experiment(config, **kept(workdir))
  source = experiment.dataset.train
  program = build(experiment.objective, experiment.tx, source, experiment.parallel)
  state, source_state = program.init(jax.random.key(experiment.settings.seed))
  params, extras = jax.device_get((state.params, state.extras))
  adopted = experiment.objective.adopt(params, extras, variables)
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
  return {split: judge(run.state)[0] for split, judge in judges.items()}


def inputs_of(run: Run) -> list[jax.Array]:
  """A batch to time the module with; of tokens what they are does not matter."""
  dataset = run.experiment.dataset
  spec = next(iter(dataset.evaluation.values())).spec
  names = [dataset.given['input_key']] if 'input_key' in dataset.given else TOKENS
  shapes = {name: (FLAGS.batch_size, *spec[name].shape[1:]) for name in names if name in spec}
  return [
    jnp.ones(shape, jnp.int32) if name in TOKENS else jax.random.normal(jax.random.key(0), shape)
    for name, shape in shapes.items()
  ]


def speed(
  modules: list[nn.Module], variables: list[PyTree], inputs: list[jax.Array]
) -> dict[str, float]:
  """How many times as fast the second module is as the first: quantiles over rounds."""

  def block_of(module: nn.Module, variables: PyTree) -> timing.Block:
    forward = jax.jit(lambda variables, *x: module.apply(variables, *x, train=False))
    variables = jax.device_put(variables)

    def block(calls: int) -> None:
      outputs = [forward(variables, *inputs) for _ in range(calls)]
      jax.block_until_ready(outputs)

    return block

  blocks = [block_of(m, v) for m, v in zip(modules, variables, strict=True)]
  (first, second), _ = timing.time_in_turns(blocks, *timing.plan(blocks))
  return timing.quantiles(np.asarray(first / second))


if __name__ == '__main__':
  cli.run(main)
