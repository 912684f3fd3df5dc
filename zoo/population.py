"""Whole runs side by side: one compiled program in which every array has an axis of members.

Members differ by their seed, and so in parameters, data and everything random, and by numbers that
are leaves of their states (`SWEPT`). What all of them share is how far they are: counts are without
the axis, so that what depends on a count alone (where a replay is written, whether a target network
moves) stays one decision for all, and no scatter.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from zoo.names import unknown
from zoo.optim import set_learning_rate
from zoo.training.evaluate import acting
from zoo.training.parallel import Parallel
from zoo.training.program import Program, scan_steps
from zoo.training.step import init_state, make_train_step
from zoo.types import Array, Objective, PyTree, Scalars, Source, TrainState


class Member(NamedTuple):
  """What tells a run from the others.

  Attributes:
    seed: its `train.seed`.
    swept: values of options, by their names in the config.
  """

  seed: int
  swept: dict[str, float]

  def __str__(self) -> str:
    return ' '.join([*(f'{name}={x:g}' for name, x in self.swept.items()), f'seed={self.seed}'])


def members_of(seed: int, seeds: int, sweep: Mapping[str, Sequence[float]]) -> list[Member]:
  """Every combination of the values, each under every seed from `seed` on.

  Raises:
    ValueError: an option whose values cannot be side by side, or values that are no numbers.
  """
  for name, values in sweep.items():
    if name not in SWEPT:
      raise unknown('option to sweep', name, SWEPT)
    if not values or not all(isinstance(x, int | float) for x in values):
      raise ValueError(f'--sweep.{name} must be numbers, one after a comma, not {values!r}')
  combinations = itertools.product(*sweep.values())
  return [
    Member(seed + i, dict(zip(sweep, map(float, values), strict=True)))
    for values in combinations
    for i in range(seeds)
  ]


def build_population(
  objective: Objective,
  tx: optax.GradientTransformation,
  source: Source,
  parallel: Parallel,
  members: Sequence[Member],
  steps_per_call: int = 1,
  skip_nonfinite: bool = False,
) -> Program:
  """Joins objective, optimiser and source into one program for all members, on one device.

  It is as `training.build` makes it, but that every leaf has a leading axis of members, save
  counts. The key that `init` takes is of no use: members have their seeds. Scalars are means over
  the members, and 'nonfinite' tells of the first that met something not finite.

  Args:
    objective: what to learn.
    tx: how to update.
    source: what to learn from, on the device; its integers without axes are counts, and do not
      depend on the seed.
    parallel: 'jit'.
    members: at least one.
    steps_per_call: steps in one dispatch.
    skip_nonfinite: see `make_train_step`.

  Raises:
    ValueError: a source on the host, or another strategy.
  """
  if not source.on_device:
    raise ValueError('only sources on the device can be run for several seeds at once')
  if parallel.strategy != 'jit':
    raise ValueError(
      f'several seeds at once run on one device: --config.train.parallel=jit, not '
      f'{parallel.strategy}'
    )

  def init_one(key: Array) -> tuple[TrainState, PyTree]:
    return init_state(objective, tx, source.spec, key), source.init(key)

  one = jax.eval_shape(init_one, jax.eval_shape(lambda: jax.random.key(0)))
  of_state, of_source = jax.tree.map(axis, one)
  step = make_train_step(objective, tx, skip_nonfinite=skip_nonfinite)
  run = jax.vmap(
    scan_steps(step, source, steps_per_call), (of_state, of_source, None), (of_state, of_source, 0)
  )

  def init(key: Array) -> tuple[TrainState, PyTree]:
    del key
    keys = jnp.stack([jax.random.key(member.seed) for member in members])
    return apart(*jax.vmap(init_one, out_axes=(of_state, of_source))(keys), members)

  def run_all(
    state: TrainState, source_state: PyTree, data: PyTree
  ) -> tuple[TrainState, PyTree, Scalars]:
    state, source_state, scalars = run(state, source_state, data)
    found = scalars.pop('nonfinite')
    scalars = {name: jnp.mean(x, axis=0) for name, x in scalars.items()}
    scalars['nonfinite'] = found[jnp.argmax(found[:, 0] >= 0)]
    return state, source_state, scalars

  abstract = jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0)))
  placed = parallel.shared(abstract)
  data = parallel.put(source.data, parallel.shared(source.data))
  compiled = parallel.compile(
    run_all,
    (*placed, parallel.shared(source.data)),
    (*placed, parallel.shared(jax.ShapeDtypeStruct((), jnp.int32))),
    donate=(0, 1),
  )
  start = jax.jit(init, out_shardings=jax.tree.map(lambda p: p.sharding, placed))
  of_sharding = lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p.sharding)
  abstract = jax.tree.map(of_sharding, abstract, placed)
  return Program(parallel, start, compiled, placed[0], placed[1], data, abstract)


def apart(
  state: TrainState, source_state: PyTree, members: Sequence[Member]
) -> tuple[TrainState, PyTree]:
  """Gives every member the values of its own that are swept."""
  for name in members[0].swept:
    values = jnp.array([member.swept[name] for member in members], jnp.float32)
    state, source_state = SWEPT[name](state, source_state, values)
  return state, source_state


def of_learning_rate(
  state: TrainState, source_state: PyTree, values: ArrayLike
) -> tuple[TrainState, PyTree]:
  return state.replace(opt_state=set_learning_rate(state.opt_state, values)), source_state


def of_epsilon(
  state: TrainState, source_state: PyTree, values: ArrayLike
) -> tuple[TrainState, PyTree]:
  if not isinstance(source_state, dict) or 'epsilon_end' not in source_state:
    raise ValueError('--sweep.data.epsilon_end is for what acts: this source does not')
  # A copy, placed and typed as the old one: see `set_learning_rate`.
  share = jnp.array(jnp.full_like(source_state['epsilon_end'], values))
  return state, source_state | {'epsilon_end': share}


# Options that are leaves of the states, so that their values can be side by side.
SWEPT: dict[str, Callable[[TrainState, PyTree, ArrayLike], tuple[TrainState, PyTree]]] = {
  'data.epsilon_end': of_epsilon,
  'optimizer.learning_rate': of_learning_rate,
}


def reconfigure(
  state: TrainState, source_state: PyTree, config: Mapping[str, Any]
) -> tuple[TrainState, PyTree]:
  """Gives what was restored, of one run or several, the values of a config that names them."""
  for name, change in SWEPT.items():
    section, option = name.split('.')
    if option in config[section]:
      state, source_state = change(state, source_state, config[section][option])
  return state, source_state


def member(tree: PyTree, index: int) -> PyTree:
  """One of the runs, as it would be by itself: counts have no axis, here or there."""
  return jax.tree.map(lambda leaf: leaf[index] if leaf.ndim else leaf, tree)


def evaluate_population(
  objective: Objective, source: Source
) -> Callable[[TrainState], list[dict[str, float]]]:
  """Returns (state) -> the figures of every member over one pass of a source, compiled once.

  Raises:
    ValueError: an endless source, or one on the host.
  """
  if source.num_batches is None or not source.on_device:
    raise ValueError('evaluation of several seeds needs a source on the device that ends')
  batches, data = range(source.num_batches), jax.device_put(source.data)

  def one(state: TrainState, data: PyTree) -> PyTree:
    source_state, sums = source.init(state.key), None
    used = acting(objective, source, state)
    for index in batches:
      source_state, batch = source.next(source_state, used, data)
      key = jax.random.fold_in(state.key, index)
      new = objective.evaluate(state.params, state.extras, batch, key)
      sums = new if sums is None else jax.tree.map(jnp.add, sums, new)
    return sums

  @jax.jit
  def of_all(state: TrainState, data: PyTree) -> PyTree:
    axes = jax.tree.map(lambda leaf: 0 if leaf.ndim else None, state)
    return jax.vmap(one, (axes, None))(state, data)

  def figures(state: TrainState) -> list[dict[str, float]]:
    sums = jax.device_get(of_all(state, data))
    return [member(sums, index).compute() for index in range(len(state.key))]

  return figures


def axis(leaf: Any) -> int | None:
  """Where the members will be: nowhere for counts, which they share."""
  return None if leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer) else 0
