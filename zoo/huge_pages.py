"""Huge pages for what a step works in, on CPUs, where the system gives them to who asks.

XLA asks the system anew for the gigabytes a step works in, and the first touch of every 4 KiB costs
more than the arithmetic on it. In pages of 2 MiB a training step of GPT-2 124M (1 x 256 tokens,
float32, jax 0.12.0, 2 vCPUs of an AMD Zen 4) took 1.02 s, not 1.25, one of a GPT of 6 x 384 (12 x
256) 1.02 s, not 1.36, and one of an LSTM of 2 x 512 (32 x 128) 0.77 s, not 0.86. (To keep the
memory by `mallopt` as well was faster by a tenth, but aligned blocks then fragment: 12 outputs of
512 MB took 6 GB.)
"""

import contextlib
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

TUNABLE = 'glibc.malloc.hugetlb'  # which the C library reads only when a process starts
HUGE_PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')
ACCELERATORS = (Path('/dev/nvidiactl'), Path('/dev/kfd'), Path('/dev/accel0'), Path('/dev/vfio/0'))


def ask() -> None:
  """Starts this process anew, once, if the C library would then use huge pages.

  For the beginning of a script: what the process did before is lost, and what it imported is
  imported again, which takes a second. Same process id, arguments and environment, but for
  GLIBC_TUNABLES, which children inherit; a person who sets glibc.malloc.hugetlb there has decided.
  Does nothing where there is an accelerator (unless JAX_PLATFORMS=cpu), another C library or
  system, or a second thread.
  """
  if not sys.executable or threading.active_count() > 1 or not wanted(os.environ):
    return
  before = os.environ.get('GLIBC_TUNABLES')
  tunables = f'{before}:{TUNABLE}=1' if before else f'{TUNABLE}=1'
  sys.stdout.flush()
  sys.stderr.flush()
  with contextlib.suppress(OSError):  # a system may forbid it; then all goes on as it is
    os.execve(
      sys.executable,
      [sys.executable, *sys.orig_argv[1:]],
      os.environ | {'GLIBC_TUNABLES': tunables},
    )


def wanted(environment: Mapping[str, str]) -> bool:
  """Whether a process with this environment has only to ask for huge pages, and should."""
  if sys.platform != 'linux' or TUNABLE in environment.get('GLIBC_TUNABLES', ''):
    return False
  if glibc_version() < (2, 35):  # the first that knows the tunable
    return False
  chosen = environment.get('JAX_PLATFORMS', '')
  if chosen != 'cpu' and (chosen or any(path.exists() for path in ACCELERATORS)):
    return False
  try:
    return '[madvise]' in HUGE_PAGES.read_text()  # [always] gives them without being asked
  except OSError:
    return False


def glibc_version() -> tuple[int, ...]:
  """The version of the GNU C library, (0,) of any other."""
  try:
    name, _, version = (os.confstr('CS_GNU_LIBC_VERSION') or '').partition(' ')
    return tuple(map(int, version.split('.'))) if name == 'glibc' else (0,)
  except (AttributeError, ValueError):  # not on this system
    return (0,)
