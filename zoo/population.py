"""Whole runs side by side: one compiled program in which every array has an axis of members.

Members differ by their seed, and so in parameters, data and everything random. What all of them
share is how far they are: counts are without the axis, so that what depends on a count alone (where
a replay is written, whether a target network moves) stays one decision for all, and no scatter.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zoo.training.program import scan_steps
from zoo.training.step import init_state, make_train_step
from zoo.types import Array, Objective, PyTree, Scalars, Source, TrainState


class Population(NamedTuple):
  """Runs of several seeds as two compiled functions.

  Attributes:
    init: (keys [N]) -> (state, source_state), each leaf [N, ...] but for counts.
    step: (state, source_state, data) -> (state, source_state, scalars [N]); donates its state.
    evaluate: (source of evaluation) -> (state) -> mergeable metrics, each leaf [N, ...].
  """

  init: Callable[[Array], tuple[TrainState, PyTree]]
  step: Callable[[TrainState, PyTree, PyTree], tuple[TrainState, PyTree, Scalars]]
  evaluate: Callable[[Source], Callable[[TrainState], PyTree]]


def build_population(
  objective: Objective,
  tx: optax.GradientTransformation,
  source: Source,
  steps_per_call: int = 1,
) -> Population:
  """Joins objective, optimiser and source, on one device, for several seeds at once.

  Args:
    objective: what to learn.
    tx: how to update.
    source: what to learn from, on the device; its integers without axes are counts, and do not
      depend on the seed.
    steps_per_call: steps in one dispatch.

  Raises:
    ValueError: a source on the host.
  """
  if not source.on_device:
    raise ValueError('only sources on the device can be run for several seeds at once')

  def init(key: Array) -> tuple[TrainState, PyTree]:
    return init_state(objective, tx, source.spec, key), source.init(key)

  states = jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0)))
  of_state, of_source = jax.tree.map(axis, states)
  step = make_train_step(objective, tx)
  run = jax.vmap(
    scan_steps(step, source, steps_per_call), (of_state, of_source, None), (of_state, of_source, 0)
  )

  def evaluate(split: Source) -> Callable[[TrainState], PyTree]:
    if split.num_batches is None:
      raise ValueError('evaluation needs a source that ends; this one has no num_batches')
    batches, data = range(split.num_batches), jax.device_put(split.data)

    def one(state: TrainState, data: PyTree) -> PyTree:
      source_state, sums = split.init(state.key), None
      for index in batches:
        source_state, batch = split.next(source_state, state.params, data)
        key = jax.random.fold_in(state.key, index)
        new = objective.evaluate(state.params, state.extras, batch, key)
        sums = new if sums is None else jax.tree.map(jnp.add, sums, new)
      return sums

    call = jax.jit(jax.vmap(one, (of_state, None)))
    return lambda state: call(state, data)

  return Population(
    jax.jit(jax.vmap(init, out_axes=(of_state, of_source))),
    jax.jit(run, donate_argnums=(0, 1)),
    evaluate,
  )


def axis(leaf: Any) -> int | None:
  """Where the members are: None for counts, which they share."""
  return None if leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer) else 0


def member(tree: PyTree, index: int) -> PyTree:
  """One of the runs, as it would be by itself."""

  def of(leaf: Any) -> Any:
    # A count has no axis in a member, and none here.
    return leaf if axis(leaf) is None else leaf[index]

  return jax.tree.map(of, tree)


def figures_of(metrics: PyTree, size: int) -> list[dict[str, float]]:
  """The figures of every member, from metrics with an axis of members."""
  metrics = jax.device_get(metrics)
  one = lambda index: jax.tree.map(lambda leaf: leaf[index], metrics)
  return [one(index).compute() for index in range(size)]


def train_population(
  population: Population, source: Source, seeds: Sequence[int], steps: int, steps_per_call: int
) -> Iterator[tuple[int, TrainState, PyTree, Scalars]]:
  """Yields (steps done, state, source_state, scalars) after every call.

  Args:
    population: from `build_population`.
    source: the one it was built from.
    seeds: one for each member, as `train.seed` of a run by itself.
    steps: to do.
    steps_per_call: as it was built for.
  """
  keys = jnp.stack([jax.random.key(seed) for seed in seeds])
  state, source_state = population.init(keys)
  data = jax.device_put(source.data)
  for done in range(steps_per_call, steps + 1, steps_per_call):
    state, source_state, scalars = population.step(state, source_state, data)
    yield done, state, source_state, scalars
