"""Runs the scripts as a person does, each in a process of its own, on a config of seconds."""

import contextlib
import fcntl
import functools
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from tests.scripts import fork
from zoo.experiment import complete_config, make_experiment
from zoo.runs import program_of
from zoo.training import parallelize, rundir
from zoo.training.checkpoint import Checkpoints, Restored

ROOT = Path(__file__).parents[2]

# Small, but with all that a checkpoint may hold: batch statistics, an average, gradients half
# accumulated, and random streams for order, augmentation and dropout. No batch divides its split.
CONFIG = """
from ml_collections import ConfigDict


def get_config():
  return ConfigDict({
    'model': {'name': 'mlp', 'widths': (8,), 'norm': 'batch', 'dropout': 0.1},
    'objective': {'name': 'classification', 'ema_decay': 0.9},
    'data': {
      'name': 'digits',
      'train': 'train[:250]',
      'validation': 'train[250:290]',
      'test': 'test[:40]',
      'batch_size': 16,
      'augment': {'random_crop': {'padding': 1}},
    },
    'optimizer': {'name': 'adamw', 'learning_rate': 1e-2, 'accumulate': 3},
    'train': {'steps': 80, 'log_every': 2, 'eval_every': 10, 'checkpoint_every': 4},
  })
"""
STEPS = 80


@functools.cache
def home() -> Path:
  """A folder for all tests of a session: the config, the dataset and JAX's compilation cache."""
  folder = Path(os.environ['ZOO_TESTS_HOME'])
  with alone(folder / 'small.py') as path:
    path.write_text(CONFIG)
  return folder


@contextlib.contextmanager
def alone(path: Path) -> Iterator[Path]:
  """Keeps the other workers of a session out while `path` is made."""
  with open(path.with_suffix('.lock'), 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield path


def environment(devices: int = 1, cached: bool = True) -> dict[str, str]:
  """The variables of a script: CPU devices, and whether it may take compiled programs over."""
  variables = os.environ | {'JAX_PLATFORMS': 'cpu', 'TFDS_DATA_DIR': str(home() / 'tfds')}
  variables['GLIBC_TUNABLES'] = 'glibc.malloc.hugetlb=0'  # or each would start twice
  flags = os.environ['ZOO_TESTS_XLA_FLAGS']
  variables['XLA_FLAGS'] = f'--xla_force_host_platform_device_count={devices} {flags}'
  if cached:
    variables['JAX_COMPILATION_CACHE_DIR'] = str(home() / 'jax')
    variables['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
    variables['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'
  return variables


def line(script: str, *args: object) -> list[str]:
  """A command line; for train.py the small config, unless one is given."""
  words = [str(arg) for arg in args]
  if script == 'train' and not any(word.startswith('--config=') for word in words):
    words.insert(0, f'--config={home() / "small.py"}')
  return [sys.executable, str(ROOT / 'scripts' / f'{script}.py'), *words]


def names(script: str) -> dict[str, Any]:
  """What a script defines; its flags are taken back, as another script may have the same."""
  before = set(flags.FLAGS)
  found = runpy.run_path(str(ROOT / 'scripts' / f'{script}.py'))
  for flag in set(flags.FLAGS) - before:
    delattr(flags.FLAGS, flag)
  return found


def start(script: str, *args: object, devices: int = 1, cached: bool = True) -> subprocess.Popen:
  """Starts a script."""
  return subprocess.Popen(
    line(script, *args),
    env=environment(devices, cached),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def run(
  script: str, *args: object, devices: int = 1, **options: Any
) -> subprocess.CompletedProcess:
  """Runs a script to its end; `options` are those of `subprocess.run`."""
  if not options:
    return fork.run(line(script, *args), environment(devices), timeout=300)
  options = {'env': environment(devices), 'timeout': 300} | options
  return subprocess.run(line(script, *args), capture_output=True, text=True, **options)


def train(workdir: Path, *args: object, **options: Any) -> subprocess.CompletedProcess:
  """Trains the small config in a run directory."""
  return run('train', f'--workdir={workdir}', *args, **options)


def train_to_end(workdir: Path, *args: object, **options: Any) -> str:
  """The same; it must succeed. Returns what it printed."""
  done = train(workdir, *args, **options)
  assert done.returncode == 0, done.stderr
  return done.stdout


def refusal(done: subprocess.CompletedProcess, status: int = 2) -> str:
  """The one line in which a script says what is wrong."""
  assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
  lines = done.stderr.splitlines()
  assert len(lines) == 1, done.stderr
  return lines[0]


@functools.cache
def finished() -> Path:
  """A complete run of the small config, for all tests of a session: copy it to change it."""
  with alone(home() / 'finished') as workdir:
    if not workdir.with_suffix('.log').exists():
      variables = environment() | {'JAX_LOG_COMPILES': '1'}
      done = run('train', f'--workdir={workdir}', env=variables)
      assert done.returncode == 0, done.stderr
      workdir.with_suffix('.log').write_text(done.stdout + done.stderr)
  return workdir


def unfinished(workdir: Path) -> Path:
  """A copy of that run as if it had been killed before its last checkpoint."""
  shutil.copytree(finished(), workdir)
  (workdir / 'summary.json').unlink()
  shutil.rmtree(workdir / 'checkpoints' / str(STEPS))
  return workdir


def restored(workdir: Path, step: int | None = None) -> Restored:
  """The newest checkpoint of a run, on this process's first device."""
  values = rundir.read_config(workdir)
  if 'dir' in values['data']:  # environments have none
    values['data']['dir'] = str(home() / 'tfds')
  experiment = make_experiment(complete_config(values), devices=jax.devices()[:1])
  program = program_of(experiment._replace(parallel=parallelize('jit')))
  with Checkpoints(workdir / 'checkpoints') as checkpoints:
    found = checkpoints.restore(*program.abstract, step=step)
  assert found is not None
  return found


def bits(leaf: jax.Array) -> bytes:
  is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
  return np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()


def assert_same_run(a: Path, b: Path) -> None:
  """Bit for bit: all that a checkpoint holds, the log, and the final figures."""
  assert (a / 'metrics.jsonl').read_bytes() == (b / 'metrics.jsonl').read_bytes()
  one, other = restored(a), restored(b)
  assert one.step == other.step
  leaves = [jax.tree.leaves((x.state, x.source_state)) for x in (one, other)]
  for x, y in zip(*leaves, strict=True):
    assert bits(x) == bits(y)
  summaries = [json.loads((run / 'summary.json').read_text()) for run in (a, b)]
  assert summaries[0]['metrics'] == summaries[1]['metrics']
