"""How real what a generator makes is, as a classifier of the same data sees it.

Distances are taken in the space of what a classifier of the zoo computes its logits from. They are
named for it: of other features, such as those of Inception, they would be other numbers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.experiment import Experiment
from zoo.figures.distances import frechet_and_floor, precision_recall
from zoo.runs import Run, open_run
from zoo.training.predict import examples_of
from zoo.types import Array, PyTree, Source, TrainState

LIMIT = 10_000  # examples that are compared


def of_samples(
  experiment: Experiment, split: str, source: Source, placement: PyTree
) -> Callable[[TrainState], dict[str, float]]:
  """Judges as many made pictures as a split has real ones, by the classifier of `train.judge`.

  Returns:
    (state) -> 'fd_zoo' and 'fd_zoo_floor' (`distances.frechet_and_floor`), 'precision' and 'recall'
    (`distances.precision_recall`), and if the generator is conditional 'class_accuracy', the share
    of pictures that are read as the class that was asked for: the classes of the split. The latents
    are the same at every step. Nothing, if no classifier is named.

  Raises:
    ValueError: a run that holds no classifier of these data.
  """
  del split, placement
  dataset, settings, module = experiment.dataset, experiment.settings, experiment.module
  if not settings.judge:
    return lambda state: {}
  key = dataset.given['input_key']
  run = open_run(Path(settings.judge))
  check(run, experiment)
  read, make = reader(run), maker(module)
  real = examples_of(source, LIMIT)
  images, labels = real[key], real.get('label')
  features, _ = read(images)
  z = jax.random.normal(jax.random.key(settings.seed), (len(images), module.latent_size))

  def judge(state: TrainState) -> dict[str, float]:
    variables = jax.device_get(experiment.objective.variables(state.params, state.extras))
    made, logits = read(make(variables, np.asarray(z), labels))
    distance, floor = frechet_and_floor(features, made)
    precision, recall = precision_recall(features, made)
    figures = {'fd_zoo': distance, 'fd_zoo_floor': floor, 'precision': precision, 'recall': recall}
    if module.conditional:
      figures['class_accuracy'] = float(np.mean(logits.argmax(-1) == labels))
    return figures

  return judge


def check(run: Run, experiment: Experiment) -> None:
  """Refuses a run that is of no classifier, or of one that reads something else."""
  name = f'config.train.judge={experiment.settings.judge}'
  if run.experiment.task != 'classification' or not hasattr(run.experiment.module, 'num_classes'):
    raise ValueError(f'{name} is a run of {run.experiment.task}, not of a classifier of pictures')
  theirs, ours = run.experiment.dataset, experiment.dataset
  key = ours.given['input_key']
  shapes = [data.train.spec[key].shape[1:] for data in (theirs, ours) if key in data.train.spec]
  if shapes[0] != shapes[-1] or len(shapes) < 2:
    raise ValueError(f'{name} reads {shapes[0]}, not pictures of {shapes[-1]} as the data have')
  if experiment.module.conditional and theirs.class_names != ours.class_names:
    raise ValueError(f'{name} knows the classes {theirs.class_names}, not {ours.class_names}')


def reader(run: Run) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
  """Pictures, as they are stored or in [0, 1] -> (features [N, D], logits [N, C])."""
  head, data = run.experiment.module, run.experiment.dataset
  body = head.clone(num_classes=0)
  key = data.given['input_key']

  @jax.jit
  def read(variables: PyTree, images: Array) -> tuple[Array, Array]:
    x = data.standardize(data.scale({key: images}))[key]
    return tuple(module.apply(variables, x, train=False) for module in (body, head))  # type: ignore[reportReturnType]

  variables = jax.device_get(run.variables)
  return lambda images: in_chunks(lambda x: read(variables, x), images)


def maker(module: Any) -> Callable[[PyTree, np.ndarray, np.ndarray | None], np.ndarray]:
  """(variables, latents [N, L], labels [N] or None) -> pictures."""
  make = jax.jit(lambda variables, z, label: module.apply(variables, z, label, method='generate'))
  return lambda variables, z, labels: in_chunks(lambda *x: make(variables, *x), z, labels)


def in_chunks(fn: Callable[..., PyTree], *arrays: np.ndarray | None, size: int = 256) -> PyTree:
  """fn(*arrays) by `size` rows at a time, the last filled up, so that it is compiled once."""
  total = len(arrays[0]) if arrays[0] is not None else 0
  parts = []
  for start in range(0, total, size):
    rows = np.minimum(np.arange(start, start + size), total - 1)
    parts.append(jax.device_get(fn(*(None if x is None else jnp.asarray(x[rows]) for x in arrays))))
  return jax.tree.map(lambda *x: np.concatenate(x)[:total], *parts)
