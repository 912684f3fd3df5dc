"""From a config to an experiment. The only file that maps names to things: plain dict literals.

Below this file nothing sees a ConfigDict: models, objectives, sources and optimisers take plain
arguments, and a config section is checked against their signatures (`zoo/config.py`).
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
from ml_collections import config_dict

from zoo import models, objectives
from zoo.config import complete, options_of
from zoo.data import augment, mixing, randaugment
from zoo.data.dataset import Dataset, load_dataset
from zoo.names import unknown
from zoo.optim import make_optimizer
from zoo.previews import classification as pictures
from zoo.training import Parallel, parallelize
from zoo.training.predict import make_predict
from zoo.training.settings import TrainSettings
from zoo.types import Objective, PyTree, TrainState

Preview = Callable[[TrainState], dict[str, bytes]]


class Entry(NamedTuple):
  """A model by name.

  Attributes:
    module: the Linen class.
    input_shape: of one example, as published.
    reference: where it comes from.
    options: what sets this model apart from the defaults of its class.
  """

  module: Callable[..., nn.Module]
  input_shape: tuple[int, ...]
  reference: str
  options: Mapping[str, Any] = {}


MODELS = {
  'cnn': Entry(
    models.CNN,
    (28, 28, 1),
    'LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition',
  ),
  'mlp': Entry(
    models.MLP, (784,), 'Rumelhart et al. 1986, Learning Representations by Back-Propagating Errors'
  ),
}

OBJECTIVES = {'classification': objectives.classification}

# In the order in which they are applied: geometry, colour, erasure, mixing of examples.
AUGMENTATIONS = {
  'random_crop': augment.random_crop,
  'random_flip': augment.random_flip,
  'random_affine': augment.random_affine,
  'rand_augment': randaugment.rand_augment,
  'cutout': augment.cutout,
  'mixup': mixing.mixup,
  'cutmix': mixing.cutmix,
}
MIXING = ('mixup', 'cutmix')

SECTIONS = ('model', 'objective', 'data', 'optimizer', 'train')
GIVEN = ('module', 'num_classes', 'input_key', 'axis_name')  # by data and devices, not by a config


class Experiment(NamedTuple):
  """All that a run is made of.

  Attributes:
    module: the model.
    objective: what to learn, with all wrappers.
    tx: how to update.
    dataset: sources to learn from and be judged by.
    parallel: the devices and how they are used.
    settings: of the run.
    make_preview: (placement of the state) -> (state) -> PNG pictures by name, of what the model
      makes of the validation split (of the test split, if there is no other).
  """

  module: nn.Module
  objective: Objective
  tx: optax.GradientTransformation
  dataset: Dataset
  parallel: Parallel
  settings: TrainSettings
  make_preview: Callable[[PyTree], Preview]


def list_models(pattern: str = '*') -> list[str]:
  """Names of models, those that a shell pattern such as 'resnet*' matches."""
  return sorted(fnmatch.filter(MODELS, pattern))


def create_model(name: str, **options: Any) -> nn.Module:
  """Makes a Linen module by name.

  Args:
    name: one of `list_models()`.
    **options: fields of its class, such as `num_classes`.

  Raises:
    ValueError: an unknown name or option; with the nearest there is.
  """
  if name not in MODELS:
    raise unknown('model', name, MODELS)
  entry = MODELS[name]
  valid = options_of(entry.module)
  for option in options:
    if option not in valid:
      raise unknown(f'option of model {name}', option, valid)
  return entry.module(**{**entry.options, **options})


def complete_config(values: Mapping[str, Any]) -> config_dict.ConfigDict:
  """Checks a config and fills it up with defaults: five sections, every option of each.

  Raises:
    ValueError: an unknown section, name or option, or a wrong type; one line.
  """
  for section in values:
    if section not in SECTIONS:
      raise unknown('section of config', section, SECTIONS)
    if not isinstance(values[section], Mapping):
      raise ValueError(f'config.{section} must be a section of options, not {values[section]!r}')
  sections = {section: dict(values.get(section, {})) for section in SECTIONS}
  entry = chosen('model', sections['model'], MODELS)
  objective = chosen('objective', sections['objective'], OBJECTIVES)

  wrappers = options_of(objectives.with_penalty) | {
    'ema_decay': (float, 0.0),
    'ema_warmup': (bool, False),
  }
  by_name = {'name': (str, '')}
  options = {
    'model': by_name | options_of(entry.module, given=GIVEN),
    'objective': by_name | wrappers | options_of(objective, given=GIVEN),
    'data': options_of(load_dataset, given=('statistics', 'workers', 'shard'))
    | {'augment': (Mapping, {})},
    'optimizer': options_of(make_optimizer, given=('total_steps',)),
    'train': options_of(TrainSettings),
  }
  sections['model'] = {**entry.options, **sections['model']}
  sections['data']['augment'] = {
    name: complete(f'data.augment.{name}', values, options_of(augmentation(name), given=GIVEN))
    for name, values in sections['data'].get('augment', {}).items()
  }
  return config_dict.ConfigDict({s: complete(s, sections[s], options[s]) for s in SECTIONS})


def chosen(section: str, values: Mapping[str, Any], table: Mapping[str, Any]) -> Any:
  """What the name in a section stands for."""
  if 'name' not in values:
    raise ValueError(f'config.{section}.name is missing; there are: {", ".join(table)}')
  if values['name'] not in table:
    raise unknown(section, values['name'], table)
  return table[values['name']]


def augmentation(name: str) -> Callable[..., Any]:
  """The factory of an augmentation."""
  if name not in AUGMENTATIONS:
    raise unknown('augmentation', name, AUGMENTATIONS)
  return AUGMENTATIONS[name]


def make_experiment(
  config: config_dict.ConfigDict,
  *,
  statistics: Mapping[str, Any] | None = None,
  devices: Sequence[Any] | None = None,
) -> Experiment:
  """Makes everything a run needs. Reads data; compiles nothing.

  Args:
    config: complete, from `complete_config`.
    statistics: what inputs are standardised by, from the run directory; None computes them.
    devices: all by default.

  Raises:
    ValueError: whatever is wrong with config or data, in one line.
  """
  values = config.to_dict()
  model, objective, data, optimizer = (values[section] for section in SECTIONS[:4])
  settings = TrainSettings(**values['train'])
  # What is cheap to check comes before data is read.
  tx = make_optimizer(**optimizer, total_steps=settings.steps)
  parallel = parallelize(settings.parallel, devices)
  augmentations = data.pop('augment')
  shard = (jax.process_index(), jax.process_count())
  dataset = load_dataset(**data, statistics=statistics, workers=settings.workers, shard=shard)
  for source in (dataset.train, *dataset.evaluation.values()):
    parallel.split(source.spec)  # refuses a batch that does not divide

  given = {'num_classes': dataset.num_classes, 'axis_name': parallel.axis_name}
  fields = options_of(MODELS[model['name']].module)
  module = create_model(**model, **{name: value for name, value in given.items() if name in fields})
  full = make_objective(module, objective, augmentations, dataset, given)
  preview = lambda state: make_preview(full, dataset, parallel, state)
  return Experiment(module, full, tx, dataset, parallel, settings, preview)


def make_objective(
  module: nn.Module,
  options: dict[str, Any],
  augmentations: Mapping[str, dict[str, Any]],
  dataset: Dataset,
  given: Mapping[str, Any],
) -> Objective:
  """The objective of a config with its wrappers: scale, augment, standardise, penalise, average."""
  make = OBJECTIVES[options.pop('name')]
  penalty = {name: options.pop(name) for name in options_of(objectives.with_penalty)}
  ema_decay, ema_warmup = options.pop('ema_decay'), options.pop('ema_warmup')

  objective = make(module, input_key=dataset.input_key, **options, **given)
  objective = objectives.with_transform(objective, dataset.standardize)
  if augmentations:
    mixes = {'num_classes': dataset.num_classes}  # labels as well, which become distributions
    steps = [
      factory(**augmentations[name], **(mixes if name in MIXING else {}))
      for name, factory in AUGMENTATIONS.items()
      if name in augmentations
    ]
    objective = objectives.with_augmentation(objective, augment.chain(*steps))
  objective = objectives.with_transform(objective, dataset.scale)
  if any(penalty.values()):
    objective = objectives.with_penalty(objective, **penalty)
  return objectives.with_ema(objective, ema_decay, warmup=ema_warmup) if ema_decay else objective


def make_preview(
  objective: Objective, dataset: Dataset, parallel: Parallel, state: PyTree
) -> Preview:
  """Pictures of what a classifier now does; none if there is nothing to judge it by."""
  if not dataset.evaluation:
    return lambda state: {}
  source = next(iter(dataset.evaluation.values()))
  predict = make_predict(objective, source, parallel, state)

  def preview(state: TrainState) -> dict[str, bytes]:
    examples, logits = predict(state)
    return pictures.preview(
      examples['label'], logits, images=examples.get('image'), class_names=dataset.class_names
    )

  return preview
