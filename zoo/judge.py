"""How good a model now is: figures of every split, and those that only a whole split has.

Most figures are sums over examples (`Objective.evaluate`), which merge over batches and devices.
Some are not: an area under a curve, a distance between distributions, what a probe makes of
features. They are computed on the host from what the model says of all examples.
"""

from collections.abc import Callable

import jax
import numpy as np

from zoo import realism
from zoo.data import arrays
from zoo.experiment import Experiment
from zoo.figures import detection, partitions
from zoo.population import evaluate_population, member_on
from zoo.training import make_evaluate
from zoo.training.predict import make_predict
from zoo.types import PyTree, Source, TrainState

Judge = Callable[[TrainState], dict[str, float]]
JudgeOfMembers = Callable[[TrainState], list[dict[str, float]]]


def make_judges(experiment: Experiment, placement: PyTree) -> dict[str, JudgeOfMembers]:
  """Returns for each evaluation split (state) -> figures by name of every member: of one, mostly.

  Args:
    experiment: what is trained.
    placement: of the train state, from `program.build`.
  """
  one = judge_of_members if experiment.is_population else judge_of_one
  return {
    split: one(experiment, split, source, placement)
    for split, source in experiment.dataset.evaluation.items()
  }


def judge_of_one(
  experiment: Experiment, split: str, source: Source, placement: PyTree
) -> JudgeOfMembers:
  """The judge of a run by itself."""
  figures = judge(experiment, split, source, placement)
  return lambda state: [figures(state)]


def judge_of_members(
  experiment: Experiment, split: str, source: Source, placement: PyTree
) -> JudgeOfMembers:
  """The judge of runs side by side: sums of all at once, what needs whole splits one by one."""
  sums = evaluate_population(experiment.objective, source, experiment.parallel)
  make = OF_WHOLE_SPLITS.get(experiment.task)
  if make is None:
    return sums
  alone = experiment.alone
  whole = make(alone, split, source, alone.parallel.everywhere)
  return lambda state: [
    figures | whole(member_on(state, index, alone.parallel))
    for index, figures in enumerate(sums(state))
  ]


def judge(experiment: Experiment, split: str, source: Source, placement: PyTree) -> Judge:
  """The judge of one split."""
  sums = make_evaluate(experiment.objective, source, experiment.parallel, placement)
  make = OF_WHOLE_SPLITS.get(experiment.task)
  if make is None:
    return sums
  whole = make(experiment, split, source, placement)
  return lambda state: sums(state) | whole(state)


def of_anomalies(experiment: Experiment, split: str, source: Source, placement: PyTree) -> Judge:
  """How well scores rank anomalies above the rest; and, by a threshold chosen on validation, call.

  The threshold is a quantile of the scores of normal validation examples: `figures.detection`.
  """
  sources = experiment.dataset.evaluation | {split: source}
  parallel, predicts = experiment.parallel, {}
  for name in {split, 'validation'} & set(sources):
    predicts[name] = make_predict(experiment.objective, sources[name], parallel, placement)

  def figures(state: TrainState) -> dict[str, float]:
    scored = {name: predict(state) for name, predict in predicts.items()}
    examples, scores = scored[split]
    found = detection.ranking(examples['label'], scores)
    if 'validation' in scored:
      chosen_by, of_validation = scored['validation']
      threshold = detection.threshold_of(of_validation[chosen_by['label'] == 0])
      found |= detection.decisions(examples['label'], scores, threshold)
    return found

  return figures


def of_clusters(experiment: Experiment, split: str, source: Source, placement: PyTree) -> Judge:
  """How well clusters agree with the classes, of which learning knew nothing."""
  del split
  predict = make_predict(experiment.objective, source, experiment.parallel, placement)

  def figures(state: TrainState) -> dict[str, float]:
    examples, logits = predict(state)
    return partitions.agreement(examples['label'], logits.argmax(-1))

  return figures


def of_features(experiment: Experiment, split: str, source: Source, placement: PyTree) -> Judge:
  """What a linear classifier and the nearest neighbours make of features of the training split.

  Raises:
    ValueError: training data that is streamed from the host.
  """
  del split
  train = experiment.dataset.train
  if not train.on_device:
    raise ValueError('probes of features need config.data.on_device=True')
  known = arrays.one_pass(train.data, jax.tree.leaves(source.spec)[0].shape[0])
  predict_known, predict_new = (
    make_predict(experiment.objective, s, experiment.parallel, placement) for s in (known, source)
  )

  def whole(state: TrainState) -> dict[str, float]:
    (known, of_known), (new, of_new) = predict_known(state), predict_new(state)
    return probe(of_known, known['label'], of_new, new['label'])

  return whole


def probe(
  features: np.ndarray, labels: np.ndarray, new_features: np.ndarray, new_labels: np.ndarray
) -> dict[str, float]:
  """How well features tell classes apart: accuracies of two simple classifiers on new examples.

  Args:
    features: float [N, D], to learn from.
    labels: integer [N].
    new_features: float [M, D], to be judged by.
    new_labels: integer [M].

  Returns:
    'linear_probe', of logistic regression on standardised features with scikit-learn's default
    penalty, and 'knn', of the 5 neighbours that are nearest by cosine.
  """
  from sklearn.linear_model import LogisticRegression
  from sklearn.neighbors import KNeighborsClassifier
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
  nearest = KNeighborsClassifier(5, metric='cosine')
  return {
    name: float(model.fit(features, labels).score(new_features, new_labels))
    for name, model in (('linear_probe', linear), ('knn', nearest))
  }


# By objective: (experiment, split, source, placement) -> Judge, whose figures are added.
OF_WHOLE_SPLITS: dict[str, Callable[[Experiment, str, Source, PyTree], Judge]] = {
  'anomaly': of_anomalies,
  'clustering': of_clusters,
  'contrastive': of_features,
  'gan': realism.of_samples,
}
