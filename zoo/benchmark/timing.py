"""Times compiled calls on a machine that does other things too.

Calls are timed in blocks of several that end in one wait for the device, after a warm-up. What is
compared takes turns, so that its ratio holds though the speed of the machine drifts.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from zoo.benchmark.compilation import Compiled
from zoo.benchmark.flops import Flops, main_dtype
from zoo.training.parallel import Parallel

BLOCK_SECONDS = 0.1  # at least, so that the wait at its end weighs little
ROUNDS, FEWEST_ROUNDS = 20, 5
ENOUGH_SECONDS = 5.0  # of timing; what would take longer has fewer rounds

Block = Callable[[int], None]  # makes so many calls; returns when the device has done the last


class Contestant(NamedTuple):
  """Something to time.

  Attributes:
    what: see `Row`.
    block: makes so many calls.
    steps: in one call.
    compiled: the program that it calls.
    workers: see `Row`.
    flops: of the model in a step; {} if it computes none, or nobody knows.
    units: what a step makes, by name: {'tokens': 4096}. Examples are counted anyway.
    parallel: where it runs, if not where the others do.
    streams: of a loop: whether its batches come from the host; None of what is no loop.
  """

  what: str
  block: Block
  steps: int
  compiled: Compiled = Compiled()
  workers: int = 0
  flops: Flops = {}  # noqa: RUF012  # never written to
  units: dict[str, int] = {}  # noqa: RUF012
  parallel: Parallel | None = None
  streams: bool | None = None


@dataclasses.dataclass(frozen=True)
class Row:
  """What was measured. Quantiles are {median, p10, p90} over the blocks that were timed.

  Attributes:
    what: was measured.
    parallel: the strategy.
    devices: how many.
    batch_size: examples in a batch, over all devices.
    steps_per_call: training steps in one call.
    steps: how many were timed.
    compile_seconds: see `Compiled`.
    warm_compile_seconds: likewise.
    step_ms: quantiles of milliseconds a step.
    examples_per_second: at the median.
    per_second: of whatever else a step makes, such as tokens.
    workers: threads of the config that decode a batch; 0 where nothing is decoded, or by no others.
    cores: of the host that were busy: processor seconds of this process a second.
    examples_per_core_second: for each second that a core computes, at the median: how much others
      have of the machine weighs less in it.
    memory_bytes: see `Compiled`.
    allocated_peak_bytes: of the first device, by this process so far, earlier rows included.
    dtype: of most that the model multiplies.
    model_flops: of the model in a step, all devices together; None if nobody knows.
    xla_flops: of one device in a call, see `Compiled`.
    xla_bytes: likewise.
    speed: by earlier row: quantiles of how many times as fast this one was, in the same round.
    input_wait: of a loop: the share of its time in which the device waits for input. Of batches
      from the host, what it takes beyond the first row, the same step without them (median over
      rounds, at least 0); those made within the step are never waited for. None of what is no loop.
  """

  what: str
  parallel: str
  devices: int
  batch_size: int
  steps_per_call: int
  steps: int
  compile_seconds: float
  warm_compile_seconds: float | None
  step_ms: dict[str, float]
  examples_per_second: float
  per_second: dict[str, float]
  workers: int
  cores: float
  examples_per_core_second: float
  memory_bytes: dict[str, int]
  allocated_peak_bytes: int | None
  dtype: str | None
  model_flops: float | None
  xla_flops: float | None
  xla_bytes: float | None
  speed: dict[str, dict[str, float]]
  input_wait: float | None


def compare(
  contestants: Sequence[Contestant],
  parallel: Parallel,
  batch_size: int,
  steps: int | None = None,
  seconds: float = ENOUGH_SECONDS,
) -> list[Row]:
  """Times contestants in turns.

  Args:
    contestants: in the order of the rows.
    parallel: where they run.
    batch_size: examples in a batch, over all devices.
    steps: how many to time of each; as many as there is time for if None.
    seconds: of timing, about.
  """
  blocks = [c.block for c in contestants]
  calls = None if steps is None else [max(1, steps // c.steps) for c in contestants]
  per_round, rounds = plan(blocks, calls, seconds)
  wall, processor = time_in_turns(blocks, per_round, rounds)
  cores = processor.sum(1) / wall.sum(1)
  steps_of = np.array([[c.steps] for c in contestants])
  wall, processor = wall / steps_of, processor / steps_of
  device = parallel.mesh.devices.flat[0]
  return [
    Row(
      what=c.what,
      parallel=(c.parallel or parallel).strategy,
      devices=(c.parallel or parallel).mesh.size,
      batch_size=batch_size,
      steps_per_call=c.steps,
      steps=per_round[i] * rounds * c.steps,
      compile_seconds=c.compiled.seconds,
      warm_compile_seconds=c.compiled.warm_seconds,
      step_ms=quantiles(1000 * wall[i]),
      examples_per_second=batch_size / float(np.median(wall[i])),
      per_second={name: n / float(np.median(wall[i])) for name, n in c.units.items()},
      workers=c.workers,
      cores=float(cores[i]),
      examples_per_core_second=batch_size / float(np.median(processor[i])),
      memory_bytes=c.compiled.memory,
      allocated_peak_bytes=(device.memory_stats() or {}).get('peak_bytes_in_use'),
      dtype=main_dtype(c.flops),
      model_flops=sum(c.flops.values()) or None,
      xla_flops=c.compiled.flops,
      xla_bytes=c.compiled.bytes,
      speed={o.what: quantiles(wall[j] / wall[i]) for j, o in enumerate(contestants[:i])},
      input_wait=None if c.streams is None else c.streams * beyond(wall[i], wall[0]),
    )
    for i, c in enumerate(contestants)
  ]


def beyond(taken: np.ndarray, least: np.ndarray) -> float:
  """The share of a time beyond another one, at least 0: the median of arrays [rounds]."""
  return max(0.0, 1 - float(np.median(least / taken)))


def warm_up(block: Block) -> tuple[int, float]:
  """Runs a block of 1, 2, 4, ... calls until it takes BLOCK_SECONDS.

  Returns:
    How many calls that was, and how many seconds.
  """
  block(1)  # what happens once, such as a compilation, is not to be taken for the speed
  calls = 1
  while (seconds := timed(block, calls)[0]) < BLOCK_SECONDS:
    calls *= 2
  return calls, seconds


def plan(
  blocks: Sequence[Block], calls: Sequence[int] | None = None, seconds: float = ENOUGH_SECONDS
) -> tuple[list[int], int]:
  """Decides how to time blocks, and warms them up.

  Args:
    blocks: what to time, N of them.
    calls: how many calls of each to time in all; about as many as there is time for if None.
    seconds: of timing; there are more rounds if it is longer.

  Returns:
    How many calls of each there are in a round, and how many rounds.
  """
  if calls is None:
    found = [warm_up(block) for block in blocks]
    rounds = int(seconds / sum(taken for _, taken in found))
    most = max(ROUNDS, int(ROUNDS * seconds / ENOUGH_SECONDS))
    return [n for n, _ in found], min(max(rounds, FEWEST_ROUNDS), most)
  for block in blocks:
    block(2)
  rounds = min(ROUNDS, *calls)
  return [n // rounds for n in calls], rounds


def time_in_turns(
  blocks: Sequence[Block], calls: Sequence[int], rounds: int
) -> tuple[np.ndarray, np.ndarray]:
  """Times every block once a round, forwards and backwards by turns.

  Args:
    blocks: what to time, N of them.
    calls: how many calls of each in a round.
    rounds: how many.

  Returns:
    Seconds a call, and processor seconds of this process a call, both float64 [N, rounds].
  """
  seconds = np.empty((2, len(blocks), rounds))
  for r in range(rounds):
    for i in range(len(blocks))[:: 1 if r % 2 == 0 else -1]:
      seconds[:, i, r] = np.array(timed(blocks[i], calls[i])) / calls[i]
  return seconds[0], seconds[1]


def timed(block: Block, calls: int) -> tuple[float, float]:
  """Seconds that a block of so many calls takes, and processor seconds, of all threads."""
  start, processor = time.perf_counter(), time.process_time()
  block(calls)
  return time.perf_counter() - start, time.process_time() - processor


def quantiles(values: np.ndarray) -> dict[str, float]:
  """Median, 10th and 90th percentile."""
  p10, median, p90 = np.quantile(values, (0.1, 0.5, 0.9))
  return {'median': float(median), 'p10': float(p10), 'p90': float(p90)}
