"""Objective, optimiser and source, joined into one compiled program."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from zoo.training.parallel import Parallel
from zoo.training.step import Step, init_state, make_train_step
from zoo.types import Array, Objective, PyTree, Scalars, Source, TrainState


class Program(NamedTuple):
  """An objective, an optimiser and a source, placed on devices and ready to run.

  Attributes:
    parallel: the devices and how they are used.
    init: (key) -> (state, source_state), on the devices.
    step: the compiled call: (state, source_state, data) -> (state, source_state, scalars) for a
      source on the device, (state, batch) -> (state, scalars) for one on the host. It donates its
      state.
    state: a Placement per leaf of the state.
    source_state: a Placement per leaf of the source's state, or None for a source on the host.
    data: the source's arrays, on the devices.
    abstract: ShapeDtypeStructs of what `init` returns, as saved: what a checkpoint is restored to.
  """

  parallel: Parallel
  init: Callable[[Array], tuple[TrainState, PyTree]]
  step: Callable
  state: PyTree
  source_state: PyTree
  data: PyTree
  abstract: tuple[TrainState, PyTree]

  def place_source(self, source_state: PyTree) -> PyTree:
    """Puts the state of a source, as a checkpoint holds it, where it is used."""
    on_host = self.source_state is None
    return source_state if on_host else self.parallel.put(source_state, self.source_state)

  def merge_source(self, source_state: PyTree) -> PyTree:
    """Undoes `place_source`: the same shapes under every strategy."""
    on_host = self.source_state is None
    return source_state if on_host else self.parallel.merge(source_state, self.source_state)


def build(
  objective: Objective,
  tx: optax.GradientTransformation,
  source: Source,
  parallel: Parallel,
  steps_per_call: int = 1,
  skip_nonfinite: bool = False,
) -> Program:
  """Joins objective, optimiser and source into one program, compiled when it is first called.

  Args:
    objective: what to learn; under pmap built with `axis_name=parallel.axis_name`.
    tx: how to update.
    source: what to learn from.
    parallel: on which devices.
    steps_per_call: steps in one dispatch, by `lax.scan`; more than 1 needs a source on the device.
    skip_nonfinite: see `make_train_step`.

  Raises:
    ValueError: the batch does not divide, or several steps were asked of a source on the host.
  """
  if steps_per_call > 1 and not source.on_device:
    raise ValueError(
      f'steps_per_call={steps_per_call} needs a source on the device, this one is on the host'
    )
  step = make_train_step(objective, tx, axis_name=parallel.axis_name, skip_nonfinite=skip_nonfinite)

  def init(key: Array) -> TrainState:
    return init_state(objective, tx, source.spec, key)

  key = jax.eval_shape(lambda: jax.random.key(0))
  abstract_state = jax.eval_shape(init, key)
  state = parallel.shared(abstract_state)
  init_on_devices = jax.jit(init, out_shardings=jax.tree.map(lambda p: p.sharding, state))
  batch = parallel.split(source.spec)
  abstract_state = jax.tree.map(
    lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p.sharding), abstract_state, state
  )

  if not source.on_device:
    compiled = parallel.compile(step, (state, batch), (state, parallel.everywhere), donate=(0,))
    host = lambda key: (init_on_devices(key), source.init(key))
    held = jax.eval_shape(source.init, key) if source.acts else source.init(jax.random.key(0))
    return Program(parallel, host, compiled, state, None, (), (abstract_state, held))

  abstract_source = jax.eval_shape(source.init, key)
  placed = parallel.split(abstract_source)
  data = parallel.put(source.data, parallel.shared(source.data))
  compiled = parallel.compile(
    scan_steps(step, source, steps_per_call),
    (state, placed, parallel.shared(source.data)),
    (state, placed, parallel.everywhere),
    donate=(0, 1),
  )

  def device(key: Array) -> tuple[TrainState, PyTree]:
    return init_on_devices(key), parallel.put(jax.jit(source.init)(key), placed)

  return Program(parallel, device, compiled, state, placed, data, (abstract_state, abstract_source))


def scan_steps(step: Step, source: Source, length: int) -> Callable:
  """Returns (state, source_state, data) -> (state, source_state, last scalars), `length` steps."""

  def one(
    carry: tuple[TrainState, PyTree], data: PyTree
  ) -> tuple[tuple[TrainState, PyTree], Scalars]:
    state, source_state = carry
    source_state, batch = source.next(source_state, state.params, data)
    state, scalars = step(state, batch)
    return (state, source_state), scalars

  def run(
    state: TrainState, source_state: PyTree, data: PyTree
  ) -> tuple[TrainState, PyTree, Scalars]:
    if length == 1:
      (state, source_state), scalars = one((state, source_state), data)
      return state, source_state, scalars
    (state, source_state), scalars = jax.lax.scan(
      lambda carry, _: one(carry, data), (state, source_state), length=length
    )
    last = jax.tree.map(lambda x: x[-1], scalars)
    nonfinite = scalars['nonfinite']  # int32 [length, 2]: report the first of the call
    last['nonfinite'] = nonfinite[jnp.argmax(nonfinite[:, 0] >= 0)]
    return state, source_state, last

  return run
