"""Two processes of two devices each, joined by `jax.distributed`, train as one process does."""

import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.training import build, parallelize, run

ROOT = pathlib.Path(__file__).parents[2]
WORKER = """
import os, sys
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=2'
import jax
port, index, strategy = sys.argv[1], int(sys.argv[2]), sys.argv[3]
jax.distributed.initialize(f'127.0.0.1:{port}', num_processes=2, process_id=index)
from tests.training import multiprocess_test
multiprocess_test.work(strategy, index)
"""


def work(strategy, index, processes=2):
  """Trains on this process's half of every batch of 16 and prints the parameters' fingerprint."""
  data = toy.data(64)
  local = 16 // processes
  share = np.arange(16)[index * local : (index + 1) * local]

  def next_batch(state, params, arrays):
    del params, arrays
    rows = (int(state['index']) * 16 + share) % 64
    return {'index': state['index'] + 1}, {k: v[rows] for k, v in data.items()}

  source = toy.host_source(data, local)._replace(next=next_batch)
  parallel = parallelize(strategy)
  program = build(toy.objective(parallel.axis_name), optax.sgd(0.3), source, parallel)
  state, source_state = program.init(jax.random.key(0))
  for state, source_state, scalars in run(program, source, state, source_state, steps=10):
    pass
  kernel = np.asarray(state.params['Dense_0']['kernel'])
  print('fingerprint', float(scalars['loss']), float(np.abs(kernel).sum()), flush=True)


def fingerprint(text):
  line = next(line for line in text.splitlines() if line.startswith('fingerprint'))
  return [float(x) for x in line.split()[1:]]


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ['pmap', 'sharded'])
def test_two_processes_equal_one(strategy, capsys):
  work('jit', 0, processes=1)
  expected = fingerprint(capsys.readouterr().out)
  with socket.socket() as probe:
    probe.bind(('127.0.0.1', 0))
    port = str(probe.getsockname()[1])
  workers = [
    subprocess.Popen(
      [sys.executable, '-c', WORKER, port, str(index), strategy],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index in range(2)
  ]
  try:
    for worker in workers:
      output, _ = worker.communicate(timeout=120)
      assert worker.returncode == 0, output
      np.testing.assert_allclose(fingerprint(output), expected, rtol=1e-5)
  finally:
    for worker in workers:
      worker.kill()
