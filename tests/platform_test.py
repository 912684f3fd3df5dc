"""Compiler options that change nothing but the speed."""

import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import platform

CPU_OPTIONS = {platform.ONEDNN: True} if platform.is_known(platform.ONEDNN) else {}


@pytest.fixture(autouse=True)
def processor(monkeypatch, tmp_path):
  """A file in the place of /proc/cpuinfo, of a processor with AVX-512."""
  path = tmp_path / 'cpuinfo'
  path.write_text('processor : 0\nflags : fpu avx2 avx512f avx512_bf16\n')
  monkeypatch.setattr(platform, 'CPU_INFO', path)
  monkeypatch.delenv(platform.THREADS, raising=False)
  return path


def test_options_are_for_the_platform_they_were_measured_on(monkeypatch, processor):
  assert platform.compiler_options('cpu') == CPU_OPTIONS
  assert platform.compiler_options('gpu') == platform.compiler_options('tpu') == {}
  processor.write_text('flags : fpu avx2\n')
  assert platform.compiler_options('cpu') == {}
  processor.unlink()
  assert platform.compiler_options('cpu') == {}
  processor.write_text('flags : avx512f\n')
  monkeypatch.setattr(sys, 'platform', 'darwin')
  assert platform.compiler_options('cpu') == {}


def test_with_one_thread_operations_are_computed_in_sequence(monkeypatch, processor):
  processor.write_text('flags : fpu avx2\n')
  for threads, options in (('1', {platform.CONCURRENT: False}), ('2', {})):
    monkeypatch.setenv(platform.THREADS, threads)
    assert platform.compiler_options('cpu') == options
    assert platform.compiler_options('gpu') == {}


def test_an_option_that_this_xla_does_not_know_is_left_out(monkeypatch):
  assert not platform.is_known('xla_cpu_no_such_option')
  monkeypatch.setattr(platform, 'ONEDNN', 'xla_cpu_no_such_option')
  assert platform.compiler_options('cpu') == {}


def test_a_cpu_is_split_for_runs_side_by_side_unless_somebody_has_decided():
  assert [platform.greatest_divisor(20, most) for most in (1, 2, 3, 8, 64)] == [1, 2, 2, 5, 20]
  script = (
    'import jax, os; from zoo import platform; platform.divide_cpu(6, threads=1); '
    'print(jax.device_count(), os.environ["NPROC"])'
  )

  def divided(**variables):
    left = ('XLA_FLAGS', 'JAX_NUM_CPU_DEVICES', 'NPROC')
    kept = {name: value for name, value in os.environ.items() if name not in left}
    command = [sys.executable, '-c', script]
    done = subprocess.run(command, env=kept | variables, capture_output=True, check=True)
    return [int(number) for number in done.stdout.split()]

  assert divided() == [platform.greatest_divisor(6, platform.cores()), 1]
  forced = {'XLA_FLAGS': '--xla_force_host_platform_device_count=5', 'NPROC': '3'}
  assert divided(**forced) == [5, 3]
  del forced['NPROC']
  assert divided(**forced) == [5, 20]  # what waits in one collective holds up no other
  assert divided(JAX_NUM_CPU_DEVICES='1') == [1, 1]


@pytest.mark.skipif(not CPU_OPTIONS, reason='no options for this machine')
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_options_change_no_more_than_rounding(dtype):
  shapes = {'x': (512, 256), 'w': (256, 512), 'b': (512,), 'v': (512, 256)}
  keys = jax.random.split(jax.random.key(0), len(shapes))
  arrays = {
    name: jax.random.normal(key, shape) / np.sqrt(shape[0])
    for key, (name, shape) in zip(keys, shapes.items(), strict=True)
  }

  def loss(arrays):
    x, w, b, v = (arrays[name].astype(dtype) for name in ('x', 'w', 'b', 'v'))
    y = jax.nn.gelu(x @ w + b[None]) @ v
    return jnp.mean(jnp.square(y.astype(jnp.float32)))

  plain = jax.jit(jax.value_and_grad(loss)).lower(arrays).compile()
  tuned = jax.jit(jax.value_and_grad(loss), compiler_options=CPU_OPTIONS).lower(arrays).compile()
  assert 'onednn' not in plain.as_text()
  if jax.__version_info__ >= (0, 12):  # jaxlib 0.10.2 takes the option and does nothing
    assert 'onednn' in tuned.as_text()
  epsilon = float(jnp.finfo(dtype).eps)
  for a, b in zip(jax.tree.leaves(tuned(arrays)), jax.tree.leaves(plain(arrays)), strict=True):
    assert jnp.linalg.norm(a - b) < 4 * epsilon * jnp.linalg.norm(b)
  chex.assert_trees_all_equal(tuned(arrays), tuned(arrays))
