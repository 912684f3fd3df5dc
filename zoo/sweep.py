"""Runs one after another: of options that change a program, and so cannot be side by side.

`--sweep.model.widths='(16,),(32,64)' --sweep.optimizer.name=adamw,lamb` is four runs, each in a
folder of its own below the run directory. What can be side by side (`population.SWEPT`) stays so,
within each of them.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.population import SWEPT
from zoo.training import rundir

PREFIX = 'sweep.'


def combinations(overrides: Sequence[str]) -> tuple[list[str], list[list[str]]]:
  """Separates what is swept in turn from all other overrides.

  Args:
    overrides: as `cli.separate` returns them.

  Returns:
    The other overrides; and those of every run, such as ['--config.model.name=cnn']: one without
    any if nothing is swept in turn.

  Raises:
    ValueError: an option without values, or with the same twice.
  """
  rest, choices = [], []
  for override in overrides:
    name, _, text = override.lstrip('-').partition('=')
    option = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or option in SWEPT:
      rest.append(override)
      continue
    values = split(text)
    if not all(values) or len({*values}) < len(values):
      raise ValueError(f'{override} must give different values, one after a comma')
    choices.append([f'--config.{option}={value}' for value in values])
  return rest, [list(chosen) for chosen in itertools.product(*choices)]


def split(text: str) -> list[str]:
  """Parts between commas, but for those within brackets: '(1,2),3' is '(1,2)' and '3'."""
  parts, depth = [''], 0
  for character in text:
    depth += (character in '([{') - (character in ')]}')
    if character == ',' and depth == 0:
      parts.append('')
    else:
      parts[-1] += character
  return [part.strip() for part in parts]


def folder_of(chosen: Sequence[str]) -> str:
  """The name of the folder of a run: 'optimizer.name=adamw,model.widths=(16,)'."""
  names = [override.removeprefix('--config.') for override in chosen]
  return ','.join(name.replace('/', '_').replace(' ', '') for name in names)


def summarize(workdir: Path, folders: Sequence[str]) -> dict[str, Any]:
  """Writes sweep.json: the figures of every run, and which is best on validation.

  Args:
    workdir: that holds the folders.
    folders: of runs that are complete.
  """
  runs = {name: rundir.read_summary(workdir / name) for name in folders}
  first = next(iter(runs.values()))
  figure, mode = first['best'], rundir.read_config(workdir / folders[0])['train']['best_mode']
  values = [validation(run, figure) for run in runs.values()]
  worst = np.inf if mode == 'min' else -np.inf
  known = np.where(np.isfinite(values), values, worst)
  best = folders[int(np.argmin(known) if mode == 'min' else np.argmax(known))]
  result = {
    'by': figure,
    'best': best if np.isfinite(values).any() else None,
    'runs': {name: run['metrics'] for name, run in runs.items()},
    'seconds': sum(run['seconds'] for run in runs.values()),
  }
  rundir.atomic_write(workdir / 'sweep.json', json.dumps(result, indent=2).encode())
  return result


def validation(run: Mapping[str, Any], figure: str) -> float:
  """What a run is chosen by; NaN if it was not measured."""
  return float(run['metrics'].get('validation', {}).get(figure, 'nan'))
