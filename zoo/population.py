"""Whole runs side by side: one compiled program in which every array has an axis of members.

Members differ by their seed, and so in parameters, data and everything random, and by numbers that
are leaves of their states (`SWEPT`). What all of them share is how far they are: counts are without
the axis, so that what depends on a count alone (where a replay is written, whether a target network
moves) stays one decision for all, and no scatter. Several devices take equal shares of the members,
and have nothing to tell each other.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike

from zoo.names import unknown
from zoo.optim import set_learning_rate
from zoo.platform import greatest_divisor
from zoo.training.evaluate import acting
from zoo.training.parallel import AXIS, Parallel, parallelize
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


def parallelize_members(
  strategy: str, count: int, devices: Sequence[Any] | None = None
) -> Parallel:
  """Chooses devices for runs side by side: of each an equal share.

  Args:
    strategy: 'jit' for one device, 'sharded' for all, 'auto' for as many as divide the runs.
    count: runs.
    devices: all by default.

  Raises:
    ValueError: another strategy, devices that do not divide the runs, or several processes.
  """
  if jax.process_count() > 1:
    raise ValueError('runs side by side are for one process: --config.train.seeds=1 and no sweep')
  devices = list(jax.devices() if devices is None else devices)
  if strategy == 'pmap':
    raise ValueError(
      'pmap divides batches, and runs side by side are divided themselves: '
      '--config.train.parallel=sharded, jit or auto'
    )
  if strategy == 'auto':
    devices = devices[: greatest_divisor(count, len(devices))]
    strategy = 'sharded' if len(devices) > 1 else 'jit'
  if strategy == 'sharded' and count % len(devices):
    raise ValueError(f'{count} runs side by side cannot be divided among {len(devices)} devices')
  return parallelize(strategy, devices)


def build_population(
  objective: Objective,
  tx: optax.GradientTransformation,
  source: Source,
  parallel: Parallel,
  members: Sequence[Member],
  steps_per_call: int = 1,
  skip_nonfinite: bool = False,
) -> Program:
  """Joins objective, optimiser and source into one program for all members.

  It is as `training.build` makes it, but that every leaf has a leading axis of members, save
  counts. The key that `init` takes is of no use: members have their seeds. Scalars are means over
  the members, and 'nonfinite' tells of the first that met something not finite.

  Args:
    objective: what to learn.
    tx: how to update.
    source: what to learn from, on the device; its integers without axes are counts, and do not
      depend on the seed.
    parallel: see `parallelize_members`.
    members: at least one.
    steps_per_call: steps in one dispatch.
    skip_nonfinite: see `make_train_step`.

  Raises:
    ValueError: a source on the host.
  """
  if not source.on_device:
    raise ValueError('only sources on the device can be run for several seeds at once')

  def init_one(key: Array) -> tuple[TrainState, PyTree]:
    return init_state(objective, tx, source.spec, key), source.init(key)

  one = jax.eval_shape(init_one, jax.eval_shape(lambda: jax.random.key(0)))
  of_state, of_source = jax.tree.map(axis, one)
  step = make_train_step(objective, tx, skip_nonfinite=skip_nonfinite)
  run = map_members(
    scan_steps(step, source, steps_per_call),
    parallel,
    (of_state, of_source, None),
    (of_state, of_source, 0),
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
  placed = parallel.split(abstract)
  data = parallel.put(source.data, parallel.shared(source.data))
  compiled = parallel.compile(
    run_all,
    (*placed, parallel.shared(source.data)),
    (*placed, parallel.everywhere),
    donate=(0, 1),
  )
  start = jax.jit(init, out_shardings=jax.tree.map(lambda p: p.sharding, placed))
  of_sharding = lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p.sharding)
  abstract = jax.tree.map(of_sharding, abstract, placed)
  return Program(parallel, start, compiled, placed[0], placed[1], data, abstract)


def map_members(
  one: Callable[..., Any], parallel: Parallel, in_axes: tuple, out_axes: PyTree
) -> Callable[..., Any]:
  """What maps over the members of each device. Axes, 0 or None, are as those of `jax.vmap`."""
  mapped = jax.vmap(one, in_axes, out_axes)
  if parallel.mesh.size == 1:
    return mapped

  def specs(axes: PyTree) -> PyTree:
    spec = lambda axis: PartitionSpec() if axis is None else PartitionSpec(AXIS)
    return jax.tree.map(spec, axes, is_leaf=lambda axis: axis is None)

  return jax.shard_map(
    mapped, mesh=parallel.mesh, in_specs=specs(in_axes), out_specs=specs(out_axes), check_vma=False
  )


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


def change_each(change: Callable[[PyTree], PyTree], tree: PyTree, count: int) -> PyTree:
  """What `change` makes of every member's part of a tree on the host, `count` of them, stacked.

  Counts stay without an axis, and a single run has none: it is changed as it is.
  """
  if count == 1:
    return change(tree)
  changed = [change(member(tree, index)) for index in range(count)]
  stack = lambda old, *new: np.stack(new) if old.ndim else new[0]
  return jax.tree.map(stack, tree, *changed)


def member_on(tree: PyTree, index: int, parallel: Parallel) -> PyTree:
  """One of the runs, on the devices of `parallel`."""
  return jax.device_put(member(tree, index), parallel.everywhere.sharding)


def evaluate_population(
  objective: Objective, source: Source, parallel: Parallel
) -> Callable[[TrainState], list[dict[str, float]]]:
  """Returns (state) -> the figures of every member over one pass of a source, compiled once.

  Raises:
    ValueError: an endless source, or one on the host.
  """
  if source.num_batches is None or not source.on_device:
    raise ValueError('evaluation of several seeds needs a source on the device that ends')
  batches = range(source.num_batches)
  data = parallel.put(source.data, parallel.shared(source.data))

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
    return map_members(one, parallel, (axes, None), 0)(state, data)

  def figures(state: TrainState) -> list[dict[str, float]]:
    sums = jax.device_get(of_all(state, data))
    return [member(sums, index).compute() for index in range(len(state.key))]

  return figures


def axis(leaf: Any) -> int | None:
  """Where the members will be: nowhere for counts, which they share."""
  return None if leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.integer) else 0
