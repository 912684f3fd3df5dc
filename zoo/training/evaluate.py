"""Evaluation of a whole split: every example counts once, also when the last batch is short."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo.training.parallel import AXIS, Parallel
from zoo.training.prefetch import prefetched
from zoo.types import Array, Batch, Metrics, Objective, PyTree, Source, TrainState

Evaluate = Callable[[TrainState], dict[str, float]]


def acting(objective: Objective, source: Source, state: TrainState) -> PyTree:
  """The parameters that a source acts by to be judged: those that are used, such as an average."""
  if not source.acts:
    return state.params  # which it does not look at
  return objective.variables(state.params, state.extras)['params']


def make_evaluate(
  objective: Objective, source: Source, parallel: Parallel, state: PyTree
) -> Evaluate:
  """Returns (state) -> figures over one pass of a source. Compiled on its first call, once.

  The metrics are sums, added over batches and devices; padding weighs nothing. So the figures do
  not depend on batch size or strategy (but for the rounding of float sums).

  Args:
    objective: whose `evaluate` to call.
    source: one with `num_batches`.
    parallel: on which devices.
    state: the placement of the train state, from `program.build`.

  Raises:
    ValueError: an endless source, or a batch that does not divide.
  """
  if source.num_batches is None:
    raise ValueError('evaluation needs a source that ends; this one has no num_batches')
  num_batches = source.num_batches
  one = parallel.everywhere
  batch_placement = parallel.split(source.spec)

  def total(metrics: Metrics) -> Metrics:
    return metrics if parallel.axis_name is None else jax.lax.psum(metrics, AXIS)

  def on_batch(state: TrainState, batch: Batch, index: Array) -> Metrics:
    key = jax.random.fold_in(state.key, index)
    if parallel.axis_name is not None:
      key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
    return objective.evaluate(state.params, state.extras, batch, key)

  if not source.on_device:
    # The sums are carried from call to call, so that no batch is waited for.
    call = parallel.compile(
      lambda state, batch, index, sums: jax.tree.map(
        jnp.add, sums, total(on_batch(state, batch, index))
      ),
      (state, batch_placement, one, one),
      one,
      donate=(3,),
    )

    def over_host(train_state: TrainState) -> dict[str, float]:
      shapes = jax.eval_shape(
        objective.evaluate, train_state.params, train_state.extras, source.spec, train_state.key
      )
      sums = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
      sums = parallel.put(sums, parallel.shared(sums))
      start = source.init(train_state.key)
      place = lambda batch: parallel.put(batch, batch_placement)
      used = acting(objective, source, train_state)
      batches = prefetched(source, start, num_batches, place, 2, used)
      for index, (_, batch) in enumerate(batches):
        sums = call(train_state, batch, jnp.int32(index), sums)
      return jax.device_get(sums).compute()

    return over_host

  init = jax.jit(source.init)
  placed = parallel.split(jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0))))
  data = parallel.put(source.data, parallel.shared(source.data))

  def over_all(state: TrainState, source_state: PyTree, data: PyTree) -> Metrics:
    used = acting(objective, source, state)

    def add(carry: tuple[PyTree, Metrics], index: Array) -> tuple[tuple[PyTree, Metrics], None]:
      source_state, sums = carry
      source_state, batch = source.next(source_state, used, data)
      return (source_state, jax.tree.map(jnp.add, sums, on_batch(state, batch, index))), None

    source_state, batch = source.next(source_state, used, data)
    first = on_batch(state, batch, jnp.int32(0))
    (_, sums), _ = jax.lax.scan(add, (source_state, first), jnp.arange(1, num_batches))
    return total(sums)

  call = parallel.compile(over_all, (state, placed, parallel.shared(source.data)), one)

  def over_device(train_state: TrainState) -> dict[str, float]:
    start = parallel.put(init(train_state.key), placed)
    return jax.device_get(call(train_state, start, data)).compute()

  return over_device
