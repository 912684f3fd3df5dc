"""The training loop: a generator that calls the compiled step and never waits for it."""

import collections
from collections.abc import Iterator

import jax
import optax

from zoo.training.parallel import Parallel, parallelize
from zoo.training.prefetch import prefetched
from zoo.training.program import Program, build
from zoo.types import Array, Objective, PyTree, Scalars, Source, TrainState


def train(
  objective: Objective,
  tx: optax.GradientTransformation,
  source: Source,
  *,
  steps: int,
  seed: int = 0,
  parallel: Parallel | None = None,
  steps_per_call: int = 1,
) -> Iterator[tuple[TrainState, PyTree, Scalars]]:
  """Trains from the start: the whole loop for a notebook. `build` and `run` are its two halves.

  On the first device, unless `parallel` says otherwise; then the objective must be built for it
  (`axis_name=parallel.axis_name`).
  """
  program = build(objective, tx, source, parallel or parallelize('jit'), steps_per_call)
  state, source_state = program.init(jax.random.key(seed))
  yield from run(program, source, state, source_state, steps=steps, steps_per_call=steps_per_call)


def run(
  program: Program,
  source: Source,
  state: TrainState,
  source_state: PyTree,
  *,
  steps: int,
  start: int = 0,
  steps_per_call: int = 1,
  prefetch: int = 2,
) -> Iterator[tuple[TrainState, PyTree, Scalars]]:
  """Yields (state, source_state, scalars) after every call of the compiled step.

  Nothing here waits for the device but to bound the number of calls in flight. What was yielded is
  donated to the next call: copy or save it before asking for more.

  Args:
    program: from `build`.
    source: the one it was built from.
    state: as `program.init` made it or a checkpoint held it; on the devices.
    source_state: likewise, that of the source.
    steps: run until this many are done, counted from the very first.
    start: steps done already.
    steps_per_call: as in `build`.
    prefetch: batches a thread prepares ahead, for a source on the host that does not act.

  Raises:
    ValueError: the steps to do are no multiple of `steps_per_call`.
  """
  if (steps - start) % steps_per_call:
    raise ValueError(f'{steps - start} steps are no multiple of steps_per_call={steps_per_call}')
  calls = (steps - start) // steps_per_call
  flights = Flights(max_in_flight(program.parallel))

  if source.on_device:
    for _ in range(calls):
      state, source_state, scalars = program.step(state, source_state, program.data)
      flights.add(scalars['nonfinite'])
      yield state, source_state, scalars
    return

  placement = program.parallel.split(source.spec)
  place = lambda batch: program.parallel.put(batch, placement)
  # One that acts would do so by parameters that are steps old, whose buffers were donated, and not
  # by the same ones when a run is gone on with.
  if prefetch == 0 or source.acts:
    for _ in range(calls):
      source_state, batch = source.next(source_state, state.params, source.data)
      state, scalars = program.step(state, place(batch))
      flights.add(scalars['nonfinite'])
      yield state, source_state, scalars
    return
  batches = prefetched(source, source_state, calls, place, prefetch)
  try:
    for source_state, batch in batches:
      state, scalars = program.step(state, batch)
      flights.add(scalars['nonfinite'])
      yield state, source_state, scalars
  finally:
    batches.close()


def max_in_flight(parallel: Parallel) -> int:
  """Calls that may be queued on the devices at once.

  Enough to hide the host; few enough that batches do not pile up. jax 0.10 hangs now and then when
  hundreds of steps with collectives are in flight on several CPU devices; 8 never did.
  """
  several_cpus = parallel.mesh.size > 1 and parallel.mesh.devices.flat[0].platform == 'cpu'
  return 8 if several_cpus else 32


class Flights:
  """Waits for the oldest call in flight when there are too many."""

  def __init__(self, limit: int):
    self._limit = limit
    self._queue: collections.deque[Array] = collections.deque()

  def add(self, result: Array) -> None:
    self._queue.append(result)
    if len(self._queue) > self._limit:
      self._queue.popleft().block_until_ready()
