"""README's tables, in Markdown: how good models are, how fast, and how fast beside their peers."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.benchmark.records import by_seed, figure_of, read_runs
from zoo.benchmark.suites import Target
from zoo.metrics import show

QUALITY = ('config', 'parameters', 'test', 'seeds', 'fastest run', 'device', 'versions', 'commit')
SPEED = ('what', 'batch', 'ms a step', 'a second', 'GFLOP/s', 'MFU', 'beyond the step', 'measured')
PEERS = ('what', 'zoo', 'best peer', 'times as fast (p10-p90)', 'threads', 'measured')


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Markdown. A row may be short."""
  filled = ([*row, *[''] * (len(columns) - len(row))] for row in rows)
  lines = [f'| {" | ".join(columns)} |', '|---' * len(columns) + '|']
  return '\n'.join([*lines, *(f'| {" | ".join(row)} |' for row in filled)]) + '\n'


def device_of(row: Mapping[str, Any]) -> str:
  """Of whatever has a provenance."""
  origin = row['provenance']
  if origin['platform'] != 'cpu':
    return origin['device_kind']
  cores = origin['cpu_cores']
  return f'{cores} core{"s" if cores != 1 else ""}, {origin["cpu"]}'


def versions_of(row: Mapping[str, Any]) -> str:
  """Likewise."""
  return ', '.join(f'{k} {row["provenance"]["versions"][k]}' for k in ('jax', 'flax'))


def measured(row: Mapping[str, Any]) -> str:
  """Device, versions, commit and date in one cell."""
  origin = row['provenance']
  commit = (origin['git_commit'] or 'no commit')[:8] + ('+' if origin['git_dirty'] else '')
  return f'{device_of(row)}, {versions_of(row)}, {commit}, {origin["date"][:10]}'


def quality_table(configs: Path, results: Path) -> str:
  """One row per config."""
  paths = sorted(configs.glob('*.py'))
  return table(QUALITY, (quality_row(p.stem, read_runs(results / p.stem)) for p in paths))


def quality_row(name: str, runs: list[dict[str, Any]]) -> list[str]:
  """The row of a config: what its runs were judged by, mean and standard deviation over seeds."""
  if not runs:
    return [f'`{name}`', '', 'not run']
  figure, values = figure_of(runs[0]), by_seed(runs)
  spread = f' ± {show(figure, statistics.stdev(values))}' if len(values) > 1 else ''
  seconds = min(run['seconds'] for run in runs)  # the others shared the machine with more
  commits = ', '.join(sorted({run['provenance']['git_commit'][:8] for run in runs}))
  shown = f'{figure.replace("_", " ")} {show(figure, statistics.mean(values))}{spread}'
  cells = [f'`{name}`', f'{runs[0]["parameters"]:,}', shown, str(len(values))]
  cells += [f'{seconds:.0f} s', device_of(runs[0]), versions_of(runs[0]), commits]
  return cells


def speed_table(suite: Sequence[Target], found: Mapping[tuple[str, str, int], Any]) -> str:
  """One row for each measurement of a suite. MFU is against a product measured beside it."""
  rows = []
  for target, what in ((t, w) for t in suite for w in t.what):
    keys = [k for k in found if k[:2] == (target.label, what)]
    keys = [k for k in keys if target.batch_size in (None, k[2])]
    name = f'`{target.label}`, {what}'
    empty = [name, str(target.batch_size or ''), 'not run']
    rows.append(speed_row(name, found[keys[-1]]) if keys else empty)
  return table(SPEED, rows)


def speed_row(name: str, row: Mapping[str, Any]) -> list[str]:
  """Of what was measured; compilation has its own figures."""
  if row['what'] == 'compile':
    cold, warm = row['compile_seconds'], row['warm_compile_seconds']
    text = f'{cold:.1f} s cold, {warm:.1f} s from the cache'
    return [name, str(row['batch_size']), text, '', '', '', '', measured(row)]
  step = row['step_ms']
  rates = row['per_second'] or {'examples': row['examples_per_second']}
  rate = ', '.join(f'{value:,.0f} {unit.replace("_", " ")}' for unit, value in rates.items())
  flops = row['model_flops']
  bare = row['speed'].get('bare step')
  return [
    *(name, str(row['batch_size'])),
    f'{brief(step["median"])} ({brief(step["p10"])}-{brief(step["p90"])})',
    rate,
    f'{flops / step["median"] / 1e6:,.1f}' if flops else '',
    f'{row["mfu"]:.1%}' if row.get('mfu') else '',
    f'{1 - bare["median"]:+.1%} ({1 - bare["p90"]:+.1%} to {1 - bare["p10"]:+.1%})' if bare else '',
    measured(row),
  ]


def brief(number: float) -> str:
  """Three digits, or all that are before the point."""
  return f'{number:,.0f}' if number >= 100 else f'{number:.3g}'


def peers_table(cases: Mapping[str, str], found: Mapping[str, Any]) -> str:
  """One row per case: name -> what it compares."""
  rows = (peers_row(found[n]) if n in found else [what, 'not run'] for n, what in cases.items())
  return table(PEERS, rows)


def peers_row(row: Mapping[str, Any]) -> list[str]:
  """The zoo against the faster of its peers."""
  key = next(name for name in row if name.endswith('_per_second'))
  unit, rates, ratio = key.removesuffix('_per_second').replace('_', ' '), row[key], row['ratio']
  return [
    *(row['what'], f'{rates["zoo"]:,.0f} {unit}/s', f'{rates[row["peer"]]:,.0f} ({row["peer"]})'),
    f'{ratio["median"]:.2f} ({ratio["p10"]:.2f}-{ratio["p90"]:.2f})',
    *(str(row['threads']), measured(row)),
  ]
