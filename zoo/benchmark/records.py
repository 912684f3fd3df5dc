"""What was measured, as it is kept: summaries of runs under results/, rows under benchmarks/."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.benchmark.comparison import read_rows

Run = dict[str, Any]


def read_runs(folder: Path) -> list[dict[str, Any]]:
  """The summaries of a config's runs.

  Raises:
    ValueError: a file without its provenance.
  """
  runs = []
  for path in sorted(folder.glob('*seed*.json')):
    run = json.loads(path.read_text())
    if not run.get('provenance', {}).get('git_commit'):
      raise ValueError(f'{path} does not say which commit it was measured at')
    if 'members' in run:
      alone = {name: value for name, value in run.items() if name != 'members'}
      runs += [
        alone | {'seed': int(name.rpartition('seed=')[2]), 'metrics': figures}
        for name, figures in run['members'].items()
      ]
    else:
      runs.append(run | {'seed': int(path.stem.rpartition('seed')[2])})
  return runs


def figure_of(run: Mapping[str, Any]) -> str:
  """The name of what a run is judged by."""
  return run.get('best', 'accuracy')


def by_seed(runs: Sequence[Run]) -> list[float]:
  """What runs are judged by on the test split: a figure for each seed, the mean of its runs."""
  figure, found = figure_of(runs[0]), {}
  for run in runs:
    found.setdefault(run['seed'], []).append(run['metrics']['test'][figure])
  return [statistics.mean(values) for values in found.values()]


def read_suite(path: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
  """The rows of a file of `scripts/benchmark.py --json`: (label, what, batch size) -> row.

  Of several alike the last counts; what failed is left out. {} if there is no such file.
  """
  rows = read_rows(path) if path.exists() else []
  key = lambda row: (row.get('label', row['name']), row['what'], row['batch_size'])
  return {key(row): row for row in rows if 'error' not in row}


def read_peers(path: Path) -> dict[str, dict[str, Any]]:
  """The rows of a file of `scripts/peers.py --json`: case -> row, the last of each that worked.

  Raises:
    ValueError: a row without its provenance.
  """
  found = {}
  for number, line in enumerate(path.read_text().splitlines(), 1) if path.exists() else ():
    row = json.loads(line)
    if not row.get('provenance', {}).get('git_commit'):
      raise ValueError(f'{path}:{number} does not say which commit it was measured at')
    if row.get('ratio'):
      found[row['case']] = row
  return found
