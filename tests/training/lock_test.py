"""One writer per directory, whatever becomes of the others."""

import errno
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from zoo.training import lock

REPOSITORY = pathlib.Path(lock.__file__).parents[2]
HOLD = """
import sys, time
from zoo.training.lock import RunLock
with RunLock(sys.argv[1]):
  print('held', flush=True)
  time.sleep(60)
"""


def hold(directory):
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(directory)],
    stdout=subprocess.PIPE,
    text=True,
    cwd=REPOSITORY,
  )
  assert process.stdout is not None and process.stdout.readline() == 'held\n'
  return process


def test_a_new_directory_is_made_and_the_holder_written_down(tmp_path):
  with lock.RunLock(tmp_path / 'runs' / 'a'):
    holder = json.loads((tmp_path / 'runs' / 'a' / lock.FILENAME).read_text())
  assert holder['pid'] == os.getpid() and holder['host'] == socket.gethostname()


def test_it_can_be_taken_again_after_it_was_released(tmp_path):
  for _ in range(2):
    with lock.RunLock(tmp_path):
      pass
  with pytest.raises(KeyError), lock.RunLock(tmp_path):
    raise KeyError
  with lock.RunLock(tmp_path):
    pass


def test_a_second_one_in_this_process_is_refused_and_does_no_harm(tmp_path):
  with lock.RunLock(tmp_path):
    for _ in range(2):
      with pytest.raises(lock.LockError, match=f'process {os.getpid()}'), lock.RunLock(tmp_path):
        pass
    assert json.loads((tmp_path / lock.FILENAME).read_text())['pid'] == os.getpid()


def test_another_process_is_named_and_its_death_by_sigkill_frees_the_lock(tmp_path):
  process = hold(tmp_path)
  try:
    with pytest.raises(lock.LockError) as error, lock.RunLock(tmp_path):
      pass
    message = str(error.value)
    assert '\n' not in message.strip()
    since = r'since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d'
    assert re.search(rf'{socket.gethostname()}, process {process.pid}, {since}: ', message)
    assert str(tmp_path) in message and sys.executable in message
  finally:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
  with lock.RunLock(tmp_path):
    assert json.loads((tmp_path / lock.FILENAME).read_text())['pid'] == os.getpid()


def test_a_holder_that_has_not_written_yet(tmp_path):
  descriptor = os.open(tmp_path / lock.FILENAME, os.O_RDWR | os.O_CREAT)
  fcntl.flock(descriptor, fcntl.LOCK_EX)
  with pytest.raises(lock.LockError, match='has just started'), lock.RunLock(tmp_path):
    pass
  os.close(descriptor)


def test_a_directory_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(lock.LockError, match=r'cannot write to .*file/run: Not a directory'):
    lock.RunLock(tmp_path / 'file' / 'run').__enter__()


@pytest.mark.parametrize(('function', 'code'), [('open', errno.EACCES), ('pwrite', errno.ENOSPC)])
def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch, function, code):
  def refuse(*args):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(os, function, refuse)
  with pytest.raises(lock.LockError, match=f'cannot write to {tmp_path}: {os.strerror(code)}'):
    lock.RunLock(tmp_path).__enter__()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
  def refuse(*args):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(fcntl, 'flock', refuse)
  with pytest.raises(lock.LockError, match=f'cannot lock {tmp_path}: No locks available'):
    lock.RunLock(tmp_path).__enter__()
