"""Batches of a source on the host, made ready by a thread while the devices work."""

import queue
import threading
from collections.abc import Callable, Generator

from zoo.types import Batch, PyTree, Source


def prefetched(
  source: Source,
  source_state: PyTree,
  count: int,
  place: Callable[[Batch], Batch],
  size: int,
  params: PyTree = None,
) -> Generator[tuple[PyTree, Batch], None, None]:
  """Yields (source state after the batch, batch on the devices), prepared ahead by one thread.

  An exception of the source is raised here, in its turn. A source that acts is given `params`,
  which must stay as they are meanwhile: so it is in evaluation.
  """
  ready: queue.Queue = queue.Queue(maxsize=size)
  stop = threading.Event()

  def offer(item: object) -> None:
    while not stop.is_set():
      try:
        ready.put(item, timeout=0.1)
        return
      except queue.Full:
        continue

  def produce() -> None:
    state = source_state
    try:
      for _ in range(count):
        if stop.is_set():
          return
        state, batch = source.next(state, params, source.data)
        offer((state, place(batch)))
    except BaseException as error:  # handed to the consumer, whatever it is
      offer(error)

  thread = threading.Thread(target=produce, name='prefetch', daemon=True)
  thread.start()
  try:
    for _ in range(count):
      item = ready.get()
      if isinstance(item, BaseException):
        raise item
      yield item
  finally:
    stop.set()
    thread.join()
