"""The table that a benchmark prints."""

from typing import Any

COLUMNS = (
  '{:22}{:13}{:9}{:>4}{:>7}{:>7}{:>7}{:>10}{:>10}{:>10}{:>12}{:>7}{:>10}{:>10}{:>7}{:>8}  {}'
)
HEADER = (
  *('name', 'what', 'parallel', 'dev', 'batch', 'cold s', 'warm s', 'ms/step', 'p10', 'p90'),
  *('examples/s', 'cores', 'MiB', 'GFLOP/s', 'MFU', 'roof', ''),
)


def header() -> str:
  return COLUMNS.format(*HEADER).rstrip()


def describe(row: dict[str, Any]) -> str:
  """A row of the table; the last column has what only some rows have."""
  start = [row['label'][:21], row['what'], row['parallel'] or '']
  if 'error' in row:
    line = COLUMNS.format(*start, '', row['batch_size'] or '', *[''] * 12)
    return f'{line.rstrip()}  failed: {row["error"]}'
  step, peak = row['step_ms'], row['memory_bytes'].get('peak')
  optional = lambda value, form: '-' if value is None else format(value, form)
  seconds = step['median'] / 1000
  rate = row['model_flops'] and row['model_flops'] / seconds / 1e9
  return COLUMNS.format(
    *(*start, row['devices'], row['batch_size']),
    *(f'{row["compile_seconds"]:.2f}', optional(row['warm_compile_seconds'], '.2f')),
    *(f'{step[q]:.3f}' for q in ('median', 'p10', 'p90')),
    *(f'{row["examples_per_second"]:,.0f}', f'{row["cores"]:.2f}'),
    optional(peak and peak / 2**20, '.1f'),
    *(
      optional(rate, ',.1f'),
      optional(row.get('mfu'), '.1%'),
      optional(row.get('roofline'), '.0%'),
    ),
    '; '.join(remarks(row)),
  ).rstrip()


def remarks(row: dict[str, Any]) -> list[str]:
  """What the columns do not say."""
  found = [f'{rate:,.0f} {name.replace("_", " ")}/s' for name, rate in row['per_second'].items()]
  if row.get('bound'):
    found.append(f'bound by {row["bound"]}')
  if row.get('mfu_datasheet') is not None:
    found.append(f'{row["mfu_datasheet"]:.1%} of the data sheet')
  if row['workers']:
    found.append(f'{row["workers"]} workers, {row["examples_per_core_second"]:,.0f} a core')
  found += [
    f'{q["median"]:.2f} ({q["p10"]:.2f}-{q["p90"]:.2f}) times as fast as {other}'
    for other, q in row['speed'].items()
  ]
  if row['what'] == 'loop' and 'bare step' in row['speed']:
    found.append(f'{1 - row["speed"]["bare step"]["median"]:+.1%} beyond the step')
    found.append(f'{row["input_wait"]:.1%} of the time waiting for input')
  return found
