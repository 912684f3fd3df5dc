"""From a config to an experiment.

Below this file nothing sees a ConfigDict: models, objectives, sources and optimisers take plain
arguments, and a config section is checked against their signatures (`zoo/config.py`).
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
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
  OF_FEATURES,
  OF_SCALED,
  POLICIES,
  TEXT_KINDS,
  VIEWS,
  create_model,
)
from zoo.config import complete, options_of
from zoo.data.augment import Augmentation, chain
from zoo.data.dataset import Dataset
from zoo.data.joint import of_parts
from zoo.names import unknown
from zoo.optim import make_optimizer
from zoo.population import Member, members_of, parallelize_members
from zoo.training import Parallel, parallelize, rundir
from zoo.training.settings import TrainSettings
from zoo.types import Objective

SECTIONS = ('model', 'objective', 'data', 'optimizer', 'train')
AUGMENTED = ('augment', 'strong')  # options of data that hold augmentations by name


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
    augment: (key, batch) -> batch: what the objective does to a batch of the training source before
      it learns: scale, augment, make views. None if it augments nothing. For measurements: the
      objective does it by itself.
  """

  module: nn.Module
  objective: Objective
  tx: optax.GradientTransformation
  dataset: Dataset
  parallel: Parallel
  settings: TrainSettings
  task: str
  augment: Augmentation | None = None

  @property
  def members(self) -> list[Member]:
    """The runs side by side: one, mostly."""
    return runs_of(self.settings)

  @property
  def is_population(self) -> bool:
    """Whether there are several, so that states have an axis of members."""
    return len(self.members) > 1

  @property
  def alone(self) -> 'Experiment':
    """One of the runs side by side by itself, on one device."""
    settings = dataclasses.replace(self.settings, seeds=1, sweep=())
    parallel = parallelize('jit', list(self.parallel.mesh.devices.flat))
    return self._replace(settings=settings, parallel=parallel)


def runs_of(settings: TrainSettings) -> list[Member]:
  """The runs that settings ask for, side by side."""
  return members_of(settings.seed, settings.seeds, dict(settings.sweep))


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
    | dict.fromkeys(AUGMENTED, (Mapping, {})),
    'optimizer': options_of(make_optimizer, given=('total_steps',)),
    'train': options_of(TrainSettings),
  }
  published = {name: value for name, value in entry.options.items() if name not in GIVEN}
  sections['model'] = {**published, **sections['model']}
  for key in AUGMENTED:
    sections['data'][key] = {
      name: complete(f'data.{key}.{name}', values, options_of(augmentation(name), given=GIVEN))
      for name, values in sections['data'].get(key, {}).items()
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
  loaders: Mapping[str, Callable[..., Dataset]] = LOADERS,
) -> Experiment:
  """Makes everything a run needs. Reads data; compiles nothing.

  Args:
    config: complete, from `complete_config`.
    statistics: what inputs are standardised by, from the run directory; None computes them.
    tokenizer: of text, from the run directory; None learns or loads what the config says.
    devices: all by default.
    loaders: by `data.loader`, what opens data.

  Raises:
    ValueError: whatever is wrong with config or data, in one line.
  """
  values = config.to_dict()
  model, objective, data, optimizer = (values[section] for section in SECTIONS[:4])
  settings = TrainSettings(**values['train'])
  # What is cheap to check comes before data is read.
  tx = make_optimizer(**optimizer, total_steps=settings.steps)
  runs = len(runs_of(settings))
  parallel = (
    parallelize(settings.parallel, devices)
    if runs == 1
    else parallelize_members(settings.parallel, runs, devices)
  )
  augmentations = {key: data.pop(key) for key in AUGMENTED}
  kept = {'statistics': statistics, 'trained': tokenizer}
  load = loaders[data.pop('loader')]
  dataset = open_data(load, data, objective['name'], kept | {'workers': settings.workers})
  if runs == 1:
    for source in (dataset.train, *dataset.evaluation.values()):
      parallel.split(source.spec)  # refuses a batch that does not divide

  task = objective['name']
  given = {**dataset.given, 'axis_name': parallel.axis_name}
  if settings.teacher:
    if 'teacher' not in inspect.signature(OBJECTIVES[task]).parameters:
      raise ValueError(f'{task} has no teacher: config.train.teacher has no use')
    given['teacher'] = teacher_of(settings.teacher, given)
  module = make_module(model, given | ({'num_classes': 0} if task in OF_FEATURES else {}))
  full = make_objective(module, objective, augmentations, dataset, given)
  if dataset.bind:
    if task not in POLICIES:
      raise ValueError(f'{task} does not act: config.data.loader has no use')
    dataset = dataset.bind(POLICIES[task](module))
  views = views_of(task, augmentations, given)
  scale = of_parts(dataset.scale)
  apply = (lambda key, batch: views(key, scale(batch))) if views else None
  return Experiment(module, full, tx, dataset, parallel, settings, task, apply)


def make_module(options: Mapping[str, Any], given: Mapping[str, Any]) -> nn.Module:
  """The module of a model section, with what data and devices say of its other fields."""
  fields = options_of(MODELS[options['name']].module)
  return create_model(**options, **{name: value for name, value in given.items() if name in fields})


def teacher_of(workdir: str, given: Mapping[str, Any]) -> nn.Module:
  """The module of a run, for the data at hand. `runs.teach` fetches its weights."""
  if not (Path(workdir) / 'config.json').exists():
    raise ValueError(f'config.train.teacher: {workdir!r} holds no run')
  return make_module(complete_config(rundir.read_config(workdir)).to_dict()['model'], given)


def open_data(
  load: Callable[..., Dataset],
  options: Mapping[str, Any],
  objective: str,
  common: Mapping[str, Any],
) -> Dataset:
  """Loads the data of a config for an objective, and checks that they fit."""
  shard = (jax.process_index(), jax.process_count())
  offered = {**common, 'kind': TEXT_KINDS.get(objective), 'shard': shard}
  taken = inspect.signature(load).parameters
  if 'kind' in taken and objective not in TEXT_KINDS:
    raise ValueError(f'{objective} learns nothing from text; {", ".join(TEXT_KINDS)} do')
  if objective in OF_SCALED and options.get('normalization') != 'scale':
    raise ValueError(f"{objective} learns pictures as they are: data.normalization must be 'scale'")
  dataset = load(**options, **{name: value for name, value in offered.items() if name in taken})
  for name, p in inspect.signature(OBJECTIVES[objective]).parameters.items():
    needed = p.kind is p.KEYWORD_ONLY and p.default is p.empty
    if needed and name not in dataset.given:
      raise ValueError(f'the data {options["name"]!r} have no {name}, which {objective} needs')
  return dataset


def make_objective(
  module: nn.Module,
  options: dict[str, Any],
  augmentations: Mapping[str, Mapping[str, dict[str, Any]]],
  dataset: Dataset,
  given: Mapping[str, Any],
) -> Objective:
  """The objective of a config with its wrappers: scale, augment, standardise, penalise, average."""
  task = options.pop('name')
  make = OBJECTIVES[task]
  penalty = {name: options.pop(name) for name in options_of(objectives.with_penalty)}
  ema_decay, ema_warmup = options.pop('ema_decay'), options.pop('ema_warmup')
  lora = {name: options.pop(f'lora_{name}') for name in ('rank', 'alpha', 'targets', 'full')}

  taken = inspect.signature(make).parameters
  views = views_of(task, augmentations, given)
  augments_itself = 'augment' in taken  # and what the model makes, too
  if augments_itself and views:
    given = {**given, 'augment': views}
  objective = make(module, **options, **{k: v for k, v in given.items() if k in taken})
  objective = objectives.with_transform(objective, of_parts(dataset.standardize))
  if views and not augments_itself:
    wrap = objectives.with_views if task in VIEWS else objectives.with_augmentation
    objective = wrap(objective, views)
  objective = objectives.with_transform(objective, of_parts(dataset.scale))
  if lora['rank']:
    objective = objectives.with_lora(objective, **lora)
  if any(penalty.values()):
    objective = objectives.with_penalty(objective, **penalty)
  return objectives.with_ema(objective, ema_decay, warmup=ema_warmup) if ema_decay else objective


def views_of(
  task: str, augmentations: Mapping[str, Mapping[str, dict[str, Any]]], given: Mapping[str, Any]
) -> Augmentation | None:
  """What the loss does to a scaled batch: make the views it compares, or augment it, if at all."""
  chains = {key: chained(chosen, given) for key, chosen in augmentations.items()}
  view = VIEWS.get(task)
  needed = inspect.signature(view).parameters if view else ('augment',)
  if augmentations['strong'] and 'strong' not in needed:
    raise ValueError(f'{task} compares no views: config.data.strong has no use')
  if view:
    return view(**{key: chains[key] for key in needed})
  return chains['augment'] if augmentations['augment'] else None


def chained(augmentations: Mapping[str, dict[str, Any]], given: Mapping[str, Any]) -> Augmentation:
  """Augmentations by name, one after the other in the order of the catalog."""
  mixing = next((name for name in MIXING if name in augmentations), None)
  if mixing and 'num_classes' not in given:
    raise ValueError(f'{mixing} mixes class labels, and the data have none')
  return chain(
    *(
      factory(
        **augmentations[name],
        # Labels are mixed as well: they become distributions.
        **({'num_classes': given['num_classes']} if name in MIXING else {}),
      )
      for name, factory in AUGMENTATIONS.items()
      if name in augmentations
    )
  )
