"""What is measured of an experiment: its step, predictions and batches, and what a loop costs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.timing import Block, Contestant, Row, compare, compile_ahead
from zoo.training.loop import Flights, max_in_flight, run
from zoo.training.parallel import Parallel
from zoo.training.program import Program, build
from zoo.types import Array, Batch, Objective, PyTree, Source, TrainState


class Workload(NamedTuple):
  """The parts of an experiment; the objective fits the strategy of `parallel`.

  Attributes:
    objective: what to learn.
    tx: how to update.
    source: what to learn from.
    parallel: on which devices.
    steps_per_call: steps in one call of the loop.
    augment: (key, batch) -> batch: what the loss does to a batch first, see `Experiment.augment`.
    workers: threads that decode the batches of a source on the host.
  """

  objective: Objective
  tx: optax.GradientTransformation
  source: Source
  parallel: Parallel
  steps_per_call: int = 1
  augment: Callable[[Array, Batch], Batch] | None = None
  workers: int = 0


def measure(what: str, work: Workload, steps: int | None = None) -> list[Row]:
  """Runs one of MEASUREMENTS.

  Args:
    what: its name.
    work: what to measure it of.
    steps: how many to time; as many as fit in a few seconds if None.
  """
  contestants = MEASUREMENTS[what](work)
  return compare(contestants, work.parallel, batch_size(work.source.spec), steps)


def train(work: Workload) -> list[Contestant]:
  """The bare training step, on a synthetic batch that is on the devices already."""
  source = synthetic_source(work.source.spec)
  program = build(work.objective, work.tx, source, work.parallel)
  carry, fixed = arguments(program, source)
  compiled = compile_ahead(program.step, *carry, fixed)
  return [Contestant('train', bare(program, carry, fixed), 1, *compiled)]


def forward(work: Workload) -> list[Contestant]:
  """`objective.predict` on such a batch."""
  predict, parallel = work.objective.predict, work.parallel
  if predict is None:
    raise ValueError('this objective has no predict')
  source = synthetic_source(work.source.spec)
  program = build(work.objective, work.tx, source, parallel)
  [state], batch = arguments(program, source)
  each = jax.ShapeDtypeStruct((batch_size(source.spec),), jnp.int32)
  one = jax.ShapeDtypeStruct((), jnp.int32)

  # The count makes each call wait for the last: a CPU might run independent ones side by side.
  def counted(state: TrainState, batch: Batch) -> tuple[Array, PyTree]:
    return state.step + 1, predict(state.params, state.extras, batch)

  call = parallel.compile(
    counted,
    (program.state, parallel.split(source.spec)),
    (parallel.shared(one), parallel.split(each)),
  )
  compiled = compile_ahead(call, state, batch)

  def block(calls: int) -> None:
    now, wait = state, bound_flights(parallel)
    for _ in range(calls):
      count, _ = call(now, batch)
      now = now.replace(step=count)
      wait(count)
    jax.block_until_ready(now.step)

  return [Contestant('forward', block, 1, *compiled)]


def loop(work: Workload) -> list[Contestant]:
  """`training.run` with the real source, against its own compiled call in a bare Python loop."""
  source, k = work.source, work.steps_per_call
  program = build(work.objective, work.tx, source, work.parallel, k)
  carry, fixed = arguments(program, source)
  compiled = compile_ahead(program.step, *carry, fixed)
  return [
    Contestant('bare step', bare(program, carry, fixed), k, *compiled),
    Contestant('loop', looped(program, source, k), k, *compiled),
  ]


def scan(work: Workload) -> list[Contestant]:
  """`training.run` with K steps a call, against one a call, and against a plain loop.

  K is the workload's `steps_per_call`, or 32 if that is 1.
  """
  contestants = [plain(work)]
  for k in (1, work.steps_per_call if work.steps_per_call > 1 else 32):
    program = build(work.objective, work.tx, work.source, work.parallel, k)
    carry, fixed = arguments(program, work.source)
    compiled = compile_ahead(program.step, *carry, fixed)
    block = looped(program, work.source, k)
    contestants.append(Contestant(f'loop, {k} a call', block, k, *compiled))
  return contestants


def inputs(work: Workload) -> list[Contestant]:
  """What comes before the model, each alone: making batches, and augmenting them on the devices.

  'host batches' are records read, decoded and stacked to numpy arrays, nothing put on a device;
  'device batches' are indexed inside jit from arrays that are there. 'augmentation' is missing
  where there is none.
  """
  source = work.source
  found = [device_batches(source, work.parallel) if source.on_device else host_batches(work)]
  return found + ([augmentation(work)] if work.augment else [])


def host_batches(work: Workload) -> Contestant:
  """`next` of a source on the host, in the calling thread and those that decode."""
  source = work.source
  state = source.init(jax.random.key(0))

  def block(calls: int) -> None:
    nonlocal state
    for _ in range(calls):
      state, _ = source.next(state, None, source.data)

  return Contestant('host batches', block, 1, 0.0, {}, work.workers)


def device_batches(source: Source, parallel: Parallel) -> Contestant:
  """`next` of a source on the devices."""
  state = source.init(jax.random.key(0))
  placed, shared = parallel.split(state), parallel.shared(source.data)
  next_batch = lambda state, data: source.next(state, None, data)
  call = parallel.compile(next_batch, (placed, shared), (placed, parallel.split(source.spec)))
  state, data = parallel.put(state, placed), parallel.put(source.data, shared)
  compiled = compile_ahead(call, state, data)

  def block(calls: int) -> None:
    nonlocal state
    wait, batch = bound_flights(parallel), None
    for _ in range(calls):
      state, batch = call(state, data)
      wait(jax.tree.leaves(batch)[0])
    jax.block_until_ready(batch)

  return Contestant('device batches', block, 1, *compiled)


def augmentation(work: Workload) -> Contestant:
  """`augment` of a synthetic batch that is on the devices, with another key in every call."""
  spec, parallel, augment = work.source.spec, work.parallel, work.augment
  assert augment is not None
  step = jnp.zeros((), jnp.int32)
  placed, one = parallel.split(spec), parallel.shared(step)

  # The count makes each call wait for the last, as in `forward`.
  def counted(step: Array, batch: Batch) -> tuple[Array, Batch]:
    return step + 1, augment(jax.random.fold_in(jax.random.key(0), step), batch)

  made = parallel.split(jax.eval_shape(counted, step, spec)[1])
  call = parallel.compile(counted, (one, placed), (one, made))
  batch, step = parallel.put(synthetic_batch(spec), placed), parallel.put(step, one)
  compiled = compile_ahead(call, step, batch)

  def block(calls: int) -> None:
    nonlocal step
    wait, out = bound_flights(parallel), None
    for _ in range(calls):
      step, out = call(step, batch)
      wait(step)
    jax.block_until_ready((step, out))

  return Contestant('augmentation', block, 1, *compiled)


MEASUREMENTS = {'train': train, 'forward': forward, 'input': inputs, 'loop': loop, 'scan': scan}


def arguments(program: Program, source: Source) -> tuple[list[PyTree], PyTree]:
  """Of the compiled call: what each call hands on to the next, and what all are given alike."""
  state, source_state = program.init(jax.random.key(0))
  if source.on_device:
    return [state, source_state], program.data
  _, batch = source.next(source_state, state.params, source.data)
  return [state], program.parallel.put(batch, program.parallel.split(source.spec))


def bare(program: Program, carry: list[PyTree], fixed: PyTree) -> Block:
  """The compiled call and nothing else; on the same batch always, if the source is on the host."""

  def block(calls: int) -> None:
    nonlocal carry
    wait = bound_flights(program.parallel)
    for _ in range(calls):
      *carry, scalars = program.step(*carry, fixed)
      wait(scalars['nonfinite'])
    jax.block_until_ready(carry)

  return block


def looped(program: Program, source: Source, steps_per_call: int) -> Block:
  """`training.run`, begun anew for every block."""
  state, source_state = program.init(jax.random.key(0))

  def block(calls: int) -> None:
    nonlocal state, source_state
    steps = calls * steps_per_call
    for state, source_state, _ in run(  # noqa: B007
      program, source, state, source_state, steps=steps, steps_per_call=steps_per_call
    ):
      pass
    jax.block_until_ready(state)

  return block


def plain(work: Workload) -> Contestant:
  """The loop that people write: every step puts a numpy batch there and fetches a figure.

  The batch is always the same one: no time goes into making it.
  """
  source, parallel = synthetic_source(work.source.spec), work.parallel
  program = build(work.objective, work.tx, source, parallel)
  state, _ = program.init(jax.random.key(0))
  batch, placement = synthetic_batch(source.spec), parallel.split(source.spec)
  # On one device people write just that, and it is faster than to say where.
  put = jax.device_put if parallel.strategy == 'jit' else lambda x: parallel.put(x, placement)
  compiled = compile_ahead(program.step, state, put(batch))

  def block(calls: int) -> None:
    nonlocal state
    for _ in range(calls):
      state, scalars = program.step(state, put(batch))
      float(scalars['grad_norm'])

  return Contestant('plain loop', block, 1, *compiled)


def bound_flights(parallel: Parallel) -> Callable[[Array], None]:
  """Waits for old calls on several CPU devices, which hang without it; elsewhere does nothing."""
  several_cpus = parallel.mesh.size > 1 and parallel.mesh.devices.flat[0].platform == 'cpu'
  return Flights(max_in_flight(parallel)).add if several_cpus else lambda result: None


def synthetic_source(spec: PyTree) -> Source:
  """A source on the host whose batches are all the same synthetic one."""
  batch = synthetic_batch(spec)
  return Source(spec, lambda key: (), lambda state, params, data: (state, batch), on_device=False)


def synthetic_batch(spec: PyTree) -> Batch:
  """Random numpy arrays: bytes in 0 .. 255, other integers (labels) 0 or 1, floats in [0, 1)."""
  rng = np.random.default_rng(0)

  def leaf(x: Any) -> np.ndarray:
    if jnp.issubdtype(x.dtype, jnp.floating):
      return rng.random(x.shape).astype(x.dtype)
    return rng.integers(256 if x.dtype == np.uint8 else 2, size=x.shape).astype(x.dtype)

  return jax.tree.map(leaf, spec)


def batch_size(spec: PyTree) -> int:
  """Examples in a batch."""
  return jax.tree.leaves(spec)[0].shape[0]
