"""Whether jit, pmap and sharded train alike: the same batches, the same parameters afterwards."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.benchmark.workload import Workload, synthetic_batch, synthetic_source
from zoo.paths import named_leaves
from zoo.training.program import build
from zoo.training.step import make_train_step
from zoo.types import PyTree, TrainState

LEARNING_RATE = 0.01  # of SGD: Adam would hide a gradient that is several times too large
TOLERANCE = 1e-3  # of how far a parameter has moved: float32, summed in another order, gives 1e-5
STRATEGIES = ('jit', 'pmap', 'sharded')


class Trained(NamedTuple):
  """Parameters before and after, float32 losses [steps], and how often the loss was traced."""

  before: PyTree
  after: PyTree
  losses: np.ndarray
  traces: int


class Verdict(NamedTuple):
  """How a strategy compares.

  Attributes:
    strategy: which.
    against: what it is compared with.
    agrees: whether parameters and losses are the same to TOLERANCE, or parameters to `noise`.
    error: the largest difference of a parameter, as a share of how far that array has moved (or a
      thousandth of what moved most, if that is more).
    where: the array with it.
    loss_error: the largest difference of a loss, relative.
    traces: how often the step was compiled: once, or something is wrong.
    noise: the error that comes of it alone that parameters start a rounding away.
  """

  strategy: str
  against: str
  agrees: bool
  error: float
  where: str
  loss_error: float
  traces: int
  noise: float

  def __str__(self) -> str:
    verdict = 'agrees with' if self.agrees else 'DIFFERS from'
    times = '1 compilation' if self.traces == 1 else f'{self.traces} COMPILATIONS'
    worst = f'parameters {self.error:.1e} of their way ({self.where}), losses {self.loss_error:.1e}'
    noisy = f'; a rounding makes {self.noise:.1e}' if self.error > TOLERANCE else ''
    return f'{self.strategy:8} {verdict} {self.against}: {worst}; {times}{noisy}'


def verify(
  make: Callable[[str], Workload], steps: int, strategies: Sequence[str] = STRATEGIES
) -> list[Verdict]:
  """Trains by SGD under every strategy from the same parameters on the same synthetic batches.

  jit on one device is what the others are compared with. But of a loss that draws (dropout, noise,
  augmentation) devices under pmap draw by themselves, each for its share: there the same shares
  side by side on one device, by `jax.vmap`, are what pmap is compared with. Where a rounding of the
  parameters changes the result by more than TOLERANCE (maxima of large pictures that are nearly
  equal), nothing better is asked of a strategy.

  Args:
    make: (strategy) -> workload.
    steps: how many.
    strategies: of STRATEGIES, those beside 'jit'.
  """
  work = make('jit')
  start = jax.device_get(jax.jit(lambda key: work.objective.init(key, zeros(work)))(key_of(0)))
  reference = trained(work, start, steps)
  again = trained(work, start, steps, seed=1)
  draws = any(
    np.any(x != y)
    for x, y in zip(*map(jax.tree.leaves, (reference.after, again.after)), strict=True)
  )
  params, extras = start
  nudged = trained(work, (nudge(params), extras), steps)._replace(before=params)
  noise = compare('jit', 'jit', nudged, reference).error
  verdicts = []
  for strategy in (s for s in strategies if s != 'jit'):
    other = make(strategy)
    against, label = reference, 'jit'
    if strategy == 'pmap' and draws:
      against, label = side_by_side(other, start, steps), 'its shares on one device (it draws)'
    verdicts.append(compare(strategy, label, trained(other, start, steps), against, noise))
  return verdicts


def key_of(seed: int) -> jax.Array:
  return jax.random.key(seed)


def zeros(work: Workload) -> PyTree:
  return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), work.source.spec)


def trained(work: Workload, start: PyTree, steps: int, seed: int = 0) -> Trained:
  """Trains from given parameters and extras, under the strategy of a workload."""
  objective, traces = work.objective, 0

  def loss(*arguments: Any) -> Any:
    nonlocal traces
    traces += 1
    return objective.loss(*arguments)

  source, parallel = synthetic_source(work.source.spec), work.parallel
  tx = optax.sgd(LEARNING_RATE)
  program = build(objective._replace(loss=loss), tx, source, parallel)
  state = parallel.put(state_from(start, tx, seed), program.state)
  placement, losses = parallel.split(source.spec), []
  for step in range(steps):
    batch = parallel.put(synthetic_batch(source.spec, step), placement)
    state, scalars = program.step(state, batch)
    losses.append(float(scalars['loss']))
  return Trained(start[0], jax.device_get(state.params), np.array(losses), traces)


def side_by_side(work: Workload, start: PyTree, steps: int) -> Trained:
  """What pmap does, on one device: the step mapped over shares of the batch."""
  axis, n = work.parallel.axis_name, work.parallel.num_shards
  tx = optax.sgd(LEARNING_RATE)
  step = jax.vmap(make_train_step(work.objective, tx, axis_name=axis), (None, 0), axis_name=axis)
  first = jax.jit(lambda state, batch: jax.tree.map(lambda x: x[0], step(state, batch)))
  state, losses = state_from(start, tx, 0), []
  for i in range(steps):
    batch = synthetic_batch(work.source.spec, i)
    shares = jax.tree.map(lambda x: x.reshape(n, x.shape[0] // n, *x.shape[1:]), batch)
    state, scalars = first(state, shares)
    losses.append(float(scalars['loss']))
  return Trained(start[0], jax.device_get(state.params), np.array(losses), 1)


def state_from(start: PyTree, tx: optax.GradientTransformation, seed: int) -> TrainState:
  params, extras = start
  return TrainState(jnp.zeros((), jnp.int32), params, extras, tx.init(params), key_of(seed))


def nudge(params: PyTree) -> PyTree:
  """Each float about a rounding larger or smaller, at random."""
  rng = np.random.default_rng(0)

  def leaf(x: np.ndarray) -> np.ndarray:
    away = rng.choice([-1, 1], x.shape) * float(jnp.finfo(x.dtype).eps)
    return (x * (1 + away)).astype(x.dtype)

  return jax.tree.map(lambda x: leaf(x) if jnp.issubdtype(x.dtype, jnp.floating) else x, params)


def compare(
  strategy: str, against: str, found: Trained, expected: Trained, noise: float = 0.0
) -> Verdict:
  """Judges one result by another."""
  difference = lambda x, y: float(np.max(np.abs(np.float64(x) - np.float64(y)), initial=0.0))
  moved = jax.tree.map(difference, expected.after, expected.before)
  least = 1e-3 * max(jax.tree.leaves(moved))
  errors = jax.tree.map(
    lambda x, y, way: difference(x, y) / max(way, least, 1e-12), found.after, expected.after, moved
  )
  where, error = max(named_leaves(errors), key=lambda item: np.nan_to_num(item[1], nan=np.inf))
  gaps = np.abs(found.losses - expected.losses) / np.maximum(np.abs(expected.losses), 1e-6)
  agrees = bool(error <= max(TOLERANCE, noise) and np.max(gaps) <= TOLERANCE)
  gap = float(np.max(gaps))
  return Verdict(strategy, against, agrees, error, where, gap, found.traces, noise)
