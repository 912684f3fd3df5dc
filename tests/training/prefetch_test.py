import threading

import jax

from tests.training import toy
from zoo.training.prefetch import prefetched


def test_leaving_the_loop_early_ends_the_thread():
  source = toy.host_source(toy.data(50), 16)
  batches = prefetched(source, source.init(jax.random.key(0)), 1000, lambda x: x, 2)
  next(batches)
  batches.close()
  assert not [t for t in threading.enumerate() if t.name == 'prefetch']
