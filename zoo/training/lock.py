"""One writer per run directory."""

import datetime
import fcntl
import json
import os
import pathlib
import shlex
import socket
import sys
import types

FILENAME = '.lock'


class LockError(Exception):
  """The directory cannot be had; the message is one line that says why."""


class RunLock:
  """Holds a directory for this process, for as long as the `with` block runs.

  Two runs that write one directory lose work without a word: each deletes the other's checkpoints.
  The lock is the kernel's (flock on DIR/.lock), so it is gone with the process however that ends,
  SIGKILL included, and a leftover file means nothing. A child made by a bare fork shares the
  lock; one started through `subprocess` or multiprocessing's spawn does not. With several processes
  of one run, process 0 takes the lock.

  Args:
    directory: the run directory; made if it is not there.

  Raises:
    LockError: on entering, when another process holds the directory (its pid, host, start time and
      command are named), or it cannot be written.
  """

  def __init__(self, directory: str | os.PathLike[str]):
    self.directory = pathlib.Path(directory)
    self._descriptor: int | None = None

  def __enter__(self) -> 'RunLock':
    try:
      self.directory.mkdir(parents=True, exist_ok=True)
      descriptor = os.open(self.directory / FILENAME, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
      raise LockError(f'cannot write to {self.directory}: {error.strerror}') from error
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      holder = _describe(os.pread(descriptor, 1 << 16, 0))
      os.close(descriptor)
      raise LockError(f'{self.directory} is in use by {holder}') from None
    except OSError as error:
      os.close(descriptor)
      raise LockError(f'cannot lock {self.directory}: {error.strerror}') from error
    try:
      os.ftruncate(descriptor, 0)
      os.pwrite(descriptor, json.dumps(_this_process()).encode() + b'\n', 0)
    except OSError as error:
      os.close(descriptor)
      raise LockError(f'cannot write to {self.directory}: {error.strerror}') from error
    self._descriptor = descriptor
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    value: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    if self._descriptor is not None:
      # The file stays: were it unlinked, a third process could lock a new one of the same name
      # while a second still waits for this one.
      os.ftruncate(self._descriptor, 0)
      os.close(self._descriptor)
      self._descriptor = None


def _this_process() -> dict[str, str | int]:
  return {
    'pid': os.getpid(),
    'host': socket.gethostname(),
    'since': datetime.datetime.now().astimezone().isoformat(sep=' ', timespec='seconds'),
    'command': shlex.join([sys.executable, *sys.argv]),
  }


def _describe(data: bytes) -> str:
  try:
    holder = json.loads(data)
    return '{host}, process {pid}, since {since}: {command}'.format(**holder)
  except (ValueError, KeyError, TypeError):
    return 'a process that has just started'  # locked, and not yet written down
