"""SIGTERM and SIGINT as a request: finish the step, save, leave."""

import signal
import types

EXIT_INTERRUPTED = 75
"""Exit status of a run that was interrupted and has saved: start the same command again to go on.

It is EX_TEMPFAIL of sysexits.h, 'try again later', so that a scheduler can tell it from success
(0), an error (1) and a kill (128 + the signal's number).
"""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupt:
  """While its `with` block runs, the first SIGTERM or SIGINT is a request and the second one kills.

  Enter it before the first compilation, or an early signal ends the process with nothing saved; and
  after `jax.distributed.initialize`, which puts a SIGTERM handler of its own in the place of this
  one (its preemption notifier notes the signal and the process lives on).

  Python runs handlers between two bytecodes, so a signal that comes during a long call into
  compiled code, say a compilation by XLA, is seen when that call returns. Once it is seen the
  default action is back in force, which needs no Python: a second signal kills at any moment.

  Attributes:
    requested: name of the signal that came, 'SIGTERM' or 'SIGINT'; None while none has.

  Raises:
    ValueError: on entering, if this is not the main thread, where alone handlers can be set.
  """

  def __init__(self):
    self.requested: str | None = None
    self._previous = {}

  def __enter__(self) -> 'Interrupt':
    for number in SIGNALS:
      self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    value: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    while self._previous:
      number, handler = self._previous.popitem()
      # None stands for a handler that was not set from Python and cannot be put back from it.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)

  def _handle(self, number: int, frame: types.FrameType | None) -> None:
    del frame
    self.requested = signal.Signals(number).name
    for each in SIGNALS:
      signal.signal(each, signal.SIG_DFL)
