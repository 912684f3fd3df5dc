"""Measurements in a process of their own, for what is decided when a process starts.

XLA counts its threads for a CPU once, so a config with `train.cpu_threads` cannot share a process
with the other rows of a suite.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zoo.benchmark.requests import Request


def command(script: str, request: Request, flags: Sequence[str]) -> list[str]:
  """The one by which scripts/benchmark.py measures a config as a request asks, by itself.

  Args:
    script: its path.
    request: of a config.
    flags: further ones.
  """
  choices = {
    'what': request.what,
    'batch_size': request.sizes,
    'dtype': request.dtypes,
    'parallel': request.strategies,
  }
  given = {name: [str(c) for c in values if c is not None] for name, values in choices.items()}
  lists = [f'--{name}={",".join(values)}' for name, values in given.items() if values]
  return [sys.executable, script, f'--config={request.path}', *request.overrides, *lists, *flags]


def measured(script: str, request: Request, flags: Sequence[str]) -> Iterator[dict[str, Any]]:
  """Yields the rows of a config, measured in a new process; failures are rows.

  Args:
    script: see `command`.
    request: likewise.
    flags: likewise.
  """
  with tempfile.TemporaryDirectory(prefix='zoo_benchmark_') as folder:
    file = Path(folder) / 'rows.jsonl'
    line = command(script, request, [*flags, f'--json={file}'])
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    rows = [json.loads(row) for row in file.read_text().splitlines()] if file.exists() else []
  for row in rows:
    yield row | {'label': request.label}
  if done.returncode < 0 or not rows:  # it was killed, or refused its flags
    said = done.stdout.strip().splitlines()[-1:] if done.returncode > 0 else []
    error = next(iter(said), f'its process ended with status {done.returncode}')
    yield {'what': ','.join(request.what), 'parallel': None, 'batch_size': None, 'error': error}
