"""The training step: one for every family. An Objective and an optax chain say what differs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from zoo.paths import named_leaves
from zoo.types import Array, Batch, Objective, PyTree, Scalars, TrainState

Step = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]


def init_state(
  objective: Objective, tx: optax.GradientTransformation, spec: PyTree, key: Array
) -> TrainState:
  """Returns the state before the first step. Call it under jit, so that no leaves share a buffer.

  Args:
    objective: what to learn.
    tx: how to update.
    spec: `jax.ShapeDtypeStruct` per leaf of a batch.
    key: typed key [].
  """
  init_key, run_key = jax.random.split(key)
  params, extras = objective.init(
    init_key, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), spec)
  )
  state = TrainState(jnp.zeros((), jnp.int32), params, extras, tx.init(params), run_key)
  # A weakly typed leaf would leave the first step strongly typed, and compile the second anew.
  return jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)


def make_train_step(
  objective: Objective,
  tx: optax.GradientTransformation,
  *,
  axis_name: str | None = None,
  skip_nonfinite: bool = False,
) -> Step:
  """Returns step: (state, batch) -> (state, scalars), pure and not yet compiled.

  Of a loss, gradients or updates that are not finite `scalars['nonfinite']` tells
  `describe_nonfinite`: look at it before saving anything. Nothing is held back unless asked for,
  since all gradients have to be known, and kept, before any is used then: twice the temporaries,
  and 1.15 times as long a step for GPT-2 124M on a CPU (1 x 256 tokens, bfloat16).

  Args:
    objective: what to learn.
    tx: how to update.
    axis_name: the mapped axis over which gradients are averaged, under pmap.
    skip_nonfinite: let a step whose loss or gradients are not finite change nothing but the count.
      One whose update is not (a learning rate out of all bounds) is not held back.
  """

  def step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
    key = jax.random.fold_in(state.key, state.step)
    if axis_name is not None:
      key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))

    grad_fn = jax.value_and_grad(objective.loss, has_aux=True)
    (loss, (extras, scalars)), grads = grad_fn(state.params, state.extras, batch, key)
    if axis_name is not None:
      loss, scalars, grads = jax.lax.pmean((loss, scalars, grads), axis_name)

    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    extras = objective.refresh(extras, params, state.step + 1)

    squares = squared_norms(grads)
    new = state.replace(params=params, extras=extras, opt_state=opt_state)
    if skip_nonfinite:
      good = jnp.isfinite(jnp.stack([loss, *squares])).all()
      new = jax.tree.map(lambda n, o: jnp.where(good, n, o), new, state)

    # 0 times what is not finite is NaN; a sum is faster than all(isfinite).
    after = [jnp.sum(x * 0) for x in jax.tree.leaves(new.params)]
    finite = jnp.isfinite(jnp.stack([loss, *squares, *after]))
    first = jnp.argmin(finite).astype(jnp.int32)
    scalars |= {
      'grad_norm': jnp.sqrt(sum(squares)),
      'nonfinite': jnp.where(finite.all(), -1, jnp.stack([state.step, first])),
    }
    for part in objective.parts:
      scalars[f'{part}_grad_norm'] = jnp.sqrt(sum(squared_norms(grads[part])))
    return new.replace(step=state.step + 1), scalars

  return step


def squared_norms(tree: PyTree) -> list[Array]:
  """The sum of squares of every leaf, in float32: finite exactly if the leaf is (and no giant)."""
  return [jnp.sum(jnp.square(jnp.abs(x.astype(jnp.float32)))) for x in jax.tree.leaves(tree)]


def describe_nonfinite(nonfinite: Array, params: PyTree) -> str | None:
  """Says in one line what was not finite, or None.

  Args:
    nonfinite: int32 [2], step and index, as the step reports it.
    params: the parameters trained, for the names of their paths.
  """
  step, index = (int(x) for x in nonfinite)
  if step < 0:
    return None
  leaves = [path for path, _ in named_leaves(params)]
  names = [
    'the loss',
    *(f'the {kind} of {path}' for kind in ('gradient', 'update') for path in leaves),
  ]
  return f'step {step}: {names[index]} is not finite'
