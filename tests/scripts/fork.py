"""Scripts in processes of their own that begin with the imports done: 2 s less for each."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

IMPORTED = ['tests.scripts.fork', 'zoo.preview', 'zoo.runs', 'tensorboardX.record_writer']


def run(
  line: Sequence[str], variables: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess:
  """As `subprocess.run` of Python and a script, with what it printed.

  Args:
    line: Python, the script and its arguments.
    variables: the environment. What a library reads of it when imported stays as it was the first
      time (JAX_*, but not XLA_FLAGS).
    timeout: seconds after which the script is killed, and `subprocess.TimeoutExpired` raised.
  """
  start_server(variables)
  with tempfile.TemporaryDirectory() as folder:
    files = [Path(folder) / name for name in ('stdout', 'stderr')]
    process = multiprocessing.get_context('forkserver').Process(
      target=become, args=(list(line[1:]), dict(variables), *files)
    )
    process.start()
    process.join(timeout)
    if process.is_alive():
      process.kill()
      process.join()
      raise subprocess.TimeoutExpired(line, timeout)
    printed = [path.read_text() for path in files]
  return subprocess.CompletedProcess(line, process.exitcode, *printed)


def start_server(variables: Mapping[str, str]) -> None:
  """Starts the process that imports and forks, in this environment, if there is none yet."""
  multiprocessing.get_context('forkserver').set_forkserver_preload(IMPORTED)
  before = dict(os.environ)
  os.environ.update(variables)
  try:
    forkserver.ensure_running()
  finally:
    os.environ.clear()
    os.environ.update(before)


def become(argv: list[str], variables: dict[str, str], stdout: Path, stderr: Path) -> None:
  """Runs a script as the main program of this process."""
  for stream, path in ((1, stdout), (2, stderr)):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
  os.environ.clear()
  os.environ.update(variables)
  sys.argv = argv
  sys.path.insert(0, str(Path(argv[0]).parent))
  runpy.run_path(argv[0], run_name='__main__')
