"""From a config to an experiment.

Below this file nothing sees a ConfigDict: models, objectives, sources and optimisers take plain
arguments, and a config section is checked against their signatures (`zoo/config.py`).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax
from ml_collections import config_dict

from zoo import objectives
from zoo.catalog import (
  AUGMENTATIONS,
  GIVEN,
  LOADERS,
  MIXING,
  MODELS,
  OBJECTIVES,
  TEXT_KINDS,
  create_model,
)
from zoo.config import complete, options_of
from zoo.data import augment
from zoo.data.dataset import Dataset
from zoo.names import unknown
from zoo.optim import make_optimizer
from zoo.training import Parallel, parallelize
from zoo.training.settings import TrainSettings
from zoo.types import Objective

SECTIONS = ('model', 'objective', 'data', 'optimizer', 'train')


class Experiment(NamedTuple):
  """All that a run is made of.

  Attributes:
    module: the model.
    objective: what to learn, with all wrappers.
    tx: how to update.
    dataset: sources to learn from and be judged by.
    parallel: the devices and how they are used.
    settings: of the run.
    task: the name of the objective, without its wrappers.
  """

  module: nn.Module
  objective: Objective
  tx: optax.GradientTransformation
  dataset: Dataset
  parallel: Parallel
  settings: TrainSettings
  task: str


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
  entry = chosen('model', 'name', sections['model'], MODELS)
  objective = chosen('objective', 'name', sections['objective'], OBJECTIVES)
  sections['data'].setdefault('loader', 'examples')
  loader = chosen('data', 'loader', sections['data'], LOADERS)

  wrappers = options_of(objectives.with_penalty) | {
    'lora_rank': (int, 0),
    'lora_alpha': (float, 16.0),
    'lora_targets': (tuple, ('.*kernel',)),
    'lora_full': (tuple, ()),
    'ema_decay': (float, 0.0),
    'ema_warmup': (bool, False),
  }
  by_name = {'name': (str, '')}
  options = {
    'model': by_name | options_of(entry.module, given=GIVEN),
    'objective': by_name | wrappers | options_of(objective, given=GIVEN),
    'data': {'loader': (str, '')}
    | options_of(loader, given=('kind', 'statistics', 'trained', 'workers', 'shard'))
    | {'augment': (Mapping, {})},
    'optimizer': options_of(make_optimizer, given=('total_steps',)),
    'train': options_of(TrainSettings),
  }
  published = {name: value for name, value in entry.options.items() if name not in GIVEN}
  sections['model'] = {**published, **sections['model']}
  sections['data']['augment'] = {
    name: complete(f'data.augment.{name}', values, options_of(augmentation(name), given=GIVEN))
    for name, values in sections['data'].get('augment', {}).items()
  }
  return config_dict.ConfigDict({s: complete(s, sections[s], options[s]) for s in SECTIONS})


def chosen(section: str, key: str, values: Mapping[str, Any], table: Mapping[str, Any]) -> Any:
  """What the name in a section stands for."""
  if key not in values:
    raise ValueError(f'config.{section}.{key} is missing; there are: {", ".join(table)}')
  if values[key] not in table:
    raise unknown(section if key == 'name' else f'config.{section}.{key}', values[key], table)
  return table[values[key]]


def augmentation(name: str) -> Callable[..., Any]:
  """The factory of an augmentation."""
  if name not in AUGMENTATIONS:
    raise unknown('augmentation', name, AUGMENTATIONS)
  return AUGMENTATIONS[name]


def make_experiment(
  config: config_dict.ConfigDict,
  *,
  statistics: Mapping[str, Any] | None = None,
  tokenizer: Any = None,
  devices: Sequence[Any] | None = None,
) -> Experiment:
  """Makes everything a run needs. Reads data; compiles nothing.

  Args:
    config: complete, from `complete_config`.
    statistics: what inputs are standardised by, from the run directory; None computes them.
    tokenizer: of text, from the run directory; None learns or loads what the config says.
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
  kept = {'statistics': statistics, 'trained': tokenizer}
  dataset = open_data(data, objective['name'], kept | {'workers': settings.workers})
  for source in (dataset.train, *dataset.evaluation.values()):
    parallel.split(source.spec)  # refuses a batch that does not divide

  given = {**dataset.given, 'axis_name': parallel.axis_name}
  fields = options_of(MODELS[model['name']].module)
  module = create_model(**model, **{name: value for name, value in given.items() if name in fields})
  task = objective['name']
  full = make_objective(module, objective, augmentations, dataset, given)
  return Experiment(module, full, tx, dataset, parallel, settings, task)


def open_data(options: dict[str, Any], objective: str, common: Mapping[str, Any]) -> Dataset:
  """Loads the data of a config for an objective, and checks that they fit."""
  load = LOADERS[options.pop('loader')]
  shard = (jax.process_index(), jax.process_count())
  offered = {**common, 'kind': TEXT_KINDS.get(objective), 'shard': shard}
  taken = inspect.signature(load).parameters
  if 'kind' in taken and objective not in TEXT_KINDS:
    raise ValueError(f'{objective} learns nothing from text; {", ".join(TEXT_KINDS)} do')
  dataset = load(**options, **{name: value for name, value in offered.items() if name in taken})
  for name, p in inspect.signature(OBJECTIVES[objective]).parameters.items():
    needed = p.kind is p.KEYWORD_ONLY and p.default is p.empty
    if needed and name not in dataset.given:
      raise ValueError(f'the data {options["name"]!r} have no {name}, which {objective} needs')
  return dataset


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
  lora = {name: options.pop(f'lora_{name}') for name in ('rank', 'alpha', 'targets', 'full')}

  taken = inspect.signature(make).parameters
  objective = make(module, **options, **{k: v for k, v in given.items() if k in taken})
  objective = objectives.with_transform(objective, dataset.standardize)
  if augmentations:
    mixes = {'num_classes': given['num_classes']}  # labels as well, which become distributions
    steps = [
      factory(**augmentations[name], **(mixes if name in MIXING else {}))
      for name, factory in AUGMENTATIONS.items()
      if name in augmentations
    ]
    objective = objectives.with_augmentation(objective, augment.chain(*steps))
  objective = objectives.with_transform(objective, dataset.scale)
  if lora['rank']:
    objective = objectives.with_lora(objective, **lora)
  if any(penalty.values()):
    objective = objectives.with_penalty(objective, **penalty)
  return objectives.with_ema(objective, ema_decay, warmup=ema_warmup) if ema_decay else objective
