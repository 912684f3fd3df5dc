"""The examples of a split, and what a model says of them, on the host."""

from collections.abc import Callable

import jax
import numpy as np

from zoo.training.parallel import Parallel
from zoo.types import Batch, Objective, PyTree, Source, TrainState


def make_predict(
  objective: Objective, source: Source, parallel: Parallel, state: PyTree, limit: int = 10_000
) -> Callable[[TrainState], tuple[Batch, PyTree]]:
  """Returns (state) -> (examples, predictions), numpy, stacked in order and without padding.

  Args:
    objective: whose `predict` to call.
    source: one with `num_batches` and a 'weight', which is 0 for padding.
    parallel: on which devices.
    state: the placement of the train state, from `program.build`.
    limit: no more than about this many examples are looked at.
  """
  if objective.predict is None or source.num_batches is None:
    raise ValueError('predictions need an objective with predict and a source that ends')
  predict = objective.predict
  batch_placement = parallel.split(source.spec)
  size = jax.tree.leaves(source.spec)[0].shape[0]
  each = parallel.split(jax.ShapeDtypeStruct((size,), np.float32))  # one row per example
  num_batches = min(source.num_batches, -(-limit // size))
  call = parallel.compile(
    lambda state, batch: predict(state.params, state.extras, batch), (state, batch_placement), each
  )
  draw = jax.jit(source.next) if source.on_device else source.next

  def over_split(train_state: TrainState) -> tuple[Batch, PyTree]:
    source_state, rows = source.init(train_state.key), []
    for _ in range(num_batches):
      source_state, batch = draw(source_state, None, source.data)
      batch = jax.device_get(batch)
      outputs = call(train_state, parallel.put(batch, batch_placement))
      outputs = jax.device_get(parallel.merge(outputs, jax.tree.map(lambda _: each, outputs)))
      kept = batch['weight'] > 0
      rows.append(jax.tree.map(lambda x: x[kept], (batch, outputs)))  # noqa: B023
    return jax.tree.map(lambda *x: np.concatenate(x), *rows)

  return over_split


def examples_of(source: Source, limit: int) -> dict[str, np.ndarray]:
  """The first examples of a source of one pass, stacked in order and without padding.

  Args:
    source: one with `num_batches`, whose batches are dicts.
    limit: no more than this many.
  """
  draw = jax.jit(source.next) if source.on_device else source.next
  state, rows, count = source.init(jax.random.key(0)), [], 0
  for _ in range(source.num_batches or 0):
    state, batch = draw(state, None, source.data)
    batch = jax.device_get(batch)
    real = batch['weight'] > 0 if 'weight' in batch else slice(None)
    rows.append({name: x[real] for name, x in batch.items()})
    count += len(next(iter(rows[-1].values())))
    if count >= limit:
      break
  return {name: np.concatenate([row[name] for row in rows])[:limit] for name in rows[0]}
