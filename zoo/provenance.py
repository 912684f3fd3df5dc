"""What a number was measured with: device, versions, commit and command. No path, no host name."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

# The distributions whose version may change a result; 'zoo' is the name this one is known by.
DISTRIBUTIONS = {name: name for name in ('jax', 'jaxlib', 'flax', 'optax', 'numpy')}
DISTRIBUTIONS['zoo'] = 'zoo-jax'

# What vectors a processor has, the widest first; some hosts call all generations by one name.
_VECTORS = {'amx_bf16': 'AMX', 'avx512_bf16': 'AVX-512 with bfloat16', 'avx512f': 'AVX-512'}
_VECTORS |= {'avx2': 'AVX2', 'avx': 'AVX'}

# An absolute path inside an argument: at its start or after one of `= : , ( [ " '` and blank, as
# far as the next separator. What follows '://' in a URL with a host is none.
_ABSOLUTE = re.compile(r"""(?<![^=:,'"\[( ])(?!(?<=:)//[^/])/[^,:'"\])]*""")


def provenance() -> dict[str, Any]:
  """Where and with what this process runs. Starts JAX's backend if nothing has yet.

  Call it when a run begins: the working tree may have changed by its end.

  Returns:
    A dict that JSON can hold: date (UTC, ISO 8601), command, git_commit and git_dirty (tracked
    files differ from it) or None outside a checkout, platform, device_kind, device_count (of all
    processes), process_count, cpu, cpu_cores (that this process may use), and versions (None if
    unknown).
  """
  import jax

  commit, dirty = _git(_root())
  return {
    'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'command': command(sys.argv),
    'git_commit': commit,
    'git_dirty': dirty,
    'platform': jax.default_backend(),
    'device_kind': jax.devices()[0].device_kind,
    'device_count': jax.device_count(),
    'process_count': jax.process_count(),
    'cpu': _cpu_model(),
    'cpu_cores': _cpu_cores(),
    'versions': {
      'python': platform.python_version(),
      **{name: _version(distribution) for name, distribution in DISTRIBUTIONS.items()},
    },
  }


def command(argv: Sequence[str]) -> str:
  """A command line to copy: `python scripts/train.py --config=configs/digits_cnn.py`.

  A path below the source tree becomes relative to it, any other absolute path its last part.
  """
  program = _shorten(str(pathlib.Path(argv[0]).absolute())) if argv and argv[0] else '-'
  arguments = [_ABSOLUTE.sub(lambda match: _shorten(match[0]), arg) for arg in argv[1:]]
  return shlex.join(['python', program, *arguments])


def _root() -> pathlib.Path:
  """The directory that holds the package: the checkout, if it is one."""
  return pathlib.Path(__file__).resolve().parent.parent


def _shorten(path: str) -> str:
  absolute, root = pathlib.Path(os.path.normpath(path)), _root()
  if root in absolute.parents and root != root.parent:
    return absolute.relative_to(root).as_posix()
  return absolute.name


def _git(root: pathlib.Path) -> tuple[str | None, bool | None]:
  """The commit of the source tree, and whether tracked files differ from it."""
  # Inside a git hook these variables name the repository of the hook, whatever the directory.
  clean = {name: value for name, value in os.environ.items() if not name.startswith('GIT_')}

  def git(*arguments: str) -> str:
    line = ['git', '--no-optional-locks', '-C', str(root), *arguments]
    run = subprocess.run(line, capture_output=True, text=True, timeout=10, check=True, env=clean)
    return run.stdout.strip()

  try:
    # An installed package may lie in an environment inside someone else's repository.
    if pathlib.Path(git('rev-parse', '--show-toplevel')).resolve() != root:
      return None, None
    commit = git('rev-parse', 'HEAD')
    return commit, bool(git('status', '--porcelain', '--untracked-files=no'))
  except (OSError, subprocess.SubprocessError):
    return None, None


def _cpu_model() -> str:
  """Its name; behind it, from x86 on Linux, what tells generations apart that share the name."""
  try:
    text = pathlib.Path('/proc/cpuinfo').read_text()
  except OSError:
    text = ''
  # Of the first processor: the others are like it.
  known = dict(re.findall(r'^([^:\n\t]+)\t*: ?(.*)$', text.split('\n\n')[0], re.MULTILINE))
  name = known.get('model name', '').strip() or platform.processor() or platform.machine()
  flags = known.get('flags', '').split()
  told = [label for flag, label in _VECTORS.items() if flag in flags][:1]
  if {'cpu family', 'model'} <= known.keys():
    told.insert(0, f'family {known["cpu family"]} model {known["model"]}')
  return f'{name} ({", ".join(told)})' if told else name


def _cpu_cores() -> int | None:
  # A container or `taskset` may allow fewer cores than the machine has.
  affinity = getattr(os, 'sched_getaffinity', None)
  return len(affinity(0)) if affinity else os.cpu_count()


def _version(distribution: str) -> str | None:
  try:
    return importlib.metadata.version(distribution)
  except importlib.metadata.PackageNotFoundError:
    return None  # run from a source tree that is not installed
