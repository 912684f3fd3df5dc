"""The best of the checkpoints that were kept, of every run its own."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from zoo.experiment import Experiment
from zoo.judge import JudgeOfMembers
from zoo.training.checkpoint import Checkpoints
from zoo.training.program import Program
from zoo.types import TrainState


def best_of_kept(
  checkpoints: Checkpoints, experiment: Experiment, program: Program, judge: JudgeOfMembers
) -> tuple[TrainState, list[int]]:
  """The state in which every run is as it was where it did best; of equal ones the earliest.

  All checkpoints are judged again, so that runs side by side, of which a checkpoint keeps but the
  mean of a figure, are told apart. Two states at most are in memory.

  Args:
    checkpoints: of the run, of which `keep_last` and `keep_best` say how many there are.
    experiment: what was trained; its `train.best` is the figure to choose by.
    program: what trained it.
    judge: (state) -> figures of every member, of the validation split.

  Returns:
    The state, and the step of every member's part of it.

  Raises:
    CheckpointError: a checkpoint is damaged.
    ValueError: the figure is none of the judge's, or finite nowhere.
  """
  settings, count = experiment.settings, len(experiment.members)
  sign = -1 if settings.best_mode == 'min' else 1
  chosen, steps, values = None, np.zeros(count, int), np.full(count, -np.inf)
  for step in checkpoints.steps():
    restored = checkpoints.restore(*program.abstract, step=step)
    assert restored is not None  # a step that is asked for is there, or an error
    found = [figures.get(settings.best, np.nan) for figures in judge(restored.state)]
    better = sign * np.array(found, float) > values  # never of what is not finite
    chosen = restored.state if chosen is None else replace(chosen, restored.state, better)
    steps[better], values[better] = step, (sign * np.array(found, float))[better]
  if chosen is None or not np.isfinite(values).all():
    raise ValueError(f'no checkpoint has a finite {settings.best} on validation to be best by')
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
