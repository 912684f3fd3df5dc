"""The run directory: what lies in it, written so that a kill at any moment harms nothing.

  config.json     what the run was started with; evaluation and resume read it
  metrics.jsonl   one object a line, only what the run determines: equal after any kill and resume
  timing.jsonl    one object a line, what the machine determines: seconds, examples per second
  tensorboard/    both of the above, pictures and texts, as TensorBoard events
  checkpoints/    see checkpoint.py
  previews/       pictures or texts of what the model does, one file per name and step
  curves.png      metrics.jsonl as a picture
  summary.json    written once, at the end: final metrics, speed, provenance

A number that is not finite has no JSON form; here it is the string "NaN", "Infinity" or "-Infinity"
(as in the JSON mapping of protocol buffers), which both `float` and a reader understand.
"""

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

PathLike = str | os.PathLike[str]
NOT_FINITE = ('NaN', 'Infinity', '-Infinity')


@contextlib.contextmanager
def errors_naming(path: PathLike) -> Iterator[None]:
  """Lets an OSError of the block say in one line which file of the run could not be had."""
  try:
    yield
  except OSError as error:
    reason = error.strerror or str(error)
    raise OSError(error.errno, reason, os.fspath(path)) from error


def atomic_write(path: PathLike, data: bytes | str) -> None:
  """Writes a whole file, or leaves the one that is there: a reader never meets half of it.

  The data is on the disk before the name moves to it, so that also after a power cut the file is
  the old one or the new one. Two writers of one path must exclude each other (the run's lock does).

  Args:
    path: the file; its directory exists.
    data: bytes, or text that is encoded as UTF-8.

  Raises:
    OSError: the disk is full or the directory not writable; `path` is as it was.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f'.{path.name}.tmp')
  with errors_naming(path):
    try:
      with open(temporary, 'wb') as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
      os.replace(temporary, path)
    except BaseException:
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
      raise
  with contextlib.suppress(OSError):  # not every file system can sync a directory
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)


def json_number(value: Any) -> int | float | str:
  """A scalar as JSON can hold it: the shortest decimal that gives the same float32 again.

  So the text is the same whether the value came as float32 or was widened to a Python float, and
  `np.float32(parsed)` is bit for bit what was written. Integers stay integers.
  """
  if isinstance(value, (int, np.integer)):
    return int(value)
  with np.errstate(over='ignore'):
    single = np.float32(float(value))
  if np.isfinite(single):
    return float(str(single))
  return 'NaN' if np.isnan(single) else 'Infinity' if single > 0 else '-Infinity'


def write_config(directory: PathLike, config: Mapping[str, Any]) -> None:
  """Writes config.json, creating the run directory if need be.

  Raises:
    OSError: the directory cannot be made or written to.
    ValueError: a value that JSON cannot hold (infinity and NaN included).
  """
  directory = pathlib.Path(directory)
  with errors_naming(directory):
    directory.mkdir(parents=True, exist_ok=True)
  _write_json(directory / 'config.json', config)


def read_config(directory: PathLike) -> dict[str, Any]:
  """Reads config.json; tuples come back as lists.

  Raises:
    ValueError: there is no run in the directory, or its config.json is damaged.
  """
  path = pathlib.Path(directory) / 'config.json'
  try:
    with errors_naming(path):
      config = json.loads(path.read_bytes())
  except (FileNotFoundError, NotADirectoryError):
    raise ValueError(f'no run in {directory}: it has no config.json') from None
  except ValueError as error:  # of JSON or of UTF-8
    raise ValueError(f'{path} is damaged: {error}') from None
  if not isinstance(config, dict):
    raise ValueError(f'{path} is damaged: it holds no object')
  return config


def write_summary(directory: PathLike, summary: Mapping[str, Any]) -> None:
  """Writes summary.json. Not-finite numbers become strings, NumPy's scalars plain numbers.

  Raises:
    OSError: the directory cannot be written to.
    ValueError: a value that JSON cannot hold.
  """
  _write_json(pathlib.Path(directory) / 'summary.json', _plain(summary))


def read_summary(directory: PathLike) -> dict[str, Any]:
  """Reads summary.json.

  Raises:
    ValueError: the run is not complete, or its summary.json is damaged.
  """
  path = pathlib.Path(directory) / 'summary.json'
  try:
    with errors_naming(path):
      return json.loads(path.read_bytes())
  except FileNotFoundError:
    raise ValueError(f'the run in {directory} is not complete: it has no summary.json') from None
  except ValueError as error:
    raise ValueError(f'{path} is damaged: {error}') from None


def config_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
  """What has changed between two configs, by the full name of the leaf, sorted.

  Args:
    old: nested dict of JSON values; a tuple equals the list it becomes in JSON.
    new: the same.

  Returns:
    Lines such as `optimizer.learning_rate: 0.001 -> 0.01`; none if the configs are equal.
  """
  before, after = _leaves(old), _leaves(new)
  lines = []
  for name in sorted(before | after):
    if name not in before:
      lines.append(f'{name}: (absent) -> {json.dumps(after[name])}')
    elif name not in after:
      lines.append(f'{name}: {json.dumps(before[name])} -> (absent)')
    elif _differ(before[name], after[name]):
      lines.append(f'{name}: {json.dumps(before[name])} -> {json.dumps(after[name])}')
  return lines


def read_metrics(path: PathLike) -> list[dict[str, Any]]:
  """Reads metrics.jsonl or timing.jsonl; a last line that is still being written is left out.

  Returns:
    One dict per line, in the order written: 'step' and the scalars, not-finite ones as floats.

  Raises:
    OSError: the file cannot be read.
    ValueError: a line that is no JSON object with a step.
  """
  path = pathlib.Path(path)
  with errors_naming(path):
    lines = path.read_bytes().split(b'\n')[:-1]
  records = []
  for number, line in enumerate(lines, 1):
    try:
      record = json.loads(line)
      record['step'] = int(record['step'])
    except (ValueError, TypeError, KeyError):
      raise ValueError(f'{path}, line {number} is damaged: no JSON object with a step') from None
    records.append({k: float(v) if v in NOT_FINITE else v for k, v in record.items()})
  return records


def _write_json(path: pathlib.Path, value: Any) -> None:
  try:
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False)
  except (TypeError, ValueError) as error:
    raise ValueError(f'{path.name} cannot be written: {error}') from None
  atomic_write(path, text + '\n')


def _plain(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {str(k): _plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(v) for v in value]
  if isinstance(value, float) and math.isfinite(value):
    return float(value)  # a time or a rate keeps its 64 bits
  return json_number(value) if isinstance(value, (float, np.number)) else value


def _leaves(config: Any, prefix: str = '') -> dict[str, Any]:
  """Flattens to {'a.b': leaf}; an empty dict is a leaf, and so is a list."""
  if isinstance(config, Mapping) and (config or not prefix):
    items = [_leaves(v, f'{prefix}.{k}' if prefix else str(k)) for k, v in config.items()]
    return {name: leaf for leaves in items for name, leaf in leaves.items()}
  return {prefix: json.loads(json.dumps(config))}


def _differ(old: Any, new: Any) -> bool:
  """1 and 1.0 are one value; 1 and true, which Python calls equal, are two."""
  return old != new or isinstance(old, bool) != isinstance(new, bool)
