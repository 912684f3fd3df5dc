"""Writes what a run logs: metrics.jsonl, timing.jsonl, previews/ and TensorBoard events.

Goals: a run killed anywhere and started again ends with the same bytes in metrics.jsonl as one that
was never killed; whatever was written survives SIGKILL; a full disk is an OSError at the call that
met it. Non-goals: remote file systems, more than one writer per run (in a run of several processes,
only process 0 writes).

TensorBoard events are framed here and made of tensorboardX's protocol buffers, without its
SummaryWriter: that one writes from a thread, which dies of a full disk and then blocks its callers
for ever, names its files after the host, and overwrites the file of a run begun in the same second.
"""

import json
import os
import pathlib
import re
import struct
import time
from collections.abc import Mapping
from typing import Any, BinaryIO

from zoo.training import rundir

_PNG, _GIF = b'\x89PNG\r\n\x1a\n', b'GIF89a'
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by the colour type in a PNG's header
_NAME = re.compile(r'[A-Za-z0-9_.-]+')


class MetricWriter:
  """The log of one run; a context manager that closes its files.

  For the contract of resume to hold, what belongs to step s is written before the checkpoint of
  step s is begun: then a checkpoint never knows of a step whose lines are missing.
  """

  def __init__(self, directory: rundir.PathLike, resume_step: int = 0):
    """Opens the files and drops what a killed run wrote after its last checkpoint.

    Args:
      directory: the run directory; made if need be.
      resume_step: the step the run goes on from: lines of later steps, and a torn last line, are
        dropped. 0 if it begins: then all lines are, those of step 0 too, for it writes them again.

    Raises:
      OSError: the directory cannot be made or written to.
      ValueError: a line of an earlier log is damaged; nothing has been changed.
    """
    directory = pathlib.Path(directory)
    self._previews = directory / 'previews'
    events = directory / 'tensorboard'
    logs = [directory / 'metrics.jsonl', directory / 'timing.jsonl']
    for folder in (directory, self._previews, events):
      with rundir.errors_naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    kept = [_lines_until(log, resume_step) for log in logs]
    for log, lines in zip(logs, kept, strict=True):
      if lines is not None:
        rundir.atomic_write(log, lines)
    self._metrics, self._timing = (_Log(log) for log in logs)
    self._events = _EventLog(events, resume_step)

  def __enter__(self) -> 'MetricWriter':
    return self

  def __exit__(self, *exc_info: object) -> None:
    self.close()

  def write(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Appends one line to metrics.jsonl: the step, then the scalars sorted by name.

    Args:
      step: of the run. Several lines of one step are fine (training, evaluation).
      scalars: only what the run determines, never a time. Floats are written as float32, integers
        as integers, not-finite ones as in `rundir`. Names are like 'train/loss'.

    Raises:
      OSError: naming the file that could not be written.
    """
    self._metrics.append(_line(step, scalars))
    self._events.scalars(step, scalars)

  def write_timing(self, step: int, timings: Mapping[str, Any]) -> None:
    """Appends one line to timing.jsonl, of what the machine determines; otherwise as `write`."""
    self._timing.append(_line(step, timings))
    self._events.scalars(step, {f'timing/{k}': v for k, v in timings.items()})

  def write_image(self, name: str, step: int, picture: bytes) -> pathlib.Path:
    """Writes a picture to previews/{name}_{step:08d}.png, or .gif, and to TensorBoard.

    Args:
      name: letters, digits and `_.-`, such as 'confusion'.
      step: of the run.
      picture: a PNG, or a GIF if it moves.

    Returns:
      The path of the file.

    Raises:
      OSError: the file could not be written.
      ValueError: a name that is none, or bytes that are neither.
    """
    if picture.startswith(_GIF) and len(picture) > 13:
      suffix, colours = 'gif', 3
      width, height = struct.unpack('<HH', picture[6:10])  # GIF89a, 18: logical screen
    elif picture.startswith(_PNG) and len(picture) >= 33:
      suffix = 'png'
      # PNG (3rd edition), 11.2.1 IHDR
      width, height, _, colour = struct.unpack('>IIBB', picture[16:26])
      colours = _CHANNELS.get(colour, 3)
    else:
      raise ValueError(f'preview {name!r} at step {step} is no PNG')
    path = self._preview(name, step, suffix)
    rundir.atomic_write(path, picture)
    image = {'width': width, 'height': height, 'colorspace': colours}
    self._events.image(step, f'previews/{name}', {**image, 'encoded_image_string': picture})
    return path

  def write_text(self, name: str, step: int, text: str) -> pathlib.Path:
    """Writes a text to previews/{name}_{step:08d}.txt and to TensorBoard; else as `write_image`."""
    path = self._preview(name, step, 'txt')
    rundir.atomic_write(path, text)
    self._events.text(step, f'previews/{name}', text)
    return path

  def flush(self) -> None:
    """Waits until all is on the disk. SIGKILL loses nothing without it; a power cut might."""
    for log in (self._metrics, self._timing, self._events.log):
      log.sync()

  def close(self) -> None:
    """Closes the files; may be called twice."""
    for log in (self._metrics, self._timing, self._events.log):
      log.close()

  def _preview(self, name: str, step: int, suffix: str) -> pathlib.Path:
    if not _NAME.fullmatch(name):
      raise ValueError(f'preview name {name!r} is not made of letters, digits, "_", "." and "-"')
    return self._previews / f'{name}_{step:08d}.{suffix}'


class _Log:
  """A file that only grows. Unbuffered: what `append` returned from, the kernel has."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    with rundir.errors_naming(path):
      self._file: BinaryIO = open(path, 'ab', buffering=0)  # noqa: SIM115 - lives as long as the run

  def append(self, data: bytes) -> None:
    with rundir.errors_naming(self._path):
      rest = memoryview(data)
      while rest:  # on an almost full disk a write takes only a part, and the next one raises
        rest = rest[self._file.write(rest) :]

  def sync(self) -> None:
    with rundir.errors_naming(self._path):
      os.fsync(self._file.fileno())

  def close(self) -> None:
    self._file.close()


class _EventLog:
  """TensorBoard events: `Event` messages in the framing of TFRecord."""

  def __init__(self, directory: pathlib.Path, resume_step: int):
    # Imported here: 0.2 s that `import zoo` need not pay.
    from tensorboardX.proto import event_pb2, summary_pb2
    from tensorboardX.record_writer import masked_crc32c
    from tensorboardX.summary import text

    events: Any = event_pb2  # generated classes, which a type checker cannot see
    summaries: Any = summary_pb2
    self._event, self._summary = events.Event, summaries.Summary
    self._text, self._crc = text, masked_crc32c
    # TensorBoard reads the files of a directory in the order of their names: by time.
    self.log = _Log(directory / f'events.out.tfevents.{time.time_ns() // 10**6}')
    self._append(file_version='brain.Event:2')
    # Tells TensorBoard to forget what an earlier, killed run wrote of these steps.
    first = resume_step + 1 if resume_step else 0
    start = events.SessionLog(status=events.SessionLog.START)
    self._append(step=first, session_log=start)

  def scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    value = [self._summary.Value(tag=k, simple_value=float(v)) for k, v in scalars.items()]
    self._append(step=step, summary=self._summary(value=value))

  def image(self, step: int, tag: str, image: Mapping[str, Any]) -> None:
    value = self._summary.Value(tag=tag, image=self._summary.Image(**image))
    self._append(step=step, summary=self._summary(value=[value]))

  def text(self, step: int, tag: str, text: str) -> None:
    self._append(step=step, summary=self._text(tag, text))

  def _append(self, **event: Any) -> None:
    data = self._event(wall_time=time.time(), **event).SerializeToString()
    length = struct.pack('<Q', len(data))
    checks = [struct.pack('<I', self._crc(x)) for x in (length, data)]
    self.log.append(length + checks[0] + data + checks[1])


def _line(step: int, scalars: Mapping[str, Any]) -> bytes:
  numbers = {name: rundir.json_number(scalars[name]) for name in sorted(scalars)}
  return json.dumps({'step': int(step), **numbers}, allow_nan=False).encode() + b'\n'


def _lines_until(path: pathlib.Path, step: int) -> bytes | None:
  """The whole lines of a log up to a step, byte for byte; None if that is the file as it is."""
  if not path.exists():
    return None
  if not step:
    return b''
  steps = [record['step'] for record in rundir.read_metrics(path)]
  with rundir.errors_naming(path):
    data = path.read_bytes()
  lines = data.split(b'\n')[:-1]
  kept = b''.join(line + b'\n' for line, at in zip(lines, steps, strict=True) if at <= step)
  return kept if kept != data else None
