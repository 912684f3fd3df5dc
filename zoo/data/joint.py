"""Batches of several parts, each drawn from a source of its own: labelled examples and others."""

from collections.abc import Callable, Mapping

import jax

from zoo.types import Array, Batch, PyTree, Source


def join(sources: Mapping[str, Source]) -> Source:
  """An endless source whose batches are {name: batch of that source}.

  Spec, state and data are dicts by the same names. The parts may differ in size, and each is split
  over the devices by itself.

  Args:
    sources: endless, and all on the device or all on the host.

  Raises:
    ValueError: sources that end, or of both kinds.
  """
  if any(source.num_batches is not None for source in sources.values()):
    raise ValueError('only endless sources can be joined')
  if len({source.on_device for source in sources.values()}) != 1:
    raise ValueError('sources on the device and on the host cannot be joined')
  names = sorted(sources)  # so that what is drawn does not depend on the order of a dict

  def init(key: Array) -> PyTree:
    return {name: sources[name].init(jax.random.fold_in(key, i)) for i, name in enumerate(names)}

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    drawn = {name: sources[name].next(state[name], params, data[name]) for name in names}
    return {name: x[0] for name, x in drawn.items()}, {name: x[1] for name, x in drawn.items()}

  return Source(
    {name: sources[name].spec for name in names},
    init,
    next_batch,
    on_device=sources[names[0]].on_device,
    data={name: sources[name].data for name in names},
  )


def of_parts(fn: Callable[[Batch], Batch]) -> Callable[[Batch], Batch]:
  """Makes of fn: batch -> batch a function that, of a batch of parts, changes each part alike."""

  def apply(batch: Batch) -> Batch:
    if all(isinstance(part, Mapping) for part in batch.values()):
      return {name: fn(part) for name, part in batch.items()}
    return fn(batch)

  return apply
