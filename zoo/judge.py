"""How good a model now is: figures of every split, and those that only a whole split has.

Most figures are sums over examples (`Objective.evaluate`), which merge over batches and devices.
Some are not: an area under a curve, a distance between distributions, what a probe makes of
features. They are computed on the host from what the model says of all examples.
"""

from collections.abc import Callable

from zoo import realism
from zoo.experiment import Experiment
from zoo.training import make_evaluate
from zoo.types import PyTree, Source, TrainState

Judge = Callable[[TrainState], dict[str, float]]


def make_judges(experiment: Experiment, placement: PyTree) -> dict[str, Judge]:
  """Returns for each evaluation split (state) -> figures by name.

  Args:
    experiment: what is trained.
    placement: of the train state, from `program.build`.
  """
  return {
    split: judge(experiment, split, source, placement)
    for split, source in experiment.dataset.evaluation.items()
  }


def judge(experiment: Experiment, split: str, source: Source, placement: PyTree) -> Judge:
  """The judge of one split."""
  sums = make_evaluate(experiment.objective, source, experiment.parallel, placement)
  make = OF_WHOLE_SPLITS.get(experiment.task)
  if make is None:
    return sums
  whole = make(experiment, split, source, placement)
  return lambda state: sums(state) | whole(state)


# By objective: (experiment, split, source, placement) -> Judge, whose figures are added.
OF_WHOLE_SPLITS: dict[str, Callable[[Experiment, str, Source, PyTree], Judge]] = {
  'gan': realism.of_samples,
}
