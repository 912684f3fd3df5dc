"""Eight CPU devices for every test; set before anything imports jax."""

import atexit
import os
import shutil
import tempfile

# LLVM's optimiser is a quarter of the time of all tests. XLA's own passes, which fuse, reorder and
# replace what is computed, are as they are for a person.
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '')
  + ' --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0'
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

# One folder for what the tests of a session share, in whichever worker they run: the first process
# makes it, its workers inherit the variable.
if 'ZOO_TESTS_HOME' not in os.environ:
  os.environ['ZOO_TESTS_HOME'] = tempfile.mkdtemp(prefix='zoo-tests-')
  atexit.register(shutil.rmtree, os.environ['ZOO_TESTS_HOME'], ignore_errors=True)

import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')


def pytest_configure(config):
  """Keeps compiled programs: between workers, and for the next session."""
  jax.config.update('jax_compilation_cache_dir', str(config.cache.mkdir('jax')))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
