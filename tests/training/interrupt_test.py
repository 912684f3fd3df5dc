"""The first signal is a request, the second one kills."""

import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from zoo.training import interrupt
from zoo.training.interrupt import EXIT_INTERRUPTED, Interrupt

REPOSITORY = pathlib.Path(interrupt.__file__).parents[2]
RUN = """
import sys, time
from zoo.training.interrupt import EXIT_INTERRUPTED, Interrupt
with Interrupt() as interrupt:
  print('ready', flush=True)
  while not interrupt.requested:
    time.sleep(0.01)
  print(interrupt.requested, flush=True)
  if sys.argv[1] == 'stay':
    time.sleep(60)
sys.exit(EXIT_INTERRUPTED)
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_recorded_and_the_old_handlers_come_back(number):
  before = [signal.getsignal(each) for each in interrupt.SIGNALS]
  with Interrupt() as request:
    assert request.requested is None
    os.kill(os.getpid(), number)
    assert request.requested == number.name
    # From here on a signal needs no Python to kill.
    assert [signal.getsignal(each) for each in interrupt.SIGNALS] == [signal.SIG_DFL] * 2
  assert [signal.getsignal(each) for each in interrupt.SIGNALS] == before
  assert request.requested == number.name  # also after the block, for the exit status


def test_old_handlers_come_back_after_an_exception_and_without_a_signal():
  calls = []
  previous = signal.signal(signal.SIGTERM, lambda *_: calls.append('old'))
  try:
    with pytest.raises(KeyError), Interrupt():
      raise KeyError
    os.kill(os.getpid(), signal.SIGTERM)
    assert calls == ['old']
  finally:
    signal.signal(signal.SIGTERM, previous)


def test_one_inside_another():
  with Interrupt() as outer:
    with Interrupt() as inner:
      os.kill(os.getpid(), signal.SIGINT)
    assert (outer.requested, inner.requested) == (None, 'SIGINT')
    os.kill(os.getpid(), signal.SIGTERM)
    assert outer.requested == 'SIGTERM'


def test_outside_the_main_thread_it_says_so():
  errors = []

  def enter():
    try:
      Interrupt().__enter__()
    except ValueError as error:
      errors.append(str(error))

  thread = threading.Thread(target=enter)
  thread.start()
  thread.join()
  assert len(errors) == 1 and 'main thread' in errors[0]


def run(what):
  process = subprocess.Popen(
    [sys.executable, '-c', RUN, what], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
  )
  assert process.stdout is not None and process.stdout.readline() == 'ready\n'
  return process, process.stdout


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_heeds_the_request_has_an_exit_status_of_its_own(number):
  process, output = run('leave')
  process.send_signal(number)
  assert output.readline().strip() == number.name
  assert process.wait(10) == EXIT_INTERRUPTED == os.EX_TEMPFAIL


@pytest.mark.parametrize('second', [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills_at_once(second):
  process, output = run('stay')
  process.send_signal(signal.SIGTERM)
  assert output.readline().strip() == 'SIGTERM'
  process.send_signal(second)
  assert process.wait(10) == -second
