"""Shows how far a run is, to a person or to a log file, and how fast it goes.

Everything here takes numbers that are already on the host: nothing waits for a device.
"""

import contextlib
import datetime
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO


class Throughput:
  """Examples per second between two logs.

  The first interval holds the compilation and counts for nothing. Since steps are dispatched
  asynchronously, `update` belongs after the scalars of the step have been fetched: before that the
  clock shows how fast steps are queued, not how fast they run.
  """

  def __init__(self, clock: Callable[[], float] = time.perf_counter):
    self._clock = clock
    self._last: tuple[int, float] | None = None
    self._paused = 0.0
    self._examples, self._seconds = 0, 0.0

  def update(self, examples: int) -> float | None:
    """Ends an interval.

    Args:
      examples: how many the run has seen, from whatever start.

    Returns:
      Examples per second since the last update, pauses left out; None at the first one.
    """
    now = self._clock()
    last, self._last = self._last, (examples, now)
    paused, self._paused = self._paused, 0.0
    if last is None:
      return None
    count, seconds = examples - last[0], now - last[1] - paused
    self._examples += count
    self._seconds += seconds
    return count / max(seconds, 1e-9)

  @contextlib.contextmanager
  def paused(self) -> Iterator[None]:
    """Leaves the time of the block out: an evaluation, a preview, a save."""
    start = self._clock()
    try:
      yield
    finally:
      self._paused += self._clock() - start

  @property
  def mean(self) -> float | None:
    """Examples per second over all intervals but the first; None before the second."""
    return self._examples / self._seconds if self._seconds > 0 else None


class Progress:
  """A bar on a terminal; elsewhere one plain line per update, without carriage returns.

  Use as a context manager, so that the line below the bar is free again, also after an error.
  """

  def __init__(
    self, total: int, initial: int = 0, unit: str = 'examples', file: TextIO | None = None
  ):
    """Begins at `initial` of `total` steps.

    Args:
      total: the step at which the run ends.
      initial: the step it resumes from.
      unit: what the throughput counts: 'examples', 'tokens', 'frames'.
      file: where to print; standard output if None.
    """
    self._total, self._step, self._unit = total, initial, unit
    self._file = file or sys.stdout
    self._first: tuple[int, float] | None = None
    self._bar = None
    if self._file.isatty():
      from tqdm import tqdm

      self._bar = tqdm(
        desc=f'step {initial}/{total}',
        total=total,
        initial=initial,
        file=self._file,
        bar_format='{desc} |{bar}|',  # the bar takes what width the text leaves it
        dynamic_ncols=True,
      )

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *exc_info: object) -> None:
    if self._bar is not None:
      self._bar.close()

  def update(
    self, step: int, scalars: Mapping[str, float], examples_per_second: float | None = None
  ) -> None:
    """Shows a step.

    Args:
      step: of the run, so far.
      scalars: host floats; loss and accuracy come first, the others at the end of the line;
        'train/' is left out of the names.
      examples_per_second: as `Throughput.update` returns it; None is not shown.
    """
    text = self._describe(step, scalars, examples_per_second)
    if self._bar is None:
      print(text, file=self._file, flush=True)
    else:
      self._bar.set_description_str(text, refresh=False)
      self._bar.update(step - self._step)
    self._step = step

  def write(self, text: str) -> None:
    """Prints a line of text, above the bar if there is one."""
    if self._bar is None:
      print(text, file=self._file, flush=True)
    else:
      self._bar.write(text, file=self._file)

  def _describe(
    self, step: int, scalars: Mapping[str, float], examples_per_second: float | None
  ) -> str:
    short = {name.removeprefix('train/'): _number(value) for name, value in scalars.items()}
    parts = [f'step {step}/{self._total}']
    parts += [f'{name} {short.pop(name)}' for name in ('loss', 'accuracy') if name in short]
    if examples_per_second is not None:
      parts.append(f'{examples_per_second:,.0f} {self._unit}/s')
    left = self._seconds_left(step)
    if left is not None:
      parts.append(f'ETA {datetime.timedelta(seconds=round(left))}')
    return '  '.join(parts + [f'{name} {value}' for name, value in short.items()])

  def _seconds_left(self, step: int) -> float | None:
    """From the mean speed since the first update, which leaves the compilation out."""
    now = time.monotonic()
    if self._first is None:
      self._first = (step, now)
    start, began = self._first
    if not start < step < self._total:
      return None
    return (self._total - step) * (now - began) / (step - start)


def _number(value: float) -> str:
  """Four decimals, so that a column of them does not jump; else powers of ten."""
  plain = value == 0 or 1e-3 <= abs(value) < 1e5
  return f'{value:.4f}' if plain or not math.isfinite(value) else f'{value:.3e}'
