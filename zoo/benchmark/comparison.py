"""What was measured now, against what was measured before."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Row = Mapping[str, Any]

# What makes two rows the same work.
SAME = ('name', 'what', 'parallel', 'devices', 'batch_size', 'steps_per_call', 'dtype')


class Change(NamedTuple):
  """How many times as fast a row is now, as median, and between which bounds: p10 against p90."""

  row: Row
  speed: float
  low: float
  high: float

  def is_slower(self, threshold: float) -> bool:
    """Whether it is slower by more than a share, however the noise is read."""
    return self.high < 1 - threshold


def read_rows(path: str | Path) -> list[dict[str, Any]]:
  """The rows of a file that `scripts/benchmark.py --json` wrote.

  Raises:
    ValueError: no such file, or one with other things in it; one line.
  """
  try:
    text = Path(path).read_text()
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'{path} cannot be read: {error}') from None
  rows = []
  for number, line in enumerate(text.splitlines(), 1):
    try:
      row = json.loads(line)
    except ValueError:
      raise ValueError(f'{path}:{number} is no JSON') from None
    if not isinstance(row, dict) or 'name' not in row or 'what' not in row:
      raise ValueError(f'{path}:{number} is no row of scripts/benchmark.py')
    if not isinstance(row.get('provenance'), dict) or not row['provenance'].get('versions'):
      raise ValueError(f'{path}:{number} does not say where it was measured')
    step = row.get('step_ms')
    if step is not None and not (isinstance(step, dict) and {'median', 'p10', 'p90'} <= {*step}):
      raise ValueError(f'{path}:{number} has no quantiles of its step_ms')
    rows.append(row)
  return rows


def key_of(row: Row) -> tuple[Any, ...]:
  return tuple(row.get(name) for name in SAME)


def compare_rows(new: Iterable[Row], old: Sequence[Row]) -> list[Change]:
  """The rows that both have; of several alike in `old` the last counts."""
  timed = {key_of(row): row for row in old if row.get('step_ms')}
  changes = []
  for row in new:
    before = timed.get(key_of(row)) if row.get('step_ms') else None
    if before is not None:
      now, then = row['step_ms'], before['step_ms']
      speed = then['median'] / now['median']
      changes.append(Change(row, speed, then['p10'] / now['p90'], then['p90'] / now['p10']))
  return changes


def lines(changes: Sequence[Change], threshold: float) -> Iterable[str]:
  """The comparison in words."""
  for change in changes:
    row = change.row
    label = f'{row["name"]} {row["what"]} {row["parallel"]} {row["batch_size"]}'
    verdict = '  SLOWER' if change.is_slower(threshold) else ''
    yield f'{label}: {change.speed:.2f} ({change.low:.2f}-{change.high:.2f}) times as fast{verdict}'
