import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.benchmark.compilation import OPTIONS, compile_ahead


def test_flops_and_bytes_are_those_of_the_program():
  x = jnp.zeros((8, 16), jnp.float32)
  compiled = compile_ahead(jax.jit(lambda x, y: x @ y), x, x.T)
  assert compiled.flops == pytest.approx(2 * 8 * 16 * 8, rel=0.05)
  assert compiled.bytes == pytest.approx(4 * (8 * 16 + 16 * 8 + 8 * 8), rel=0.05)
  assert 'dot' in compiled.hlo


@pytest.mark.slow  # it forgets what other tests of this process have compiled
def test_a_second_compilation_comes_from_the_cache_that_is_then_gone():
  before = [getattr(jax.config, name) for name in OPTIONS]
  hits = []
  x = jnp.ones((64, 64))
  call = jax.jit(lambda x: jnp.linalg.svd(jnp.sin(x) @ x)[1])
  jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
  try:
    compiled = compile_ahead(call, x, warm=True)
  finally:
    jax.monitoring.clear_event_listeners()
  assert hits.count('/jax/compilation_cache/cache_hits') == 1
  assert compiled.warm_seconds is not None and 0 < compiled.warm_seconds < compiled.seconds
  assert [getattr(jax.config, name) for name in OPTIONS] == before
  np.testing.assert_allclose(call(x), jnp.linalg.svd(jnp.sin(x) @ x)[1], rtol=1e-4)


def test_memory_counts_what_is_donated_once():
  x = jnp.zeros(1000, jnp.float32)
  y = jnp.ones(10, jnp.float32)
  fn = lambda x, y: (x + y[0], y * 2)
  memory = compile_ahead(jax.jit(fn), x, y).memory
  tables = memory['outputs'] - 4040  # of pointers to the outputs, where a backend counts them
  assert 0 <= tables <= 64
  assert (memory['arguments'], memory['aliased']) == (4040, 0)
  assert memory['peak'] == 8080 + tables + memory['temporaries']
  donated = compile_ahead(jax.jit(fn, donate_argnums=0), x, y).memory
  assert donated['aliased'] == 4000
  assert donated['peak'] == 4080 + tables + donated['temporaries']


@pytest.mark.parametrize('compiler', [jax.jit, jax.pmap])
def test_what_was_compiled_ahead_is_not_compiled_again(compiler):
  compiled = []

  def listen(event, duration_secs, **kwargs):
    if event.endswith('backend_compile_duration'):
      compiled.append(event)

  x = compiler(lambda x: x)(jnp.arange(8.0))  # is now where the call takes it from
  call = compiler(lambda x: jnp.sin(x) + 1)
  assert compile_ahead(call, x).seconds > 0
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    call(x)
  finally:
    jax.monitoring.clear_event_listeners()
  assert not compiled
