"""How real what a generator makes is, as a network sees it that was trained to tell pictures apart.

Distances are taken in the space of what a classifier of the zoo computes its logits from, and are
named for it; or in that of Inception, whose weights a person must give: only those compare with
what others report.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.experiment import Experiment
from zoo.figures.distances import frechet, frechet_and_floor, precision_recall
from zoo.interop.inception import load_inception
from zoo.models.inception import InceptionV3
from zoo.runs import Run, open_run
from zoo.training.predict import examples_of
from zoo.types import Array, PyTree, Source, TrainState

LIMIT = 10_000  # examples that are compared
INCEPTION_BATCH = 32  # which takes 1 GB or two

Figures = dict[str, float]


def of_samples(
  experiment: Experiment, split: str, source: Source, placement: PyTree
) -> Callable[[TrainState], Figures]:
  """Judges as many made pictures as a split has real ones, up to LIMIT, as the settings say.

  By the classifier of `train.judge`, see `by_classifier`, and the weights of `train.inception`, see
  `by_inception`. The latents are the same at every step, and the classes those of the split.

  Returns:
    (state) -> figures; none, if neither is named.

  Raises:
    ValueError: a run that holds no classifier of these data; weights that are not Inception's.
    OSError: there is no such file.
  """
  del split, placement
  settings, module = experiment.settings, experiment.module
  if not settings.judge and not settings.inception:
    return lambda state: {}
  key = experiment.dataset.given['input_key']
  real, make = examples_of(source, LIMIT), maker(module)
  images, labels = real[key], real.get('label')
  compare = [by_classifier(experiment, images, labels)] if settings.judge else []
  compare += [by_inception(settings.inception, images)] if settings.inception else []
  z = jax.random.normal(jax.random.key(settings.seed), (len(images), module.latent_size))

  def judge(state: TrainState) -> Figures:
    variables = jax.device_get(experiment.objective.variables(state.params, state.extras))
    made = make(variables, np.asarray(z), labels)
    return {name: x for figures in compare for name, x in figures(made).items()}

  return judge


def by_classifier(
  experiment: Experiment, images: np.ndarray, labels: np.ndarray | None
) -> Callable[[np.ndarray], Figures]:
  """Compares pictures with real ones as the classifier of `train.judge` sees them.

  Args:
    experiment: what is judged.
    images: real ones, [N, H, W, C], as they are stored.
    labels: [N], the classes that pictures were asked of, if any.

  Returns:
    pictures [N, H, W, C] -> 'fd_zoo' and 'fd_zoo_floor' (`distances.frechet_and_floor`),
    'precision' and 'recall' (`distances.precision_recall`), and if the generator is conditional
    'class_accuracy', the share of pictures that are read as the class that was asked for.
  """
  # Its batches need not divide among the devices of what is judged.
  run = open_run(Path(experiment.settings.judge), devices=jax.local_devices()[:1])
  check(run, experiment)
  read = reader(run)
  features, _ = read(images)

  def figures(pictures: np.ndarray) -> Figures:
    made, logits = read(pictures)
    distance, floor = frechet_and_floor(features, made)
    precision, recall = precision_recall(features, made)
    found = {'fd_zoo': distance, 'fd_zoo_floor': floor, 'precision': precision, 'recall': recall}
    if experiment.module.conditional:
      found['class_accuracy'] = float(np.mean(logits.argmax(-1) == labels))
    return found

  return figures


def by_inception(path: str, images: np.ndarray) -> Callable[[np.ndarray], Figures]:
  """Compares pictures with real ones as the Inception of the Frechet inception distance sees them.

  The distance is greater the fewer pictures there are: what is published is of 50,000 made ones,
  and often of the training split.

  Args:
    path: of the weights, see `load_inception`.
    images: real ones, [N, H, W, 1 or 3], as they are stored or in [0, 1].

  Returns:
    pictures [N, H, W, 1 or 3] -> 'fid', of all of them and all real ones.

  References:
    Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, section 3.
  """
  read = inception_reader(path)
  features = read(images)
  return lambda pictures: {'fid': frechet(features, read(pictures))}


def inception_reader(path: str) -> Callable[[np.ndarray], np.ndarray]:
  """Pictures, as they are stored or in [0, 1] -> features of Inception, [N, 2048]."""
  variables = load_inception(path)

  @jax.jit
  def read(variables: PyTree, images: Array) -> Array:
    features = InceptionV3().apply(variables, in_levels(images))
    assert isinstance(features, Array)
    return features

  return lambda images: in_chunks(lambda x: read(variables, x), images, size=INCEPTION_BATCH)


def in_levels(images: Array) -> Array:
  """Pictures in [0, 1] of 256 levels, as files hold them, from which others compute distances."""
  if images.dtype == jnp.uint8:
    return images.astype(jnp.float32) / 255
  return jnp.round(255 * jnp.clip(images, 0, 1)) / 255


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
