"""How throughput grows with devices, and what they have to tell each other for it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from zoo.benchmark import hlo
from zoo.benchmark.calls import arguments, bare
from zoo.benchmark.compilation import compile_ahead
from zoo.benchmark.measurements import of_training
from zoo.benchmark.timing import Contestant, compare
from zoo.benchmark.workload import Workload, synthetic_source
from zoo.training.program import build


def counts_of(devices: int) -> list[int]:
  """1, 2, 4, ... and all."""
  powers = [2**i for i in range(devices.bit_length()) if 2**i <= devices]
  return sorted({*powers, devices})


def scaling(
  make: Callable[[str, int, Sequence[Any]], Workload],
  strategy: str,
  per_device: int,
  steps: int | None = None,
) -> list[dict[str, Any]]:
  """Measures the training step on 1, 2, 4, ... devices, with as many examples on each.

  Args:
    make: (strategy, size of the whole batch, devices) -> workload.
    strategy: 'pmap' or 'sharded'.
    per_device: examples on each device.
    steps: see `compare`.

  Returns:
    A row for each number of devices: as a `Row`, with collectives: how many of each a step runs;
    collective_bytes: that each device gets in a step; gradient_bytes: the least that data
    parallelism needs; efficiency: of one device in a company, as a share of one alone. Devices that
    are forced out of one CPU share its cores: their times say nothing, and are None.
  """
  rows = []
  for n in counts_of(len(jax.devices())):
    row = of_devices(make(strategy, n * per_device, jax.devices()[:n]), steps)
    if rows and row['step_ms'] is not None:
      row['efficiency'] = rows[0]['step_ms']['median'] / row['step_ms']['median']
    rows.append(row)
  return rows


def of_devices(work: Workload, steps: int | None) -> dict[str, Any]:
  """One of the rows."""
  source = synthetic_source(work.source.spec)
  program = build(work.objective, work.tx, source, work.parallel)
  carry, fixed = arguments(program, source)
  compiled = compile_ahead(program.step, *carry, fixed)
  forced = len(jax.devices()) > 1 and jax.devices()[0].platform == 'cpu'
  step = Contestant('train', bare(program, carry, fixed), 1, compiled, **of_training(work))
  params = jax.tree.leaves(carry[0].params)
  found = hlo.traffic(compiled.hlo)
  [row] = compare([step], work.parallel, work.batch_size, 1 if forced else steps)
  measured = dataclasses.asdict(row) | {
    'what': 'scaling',
    'efficiency': None if forced else 1.0,
    'collectives': found.counts,
    'collective_bytes': found.bytes,
    'gradient_bytes': sum(leaf.size * leaf.dtype.itemsize for leaf in params),
  }
  if forced:
    measured |= {'step_ms': None, 'examples_per_second': None, 'per_second': {}}
  return measured


def line(row: dict[str, Any]) -> str:
  """A row in words."""
  counts = ', '.join(f'{n} {name}' for name, n in row['collectives'].items()) or 'no collectives'
  mib = lambda n: f'{n / 2**20:.2f} MiB'
  text = f'{row["parallel"]:9}{row["devices"]:>4} devices, batch {row["batch_size"]}: {counts}, '
  text += f'{mib(row["collective_bytes"])} a step and device (gradients: '
  text += f'{mib(row["gradient_bytes"])})'
  if row['step_ms'] is None:
    return text + '; forced out of one CPU: no times'
  rate, efficiency = row['examples_per_second'], row['efficiency']
  return text + f'; {rate:,.0f} examples/s, efficiency {efficiency:.0%}'
