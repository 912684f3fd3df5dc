"""What makes one platform fast and is no part of any model: options for the compiler.

Each applies only where it was measured, and stands here with the measurement that justified it. CPU
figures are of 2 vCPUs of an AMD Zen 4 that had other work, hence in seconds of processor time.
"""

import functools
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

# Matrix products by oneDNN where XLA has no fusion of its own for them: the gradients of weights.
# jax 0.12.0, a training step of a GPT of 6 x 384 on 12 x 256 tokens: bfloat16 5.1 s without it and
# 1.3 s with it, float32 2.8 and 2.5 s. jaxlib 0.10.2 takes the option and does nothing. (To turn
# those fusions off, so that oneDNN gets every product, gave 1.2 s and 2.7 s.) On an AMD Zen 3,
# which has no AVX-512, a step of ResNet-18 on 128 pictures takes 5.3 s with it, 4.2 s without.
ONEDNN = 'xla_cpu_experimental_onednn_custom_call'

# Whether operations that are ready are computed at once, not in sequence. With one thread there is
# nothing to gain by it: an iteration of DQN on CartPole (jax 0.10.2, Zen 3) takes 0.42 to 0.53 ms
# with two threads, 0.37 to 0.42 with one, and 0.28 to 0.33 with one and operations in sequence.
CONCURRENT = 'xla_cpu_enable_concurrency_optimized_scheduler'
THREADS = 'NPROC'  # the variable by which XLA is told how many; it reads it once, when it starts
# For each device where there are more of them than cores. A device waits in a collective with one
# thread, and in several at once where none needs another's result: with a thread for each of 4
# devices, two waited in one and two in another, for ever (jax 0.10.2, `cifar10_cnn`, sharded).
THREADS_OF_FORCED = 4
FORCED = re.compile(r'xla_force_host_platform_device_count=(\d+)')

CPU_INFO = Path('/proc/cpuinfo')


def compiler_options(backend: str) -> dict[str, bool]:
  """Returns what `jax.jit` should be given as `compiler_options`.

  Args:
    backend: the platform of the devices: 'cpu', 'gpu', 'tpu'.
  """
  if backend != 'cpu':
    return {}
  options = {}
  if sys.platform == 'linux' and has_avx512():
    options[ONEDNN] = True
  if os.environ.get(THREADS) == '1':
    options[CONCURRENT] = False
  return {name: value for name, value in options.items() if is_known(name)}


def divide_cpu(runs: int, threads: int = 0) -> None:
  """Makes devices of a CPU's cores, as many as divide `runs` that are to go side by side.

  Twenty runs of DQN on CartPole take 1.9 s on two devices of a core each for what takes 3.2 s on
  one of two cores (jax 0.10.2): their products are too small to be worth two threads. For the
  beginning of a script, before JAX has a device. There are no more devices than before if
  --xla_force_host_platform_device_count or JAX_NUM_CPU_DEVICES has decided, or on an accelerator:
  then there are threads enough for collectives, whatever `threads` says.

  Args:
    runs: at least 1.
    threads: that all devices share for parts of operations, beside the one that each has for a
      program; 0 for as many as there are cores. XLA makes no fewer than devices. Whoever sets NPROC
      has decided.
  """
  found = FORCED.search(os.environ.get('XLA_FLAGS', ''))
  forced = int(found[1]) if found else jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
  if forced < 0:
    jax.config.update('jax_num_cpu_devices', greatest_divisor(runs, cores()))
  elif forced > 1:
    threads = THREADS_OF_FORCED * forced
  if threads:
    os.environ.setdefault(THREADS, str(threads))


def greatest_divisor(count: int, most: int) -> int:
  """Of `count`, not above `most`."""
  return next(n for n in range(min(count, most), 0, -1) if count % n == 0)


def cores() -> int:
  """Those that this process may use."""
  try:
    return len(os.sched_getaffinity(0))
  except AttributeError:  # Linux alone tells
    return os.cpu_count() or 1


def device_memory(devices: Sequence[Any] | None = None) -> int:
  """Bytes that devices have together, all of this process by default; 0 if unknown."""
  devices = jax.local_devices() if devices is None else devices
  if devices[0].platform == 'cpu':  # they share what the machine has
    try:
      return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    except (AttributeError, ValueError, OSError):
      return 0
  return sum((device.memory_stats() or {}).get('bytes_limit', 0) for device in devices)


def has_avx512() -> bool:
  """Whether the processor says so; only Linux asks it."""
  try:
    return 'avx512f' in CPU_INFO.read_text().split()
  except OSError:
    return False


@functools.cache
def is_known(option: str) -> bool:
  """Whether XLA for CPUs takes a boolean flag as a compiler option; compiles an empty program."""
  x = jax.device_put(jnp.zeros(()), jax.local_devices(backend='cpu')[0])
  try:
    jax.jit(lambda x: x, compiler_options={option: True}).lower(x).compile()
  except jax.errors.JaxRuntimeError:
    return False
  return True
