"""Measures what a config describes, or a model: on synthetic batches, or its data.

  python scripts/benchmark.py --config=configs/digits_cnn.py [--config.model.widths='(16,)']
  python scripts/benchmark.py --model=cnn --batch_size=32,64 --parallel=jit,pmap,sharded
  python scripts/benchmark.py --config=configs/digits_mlp.py --what=loop,scan --json=FILE
  python scripts/benchmark.py --config=configs/folder_cnn.py:PATH --what=train,input

--what: 'train' is the compiled training step and 'forward' the predictions, on a batch that is on
the devices; 'input' is what comes before them, batches alone and their augmentation alone (add
--config.data.on_device=False for decoding on the host); 'loop' is the loop on the real data,
against its own compiled step in a bare Python loop; 'scan' is many steps a call, against one a
call, and against a plain loop (a numpy batch to the device, the step, one figure fetched). A model
without a config is trained by SGD, with its published objective, on arrays of its published shapes.

Times are without compilation, over blocks of calls (at least 0.1 s, if --steps does not say
otherwise) that each end in one wait for the device. Memory is what the compiler plans for one
device: arguments + outputs + temporaries - outputs in the place of donated arguments. Cores are
those of the host that this process kept busy, all of its threads together.

Exit status: 0, 1 when every row has failed, 2 on bad input.
"""

import contextlib
import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
from absl import flags

from zoo import cli, huge_pages, provenance
from zoo.benchmark import MEASUREMENTS, Workload, measure, synthetic_batch
from zoo.catalog import LOADERS, create_model, example_batch, published
from zoo.data import arrays
from zoo.experiment import complete_config, make_experiment
from zoo.names import unknown
from zoo.training.parallel import STRATEGIES, parallelize

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'Config file; options follow as --config.section.option=value.')
flags.DEFINE_string('model', None, 'A model by name, in place of a config.')
flags.DEFINE_list('batch_size', [], "Batch sizes; the config's, or 32 for a model.")
flags.DEFINE_list('parallel', [], "Strategies: jit, pmap, sharded, auto; the config's, or auto.")
flags.DEFINE_list('what', ['train'], f'What to measure: {", ".join(MEASUREMENTS)}.')
flags.DEFINE_integer('steps', None, 'Steps to time for each row; some seconds of them by default.')
flags.DEFINE_string('json', None, 'File to which a line of JSON is added for every row.')

COLUMNS = '{:16}{:9}{:>8}{:>8}{:>7}{:>11}{:>10}{:>10}{:>10}{:>13}{:>7}{:>13}{:>12}  {}'
HEADER = (
  *('what', 'parallel', 'devices', 'workers', 'batch', 'compile s', 'ms/step', 'p10', 'p90'),
  *('examples/s', 'cores', 'and per core', 'memory MiB', 'times as fast as (p10-p90)'),
)


def main(argv: list[str]) -> int:
  name, make, strategies, sizes = requested(argv[1:])
  huge_pages.ask()
  jax.config.update('jax_enable_compilation_cache', False)  # it would hide what compiling takes
  common = {
    'name': name,
    'flags': {flag: getattr(FLAGS, flag) for flag in ('batch_size', 'parallel', 'what', 'steps')},
    'provenance': provenance.provenance(),
  }
  failures = []
  with open(FLAGS.json, 'a') if FLAGS.json else contextlib.nullcontext() as file:
    print(COLUMNS.format(*HEADER))
    for strategy, size, what in [(p, b, w) for p in strategies for b in sizes for w in FLAGS.what]:
      try:
        rows = measure(what, make(strategy, size), FLAGS.steps)
        rows = [dataclasses.asdict(row) for row in rows]
        failures.append(False)
      except Exception as error:  # whatever it is, such as too little memory, the others go on
        if FLAGS.debug:
          raise
        text = next(iter(str(error).strip().splitlines()), type(error).__name__)
        rows = [{'what': what, 'parallel': strategy, 'batch_size': size, 'error': text}]
        failures.append(True)
      for row in rows:
        print(describe(row), flush=True)
        if file is not None:
          print(json.dumps(row | common), file=file, flush=True)
  return int(all(failures))


def requested(
  overrides: list[str],
) -> tuple[str, Callable[[str, int], Workload], list[str], list[int]]:
  """What the flags ask for: (name, (strategy, batch size) -> workload, strategies, batch sizes)."""
  if (FLAGS.config is None) == (FLAGS.model is None):
    raise ValueError('give either --config=FILE or --model=NAME')
  if FLAGS.steps is not None and FLAGS.steps < 1:
    raise ValueError(f'--steps must be at least 1, not {FLAGS.steps}')
  for flag, valid in (('parallel', STRATEGIES), ('what', MEASUREMENTS)):
    for choice in getattr(FLAGS, flag):
      if choice not in valid:
        raise unknown(f'--{flag}', choice, valid)
  sizes = [positive(size) for size in FLAGS.batch_size]
  if FLAGS.model is not None:
    if overrides:
      raise ValueError(f'{overrides[0]} changes a config, and --model has none')
    create_model(FLAGS.model)  # refuses an unknown one
    make = functools.partial(from_model, FLAGS.model)
    return FLAGS.model, make, FLAGS.parallel or ['auto'], sizes or [32]
  values = cli.load_config(FLAGS.config, overrides, complete_config).to_dict()
  return (
    Path(FLAGS.config.partition(':')[0]).stem,
    functools.partial(from_config, values),
    FLAGS.parallel or [values['train']['parallel']],
    sizes or [values['data']['batch_size']],
  )


def positive(text: str) -> int:
  """A batch size."""
  if not text.isdecimal() or int(text) < 1:
    raise ValueError(f'--batch_size must be whole numbers of at least 1, not {text!r}')
  return int(text)


def from_config(values: dict[str, Any], strategy: str, size: int) -> Workload:
  """The experiment of a config with another strategy and batch size. Reads its data."""
  changed = {
    'train': values['train'] | {'parallel': strategy},
    'data': values['data'] | {'batch_size': size},
  }
  made = make_experiment(complete_config(values | changed))
  decodes = 'workers' in inspect.signature(LOADERS[values['data']['loader']]).parameters
  return Workload(
    *(made.objective, made.tx, made.dataset.train, made.parallel, made.settings.steps_per_call),
    augment=made.augment,
    workers=made.settings.workers if decodes else 0,
  )


def from_model(name: str, strategy: str, size: int) -> Workload:
  """A model of the zoo with its published objective, on random arrays, by SGD."""
  parallel, spec = parallelize(strategy), example_batch(name, size)
  objective = published(name, parallel.axis_name)
  return Workload(objective, optax.sgd(1e-3), arrays.epochs(synthetic_batch(spec), size), parallel)


def describe(row: dict[str, Any]) -> str:
  """A row of the table."""
  if 'error' in row:
    start = COLUMNS.format(row['what'], row['parallel'], '', '', row['batch_size'], *[''] * 9)
    return f'{start.rstrip()}  failed: {row["error"]}'
  step, peak = row['step_ms'], row['memory_bytes'].get('peak')
  return COLUMNS.format(
    *(row[name] for name in ('what', 'parallel', 'devices', 'workers', 'batch_size')),
    f'{row["compile_seconds"]:.2f}',
    *(f'{step[q]:.3f}' for q in ('median', 'p10', 'p90')),
    f'{row["examples_per_second"]:,.0f}',
    f'{row["cores"]:.2f}',
    f'{row["examples_per_core_second"]:,.0f}',
    '-' if peak is None else f'{peak / 2**20:.1f}',
    ', '.join(
      f'{other}: {q["median"]:.2f} ({q["p10"]:.2f}-{q["p90"]:.2f})'
      for other, q in row['speed'].items()
    ),
  ).rstrip()


if __name__ == '__main__':
  cli.run(main)
