"""What compiling a call takes, and what the compiler says of the program."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from jax.experimental.compilation_cache import compilation_cache


class Compiled(NamedTuple):
  """What is known of a program.

  Attributes:
    seconds: of tracing, lowering and compiling, with nothing in a cache.
    warm_seconds: of the same with the program in JAX's persistent cache, as when a script is
      started again; None if it was not measured.
    memory: bytes that the program takes on one device, its code left out, as the compiler plans
      them: arguments, outputs, temporaries, aliased (outputs in the place of donated arguments),
      and peak: the first three less the fourth. {} where the backend does not tell.
    flops: of one device in a call, as XLA counts them: a loop's body once; None if it does not.
    bytes: read and written, counted likewise.
    hlo: the text of the compiled program.
  """

  seconds: float = 0.0
  warm_seconds: float | None = None
  memory: dict[str, int] = {}  # noqa: RUF012  # never written to
  flops: float | None = None
  bytes: float | None = None
  hlo: str = ''


def compile_ahead(call: Any, *args: Any, warm: bool = False) -> Compiled:
  """Compiles what `jax.jit` or `jax.pmap` returned, which then needs no compilation when called.

  Args:
    call: not called yet.
    *args: what it will be called with.
    warm: compile it a second time, from a persistent cache. Forgets whatever else this process has
      compiled.
  """
  with empty_cache(kept=warm):
    start = time.perf_counter()
    compiled = call.lower(*args).compile()
    seconds, warm_seconds = time.perf_counter() - start, None
    if warm:
      jax.clear_caches()
      start = time.perf_counter()
      compiled = call.lower(*args).compile()
      warm_seconds = time.perf_counter() - start
  costs = compiled.cost_analysis() or {}
  costs = costs[0] if isinstance(costs, list) else costs
  known = lambda name: float(costs[name]) if costs.get(name, 0) > 0 else None
  return Compiled(
    *(seconds, warm_seconds, planned_memory(compiled)),
    *(known('flops'), known('bytes accessed')),
    compiled.as_text() or '',
  )


def planned_memory(compiled: Any) -> dict[str, int]:
  """See `Compiled.memory`."""
  found = compiled.memory_analysis()
  if found is None:
    return {}
  memory = {
    'arguments': found.argument_size_in_bytes,
    'outputs': found.output_size_in_bytes,
    'temporaries': found.temp_size_in_bytes,
    'aliased': found.alias_size_in_bytes,
  }
  memory['peak'] = sum(memory.values()) - 2 * memory['aliased']
  return memory


OPTIONS = {
  'jax_compilation_cache_dir': None,
  'jax_enable_compilation_cache': True,
  'jax_persistent_cache_min_compile_time_secs': 0.0,
  'jax_persistent_cache_min_entry_size_bytes': -1,
}


@contextlib.contextmanager
def empty_cache(kept: bool) -> Iterator[None]:
  """A persistent cache in which nothing is, and which is gone afterwards.

  Args:
    kept: if not, what is compiled meanwhile is not kept either, and the cache that this process has
      stays as it is: it is for others to say whether it is used.
  """
  if not kept:
    yield
    return
  before = {name: getattr(jax.config, name) for name in OPTIONS}
  with tempfile.TemporaryDirectory() as folder:
    try:
      for name, value in {**OPTIONS, 'jax_compilation_cache_dir': folder}.items():
        jax.config.update(name, value)
      compilation_cache.reset_cache()
      yield
    finally:
      for name, value in before.items():
        jax.config.update(name, value)
      compilation_cache.reset_cache()
