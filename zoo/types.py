"""The central types. All that the zoo trains is made of these; this file imports nothing of ours.

An `Objective` says what to learn, a `Source` what to learn from, an optax `GradientTransformation`
how to update; `TrainState` is what changes. `zoo/training/step.py` joins them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import flax.struct
import jax
import optax

Array = jax.Array
PyTree = Any
Batch = PyTree  # examples stacked along the leading axis of every leaf; usually a dict
Scalars = dict[str, Array]


class TrainState(flax.struct.PyTreeNode):
  """All that a training step changes.

  Attributes:
    step: int32 [], the number of steps taken.
    params: what the optimiser trains.
    extras: what is saved but not trained: batch statistics, an average, a target network.
    opt_state: the state of the optax transformation.
    key: typed key [], constant for the whole run; the step folds `step` into it.
  """

  step: Array
  params: PyTree
  extras: PyTree
  opt_state: optax.OptState
  key: Array


class Metrics(Protocol):
  """Sums over examples, as a pytree: two are merged by adding them leaf by leaf.

  So that a split may be evaluated in any number of batches, on any number of devices, with the same
  result. A count is an integer leaf, exact up to 2^31.
  """

  def compute(self) -> dict[str, float]:
    """Turns the sums into named figures, on the host."""
    ...


def keep(extras: PyTree, params: PyTree, step: Array) -> PyTree:
  """The `refresh` of an objective whose extras change in the loss alone, or never."""
  del params, step
  return extras


def as_trained(params: PyTree, extras: PyTree) -> PyTree:
  """The `variables` of an objective whose extras are collections of its module, or nothing."""
  return {'params': params, **extras}


def parted(variables: PyTree) -> tuple[PyTree, PyTree]:
  """What a module was initialised with, as (params, extras): undoes `as_trained`."""
  return variables['params'], {name: x for name, x in variables.items() if name != 'params'}


def as_variables(params: PyTree, extras: PyTree, variables: PyTree) -> tuple[PyTree, PyTree]:
  """The `adopt` of an objective that trains all parameters of its module."""
  del params
  params, others = parted(variables)
  return params, {**extras, **others}


class Objective(NamedTuple):
  """What to learn, as pure functions.

  Attributes:
    init: (key, batch) -> (params, extras). Runs under jit, on a batch of zeros.
    loss: (params, extras, batch, key) -> (scalar, (extras, scalars)). The scalar is what is
      differentiated, and a mean over examples; `scalars` are means too, for the log. Under a mapped
      axis the step averages scalar and scalars, but extras must come out alike on every device.
    evaluate: (params, extras, batch, key) -> Metrics. `batch['weight']`, where there is one, is 0
      for the padding of a short last batch.
    refresh: (extras, new_params, step) -> extras, after the update: a target network, an average.
    predict: (params, extras, batch) -> what the trained model says of a batch (logits, a picture).
    variables: (params, extras) -> what the module is applied to where the model is used, as in
      evaluation: an average in place of the parameters, adapters merged into them.
    adopt: (params, extras, variables) -> (params, extras), of a fresh state: so that `variables`
      then gives these. For what was trained before.
    parts: entries of the parameters that are networks of their own: the step reports the norm of
      the gradient of each.
  """

  init: Callable[[Array, Batch], tuple[PyTree, PyTree]]
  loss: Callable[[PyTree, PyTree, Batch, Array], tuple[Array, tuple[PyTree, Scalars]]]
  evaluate: Callable[[PyTree, PyTree, Batch, Array], Metrics]
  refresh: Callable[[PyTree, PyTree, Array], PyTree] = keep
  predict: Callable[[PyTree, PyTree, Batch], PyTree] | None = None
  variables: Callable[[PyTree, PyTree], PyTree] = as_trained
  adopt: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]] = as_variables
  parts: tuple[str, ...] = ()


class Source(NamedTuple):
  """What to learn from, as pure functions: a dataset, or an environment with its replay.

  The state of a source on the device is split over the devices along the leading axis of every leaf
  that has one; a leaf without axes is shared. So the state, and a checkpoint of it, is the same on
  any number of devices.

  Attributes:
    spec: `jax.ShapeDtypeStruct` per leaf of a whole batch, so that initialisation draws no data.
    init: (key) -> source_state, which is saved with the checkpoint.
    next: (source_state, params, data) -> (source_state, batch).
    on_device: whether `next` may be traced. If so the loop scans (next, step) in one dispatch, and
      inside pmap `next` sees one device's share of the state and makes its share of the batch.
    data: arrays that `next` reads and never writes, placed on the devices once. They are an
      argument because an array that a jitted function closes over is compiled into the program:
      150 MB of it took 5 s.
    num_batches: batches in one pass for a source that ends (evaluation), None for an endless one.
    acts: whether `next` acts by the parameters that it is given. On the host such a source is not
      asked for batches ahead, since the parameters to act by are not there yet; and its `init` is
      jitted and steps no environment, so that `jax.eval_shape` of it says what a checkpoint holds.
  """

  spec: PyTree
  init: Callable[[Array], PyTree]
  next: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, Batch]]
  on_device: bool
  data: PyTree = ()
  num_batches: int | None = None
  acts: bool = False
