"""Workloads by what a person calls them: a config file, a model, or a target of a suite."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo import cli
from zoo.benchmark.suites import Target, overrides
from zoo.benchmark.workload import Workload, from_config, from_model, has_dtype
from zoo.experiment import complete_config

Maker = Callable[[str | None, int | None, str | None, Any], Workload]
FLOAT32_IF_THERE = 'f32?'  # a dtype: where there is a choice


class Request(NamedTuple):
  """Work to measure, in every combination.

  Attributes:
    name: of the config or model.
    label: the name with whatever else tells it from others.
    make: (strategy, batch size, dtype, devices) -> workload; None stands for what it has.
    what: measurements.
    sizes: of batches.
    dtypes: to compute in.
    strategies: of parallelism.
    cpu_threads: see `TrainSettings`.
    path: of the config; None for a model.
    overrides: of the config, as on a command line.
  """

  name: str
  label: str
  make: Maker
  what: tuple[str, ...]
  sizes: tuple[int | None, ...]
  dtypes: tuple[str | None, ...]
  strategies: tuple[str | None, ...]
  cpu_threads: int = 0
  path: str | None = None
  overrides: tuple[str, ...] = ()


def of_target(target: Target, configs: Path, strategies: tuple[str | None, ...]) -> Request:
  """A target of a suite.

  Args:
    target: of a model, or of a config.
    configs: the folder of configs.
    strategies: of parallelism.
  """
  own = (target.what, (target.batch_size,), (target.dtype,), strategies)
  if target.is_model:
    make = model_maker(target.name, target.options)
    return Request(target.name, target.label, make, *own)
  path, changes = str(configs / f'{target.name}.py'), tuple(overrides(target))
  return of_config(path, changes, *own)._replace(label=target.label)


def of_config(
  path: str,
  overrides: Sequence[str],
  what: tuple[str, ...],
  sizes: tuple[int | None, ...],
  dtypes: tuple[str | None, ...],
  strategies: tuple[str | None, ...],
  synthetic: bool = False,
) -> Request:
  """A config.

  Args:
    path: of its file, with a preset behind a colon or none.
    overrides: as on a command line.
    what: as in `Request`.
    sizes: likewise.
    dtypes: likewise.
    strategies: likewise.
    synthetic: see `from_config`; the label says so.
  """
  values = values_of(path, overrides)
  name, threads = Path(path.partition(':')[0]).stem, values['train']['cpu_threads']
  label = f'{name} synthetic' if synthetic else name
  make = config_maker(values, synthetic)
  choices = (what, sizes, dtypes, strategies)
  return Request(name, label, make, *choices, threads, path, tuple(overrides))


def model_maker(name: str, options: Mapping[str, Any] | None = None) -> Maker:
  """Of a model with its published objective; batches of 32 by default."""

  def make(strategy: str | None, size: int | None, dtype: str | None, devices: Any) -> Workload:
    return from_model(name, strategy or 'auto', size or 32, chosen(name, dtype), devices, options)

  return make


def values_of(path: str, overrides: Sequence[str]) -> dict[str, Any]:
  """A config file, complete."""
  return cli.load_config(path, overrides, complete_config).to_dict()


def config_maker(values: Mapping[str, Any], synthetic: bool) -> Maker:
  """Of a config, complete."""

  def make(strategy: str | None, size: int | None, dtype: str | None, devices: Any) -> Workload:
    dtype = chosen(values['model']['name'], dtype)
    return from_config(values, strategy, size, dtype, devices, synthetic)

  return make


def chosen(name: str, dtype: str | None) -> str | None:
  """The type that a model is told to compute in."""
  if dtype == FLOAT32_IF_THERE:
    return 'f32' if has_dtype(name) else None
  return dtype
