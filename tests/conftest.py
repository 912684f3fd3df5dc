"""Eight CPU devices for every test; set before anything imports jax."""

import atexit
import gc
import os
import shutil
import tempfile
from importlib.metadata import version

# Most of the time of all tests is compilation: LLVM's optimiser a quarter of it, and of the rest
# almost half MLIR's emitters of fusions. XLA's own passes, which fuse, reorder and replace what
# is computed, are as they are for a person.
os.environ['ZOO_TESTS_XLA_FLAGS'] = (
  '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
  ' --xla_cpu_parallel_codegen_split_count=1'
  # Later versions have no other emitters, and refuse the flag.
  + (' --xla_cpu_use_fusion_emitters=false' if version('jaxlib').startswith('0.10.') else '')
)
os.environ['XLA_FLAGS'] = ' '.join(
  [
    os.environ.get('XLA_FLAGS', ''),
    '--xla_force_host_platform_device_count=8',
    os.environ['ZOO_TESTS_XLA_FLAGS'],  # the scripts that tests start take these too
  ]
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

# One folder for what the tests of a session share, in whichever worker they run: the first process
# makes it, its workers inherit the variable.
if 'ZOO_TESTS_HOME' not in os.environ:
  os.environ['ZOO_TESTS_HOME'] = tempfile.mkdtemp(prefix='zoo-tests-')
  atexit.register(shutil.rmtree, os.environ['ZOO_TESTS_HOME'], ignore_errors=True)

import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_traceback_in_locations_limit', 0)  # kept of every operation lowered


def pytest_configure(config):
  """Keeps compiled programs: between workers, and for the next session."""
  jax.config.update('jax_compilation_cache_dir', str(config.cache.mkdir('jax')))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def pytest_collection_finish():
  """What has been imported is never garbage: to look through it takes a tenth of the time."""
  gc.collect()
  gc.freeze()
  gc.set_threshold(50_000, 20, 100)
