"""The best of the checkpoints that were kept, of every run its own."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from zoo.training.checkpoint import Checkpoints
from zoo.training.settings import TrainSettings
from zoo.types import PyTree, TrainState


def best_of_kept(
  checkpoints: Checkpoints, abstract: tuple[PyTree, PyTree], settings: TrainSettings, count: int
) -> tuple[TrainState, list[int]]:
  """The state in which every run is as it was where it did best; of equal ones the earliest.

  Two states at most are in memory.

  Args:
    checkpoints: of the run, of which `keep_last` and `keep_best` say how many there are. Those that
      were saved where there was an evaluation say what every run reached in it: 'validation' of
      what `save` was told.
    abstract: of both states, to restore into.
    settings: its `best_mode` says what is best.
    count: runs side by side.

  Returns:
    The state, and the step of every run's part of it.

  Raises:
    CheckpointError: a checkpoint is damaged.
    ValueError: there is a run without a finite figure.
  """
  sign = -1 if settings.best_mode == 'min' else 1
  chosen, steps, values = None, np.zeros(count, int), np.full(count, -np.inf)
  for step in checkpoints.steps():
    restored = checkpoints.restore(*abstract, step=step)
    if restored is None or 'validation' not in restored.info:
      continue
    found = sign * np.array(restored.info['validation'], float)
    better = found > values  # never of what is not finite
    chosen = restored.state if chosen is None else replace(chosen, restored.state, better)
    steps[better], values[better] = step, found[better]
  if chosen is None or not np.isfinite(values).all():
    raise ValueError(
      f'no checkpoint has a finite {settings.best} of every run on validation to be best by'
    )
  return chosen, steps.tolist()


def replace(old: TrainState, new: TrainState, which: Sequence[bool] | np.ndarray) -> TrainState:
  """`new` for the members that `which`, bool [N], says, and `old` for the others.

  A single run is N = 1, whose arrays have no axis of members; what has none is `new` for all.
  """
  if len(which) == 1:
    return new if which[0] else old
  mask = jnp.asarray(which)
  pick = lambda a, b: jnp.where(mask.reshape(-1, *(1,) * (b.ndim - 1)), b, a) if b.ndim else b
  return jax.tree.map(pick, old, new)
