"""Measures what a config describes, or a model: its speed, and how far that is from the limit.

  python scripts/benchmark.py --config=configs/digits_cnn.py [--config.model.widths='(16,)']
  python scripts/benchmark.py --model=cnn --batch_size=32,64 --parallel=jit,pmap,sharded
  python scripts/benchmark.py --suite=cpu --json=NEW.jsonl --compare=OLD.jsonl --plot=ROOFLINE.png
  python scripts/benchmark.py --model=gpt2 --batch_size=1 --what=train,generate --dtype=f32,bf16
  python scripts/benchmark.py --config=configs/digits_cnn.py --profile=DIR
  python scripts/benchmark.py --config=configs/digits_cnn.py --verify
  python scripts/benchmark.py --model=resnet50 --scaling --plot=SCALING.png

--what: 'train' is the compiled training step and 'forward' the predictions, on a batch that is on
the devices; 'generate' decodes 128 tokens behind 32 with a cache; 'input' is what comes before the
model, batches alone and their augmentation alone (add --config.data.on_device=False for decoding on
the host); 'loop' is the loop on the real data, against its own compiled step in a bare Python loop,
and what of it the device waits for input; 'scan' is many steps a call, against one a call, and
against a plain loop (a numpy batch to the device, the step, one figure fetched); 'seeds' is a call
for 8 runs side by side on all devices, against that for one on one (by itself it makes devices of
the cores of a CPU, as training does);
'compile' is compilation alone. A model without a config is trained by AdamW, with its
published objective, on arrays of its published shapes. --synthetic measures a config on random
arrays of its data's shapes, for a machine that has neither the data nor what reads them.

Times are without compilation, over blocks of calls (at least 0.1 s, if --steps does not say
otherwise) that each end in one wait for the device. Memory is what the compiler plans for one
device: arguments + outputs + temporaries - outputs in the place of donated arguments. Cores are
those of the host that this process kept busy, all of its threads together. FLOPs are those of the
model's products and convolutions (zoo/benchmark/flops.py); MFU is their rate as a share of what a
product of large matrices reached in this process, and 'roof' as a share of what memory lets through
(zoo/benchmark/roofline.py).

--profile traces the training step and says where its time goes. --verify trains under jit, pmap and
sharded, in float32, and says whether they agree. --scaling measures 1, 2, 4, ... devices and what
they tell each other. XLA_FLAGS=--xla_force_host_platform_device_count=8 makes devices of one CPU.

Exit status: 0; 1 when every row has failed, something is slower than --compare by more than
--threshold, or strategies disagree; 2 on bad input.
"""

import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from absl import flags

from zoo import cli, huge_pages, platform, provenance
from zoo.benchmark import (
  MEASUREMENTS,
  apart,
  comparison,
  measure,
  peaks,
  plots,
  profile,
  report,
  requests,
  roofline,
  scaling,
  suites,
  verify,
)
from zoo.benchmark.measurements import MEMBERS
from zoo.benchmark.requests import Request
from zoo.benchmark.workload import DTYPES, Workload
from zoo.catalog import create_model
from zoo.names import unknown
from zoo.training.parallel import STRATEGIES

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'Config file; options follow as --config.section.option=value.')
flags.DEFINE_string('model', None, 'A model by name, in place of a config.')
flags.DEFINE_bool('synthetic', False, "Random arrays in place of a config's data.")
flags.DEFINE_string('suite', None, f'Rows for a kind of machine: {", ".join(suites.SUITES)}.')
flags.DEFINE_list('batch_size', [], "Batch sizes; the config's, or 32 for a model.")
flags.DEFINE_list('parallel', [], "Strategies: jit, pmap, sharded, auto; the config's, or auto.")
flags.DEFINE_list('dtype', [], f'Types to compute in: {", ".join(DTYPES)}; as the model says.')
flags.DEFINE_list('what', ['train'], f'What to measure: {", ".join(MEASUREMENTS)}.')
flags.DEFINE_integer('steps', None, 'Steps to time for each row; some seconds of them by default.')
flags.DEFINE_float('seconds', 5.0, 'About so long is each row timed, where --steps says nothing.')
flags.DEFINE_string('json', None, 'File to which a line of JSON is added for every row.')
flags.DEFINE_string('compare', None, 'File of an earlier --json to compare with.')
flags.DEFINE_float('threshold', 0.1, 'How much slower than --compare is too slow, beyond noise.')
flags.DEFINE_string('plot', None, 'Picture to draw: roofline, and scaling.')
flags.DEFINE_string('profile', None, 'Folder for a trace; prints where the time of a step goes.')
flags.DEFINE_bool('verify', False, 'Say whether jit, pmap and sharded agree.')
flags.DEFINE_bool('scaling', False, 'Measure 1, 2, 4, ... devices.')

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
VERIFIED_STEPS = 3


def main(argv: list[str]) -> int:
  asked = list(requested(argv[1:]))
  before = comparison.read_rows(FLAGS.compare) if FLAGS.compare else []
  huge_pages.ask()
  if len(asked) == 1:  # those of a suite share the process, and its threads
    platform.divide_cpu(MEMBERS if FLAGS.what == ['seeds'] else 1, asked[0].cpu_threads)
  jax.config.update('jax_enable_compilation_cache', False)  # it would hide what compiling takes
  if FLAGS.profile:
    return profiled(asked)
  if FLAGS.verify:
    return verified(asked)
  rows, status = [], 0
  with open(FLAGS.json, 'a') if FLAGS.json else contextlib.nullcontext() as file:
    for row in scaled(asked) if FLAGS.scaling else measured(asked):
      rows.append(row)
      if file is not None:
        print(json.dumps(row), file=file, flush=True)
  if all('error' in row for row in rows):
    status = 1
  changes = comparison.compare_rows(rows, before)
  for line in comparison.lines(changes, FLAGS.threshold):
    print(line)
  if before and not changes:
    print(f'{FLAGS.compare} has none of these rows')
  if FLAGS.plot:
    plots.draw([row for row in rows if 'error' not in row], FLAGS.plot)
  return int(status or any(change.is_slower(FLAGS.threshold) for change in changes))


def measured(asked: list[Request]) -> Iterator[dict[str, Any]]:
  """Measures, prints and yields the rows of every combination."""
  print(report.header())
  for request in asked:
    common = {'name': request.name, 'label': request.label} | origin()
    own = has_own_threads(request)
    for row in apart.measured(sys.argv[0], request, timed()) if own else here(request):
      print(report.describe(common | row), flush=True)
      yield common | row


def has_own_threads(request: Request) -> bool:
  """Whether it cannot share this process, whose threads XLA has counted already."""
  return request.cpu_threads > 0 and FLAGS.suite == 'cpu'


def timed() -> list[str]:
  """The flags that say how long to measure, as they were given."""
  return [f'--{name}={FLAGS[name].value}' for name in ('steps', 'seconds') if FLAGS[name].present]


def here(request: Request) -> Iterator[dict[str, Any]]:
  """Measures in this process; what fails is a row that says so."""
  for strategy, size, dtype, what in [
    (p, b, d, w)
    for p in request.strategies
    for d in request.dtypes
    for b in request.sizes
    for w in request.what
  ]:
    try:
      alone = 'jit' if what == 'seeds' else None  # which puts one run on one device
      work = request.make(strategy or alone, size, dtype, None)._replace(warm=True)
      rows = [dataclasses.asdict(row) for row in measure(what, work, FLAGS.steps, FLAGS.seconds)]
      yield from [row | limits(row, work) for row in rows]
    except Exception as error:  # whatever it is, such as too little memory, the others go on
      if FLAGS.debug:
        raise
      text = next(iter(str(error).strip().splitlines()), type(error).__name__)
      yield {'what': what, 'parallel': strategy, 'batch_size': size, 'error': text}


def limits(row: dict[str, Any], work: Workload) -> dict[str, Any]:
  """What a row says of its device; nothing where it computes nothing, or only compiles."""
  if not row['model_flops'] or row['what'] == 'compile':
    return {}
  device = work.parallel.mesh.devices.flat[0]
  sheet = peaks.published(row['dtype'], device.device_kind)
  return roofline.judge(row, peaks.measured(row['dtype'], device), sheet)


def scaled(asked: list[Request]) -> Iterator[dict[str, Any]]:
  """Likewise of 1, 2, 4, ... devices; --batch_size counts those on each device."""
  for request in asked:
    for strategy in request.strategies:
      strategy = 'pmap' if strategy in (None, 'auto') else strategy
      for dtype, size in [(d, s) for d in request.dtypes for s in request.sizes]:
        make = lambda strategy, size, devices, r=request, d=dtype: r.make(
          strategy, size, d, devices
        )
        for row in scaling.scaling(make, strategy, size or 32, FLAGS.steps):
          print(scaling.line(row), flush=True)
          yield row | {'name': request.name, 'label': request.label} | origin()


def profiled(asked: list[Request]) -> int:
  """Traces the first combination of every request."""
  for request in asked:
    print(request.label)
    work = request.make(request.strategies[0], request.sizes[0], request.dtypes[0], None)
    for line in profile.lines(profile.profile(work, Path(FLAGS.profile))):
      print(line)
  return 0


def verified(asked: list[Request]) -> int:
  """Whether the strategies agree on every request."""
  agree = True
  strategies = [s for s in FLAGS.parallel or STRATEGIES if s not in ('auto', 'jit')]
  for request in asked:
    print(request.label)
    make = lambda strategy, r=request: r.make(
      strategy, r.sizes[0], r.dtypes[0] or requests.FLOAT32_IF_THERE, None
    )
    for verdict in verify.verify(make, FLAGS.steps or VERIFIED_STEPS, strategies):
      print(f'  {verdict}', flush=True)
      agree &= verdict.agrees and verdict.traces == 1
  return int(not agree)


@functools.cache
def origin() -> dict[str, Any]:
  """What all rows of this process have."""
  names = ('batch_size', 'parallel', 'dtype', 'what', 'steps', 'seconds')
  given = {flag: getattr(FLAGS, flag) for flag in names}
  return {'flags': given, 'provenance': provenance.provenance()}


def requested(overrides: list[str]) -> Iterator[Request]:
  """What the flags ask for."""
  if sum(x is not None for x in (FLAGS.config, FLAGS.model, FLAGS.suite)) != 1:
    raise ValueError('give one of --config=FILE, --model=NAME and --suite=NAME')
  if FLAGS.steps is not None and FLAGS.steps < 1:
    raise ValueError(f'--steps must be at least 1, not {FLAGS.steps}')
  if not FLAGS.seconds > 0:
    raise ValueError(f'--seconds must be more than 0, not {FLAGS.seconds}')
  if not 0 <= FLAGS.threshold < 1:
    raise ValueError(f'--threshold must be from 0 to 1, not {FLAGS.threshold}')
  if sum(map(bool, (FLAGS.profile, FLAGS.verify, FLAGS.scaling))) > 1:
    raise ValueError('give one of --profile, --verify and --scaling')
  for flag in ('json', 'compare', 'plot'):
    if (FLAGS.profile or FLAGS.verify) and FLAGS[flag].present:
      raise ValueError(f'--profile and --verify measure no rows: --{flag} has no use')
  for flag, valid in (('parallel', STRATEGIES), ('what', MEASUREMENTS), ('dtype', DTYPES)):
    for choice in getattr(FLAGS, flag):
      if choice not in valid:
        raise unknown(f'--{flag}', choice, valid)
  for flag in ('what', 'batch_size', 'dtype'):
    if FLAGS.suite is not None and FLAGS[flag].present:
      raise ValueError(f'--suite says what is measured: --{flag} has no use')
  if FLAGS.scaling and 'jit' in FLAGS.parallel:
    raise ValueError('--scaling is of pmap and sharded; jit is one device')
  if FLAGS.synthetic and FLAGS.config is None:
    raise ValueError('--synthetic is for --config: nothing else reads data of a config')
  if FLAGS.synthetic and 'input' in FLAGS.what:
    raise ValueError('--what=input is of real data: --synthetic has no use')
  if FLAGS.config is None and overrides:
    raise ValueError(f'{overrides[0]} changes a config, and there is none')
  sizes = tuple(positive(size) for size in FLAGS.batch_size)
  choices = (tuple(FLAGS.what), sizes or (None,), tuple(FLAGS.dtype) or (None,))
  strategies = tuple(FLAGS.parallel) or (None,)
  if FLAGS.suite is not None:
    for target in suites.of_platform(FLAGS.suite, jax.default_backend()):
      yield requests.of_target(target, CONFIGS, strategies)
  elif FLAGS.model is not None:
    create_model(FLAGS.model)  # refuses an unknown one
    make = requests.model_maker(FLAGS.model)
    yield Request(FLAGS.model, FLAGS.model, make, *choices, strategies)
  elif FLAGS.config is not None:
    yield requests.of_config(FLAGS.config, overrides, *choices, strategies, FLAGS.synthetic)


def positive(text: str) -> int:
  """A batch size."""
  if not text.isdecimal() or int(text) < 1:
    raise ValueError(f'--batch_size must be whole numbers of at least 1, not {text!r}')
  return int(text)


if __name__ == '__main__':
  cli.run(main)
