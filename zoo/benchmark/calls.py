"""Blocks of calls: the compiled step alone, and in a loop."""

from collections.abc import Callable

import jax

from zoo.benchmark.timing import Block
from zoo.training.loop import Flights, max_in_flight, run
from zoo.training.parallel import Parallel
from zoo.training.program import Program
from zoo.types import Array, PyTree, Source


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


def bound_flights(parallel: Parallel) -> Callable[[Array], None]:
  """Waits for old calls on several CPU devices, which hang without it; elsewhere does nothing."""
  several_cpus = parallel.mesh.size > 1 and parallel.mesh.devices.flat[0].platform == 'cpu'
  return Flights(max_in_flight(parallel)).add if several_cpus else lambda result: None
