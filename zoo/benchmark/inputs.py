"""What comes before the model, each alone: making batches, and augmenting them on the devices."""

import jax
import jax.numpy as jnp

from zoo.benchmark.calls import bound_flights
from zoo.benchmark.compilation import Compiled, compile_ahead
from zoo.benchmark.timing import Contestant
from zoo.benchmark.workload import Workload, synthetic_batch
from zoo.training.parallel import Parallel
from zoo.types import Array, Batch, Source


def inputs(work: Workload) -> list[Contestant]:
  """What comes before the model, each alone: making batches, and augmenting them on the devices.

  'host batches' are records read, decoded and stacked to numpy arrays, nothing put on a device;
  'device batches' are indexed inside jit from arrays that are there. 'augmentation' is missing
  where there is none.
  """
  source = work.source
  found = [
    device_batches(source, work.parallel, work.warm) if source.on_device else host_batches(work)
  ]
  return found + ([augmentation(work)] if work.augment else [])


def host_batches(work: Workload) -> Contestant:
  """`next` of a source on the host, in the calling thread and those that decode."""
  source = work.source
  state = source.init(jax.random.key(0))

  def block(calls: int) -> None:
    nonlocal state
    for _ in range(calls):
      state, _ = source.next(state, None, source.data)

  return Contestant('host batches', block, 1, Compiled(), work.workers)


def device_batches(source: Source, parallel: Parallel, warm: bool = False) -> Contestant:
  """`next` of a source on the devices."""
  state = source.init(jax.random.key(0))
  placed, shared = parallel.split(state), parallel.shared(source.data)
  next_batch = lambda state, data: source.next(state, None, data)
  call = parallel.compile(next_batch, (placed, shared), (placed, parallel.split(source.spec)))
  state, data = parallel.put(state, placed), parallel.put(source.data, shared)
  compiled = compile_ahead(call, state, data, warm=warm)

  def block(calls: int) -> None:
    nonlocal state
    wait, batch = bound_flights(parallel), None
    for _ in range(calls):
      state, batch = call(state, data)
      wait(jax.tree.leaves(batch)[0])
    jax.block_until_ready(batch)

  return Contestant('device batches', block, 1, compiled)


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
  compiled = compile_ahead(call, step, batch, warm=work.warm)

  def block(calls: int) -> None:
    nonlocal step
    wait, out = bound_flights(parallel), None
    for _ in range(calls):
      step, out = call(step, batch)
      wait(step)
    jax.block_until_ready((step, out))

  return Contestant('augmentation', block, 1, compiled)
