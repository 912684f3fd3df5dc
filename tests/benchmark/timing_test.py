import types

import numpy as np
import pytest

from zoo.benchmark import timing
from zoo.benchmark.compilation import Compiled
from zoo.benchmark.timing import Contestant, compare, plan, time_in_turns, warm_up
from zoo.training import parallelize


class Clock:
  """Time that passes only in blocks; `pace` is how slow the machine is."""

  def __init__(self):
    self.now, self.pace, self.log = 0.0, 1.0, []

  def block(self, name, seconds, first=0.0):
    """A block whose calls take `seconds` each, and the very first call `first` more."""
    extra = [first]

    def run(calls):
      self.log.append((name, calls))
      self.now += (calls * seconds + (extra.pop() if extra else 0.0)) * self.pace

    return run


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  busy = lambda: 1.5 * clock.now  # one core, and every other second a second one
  timers = types.SimpleNamespace(perf_counter=lambda: clock.now, process_time=busy)
  monkeypatch.setattr(timing, 'time', timers)
  return clock


def test_warm_up_goes_on_until_a_block_is_long_and_leaves_the_first_call_out(clock):
  calls, seconds = warm_up(clock.block('a', 0.001, first=30.0))
  assert calls == 128  # the first power of two that takes 0.1 s
  assert seconds == pytest.approx(0.128)


def test_blocks_take_turns_forwards_and_backwards(clock):
  blocks = [clock.block('a', 0.25), clock.block('b', 0.5)]
  seconds, processor = time_in_turns(blocks, [3, 5], rounds=3)
  np.testing.assert_allclose(seconds, [[0.25] * 3, [0.5] * 3])
  np.testing.assert_allclose(processor, 1.5 * seconds)
  assert clock.log == [('a', 3), ('b', 5), ('b', 5), ('a', 3), ('a', 3), ('b', 5)]


@pytest.mark.parametrize(
  ('seconds', 'calls', 'rounds'),
  [(0.001, 128, 20), (0.4, 1, 12), (7.0, 1, 5)],
)
def test_long_calls_are_timed_in_fewer_rounds(clock, seconds, calls, rounds):
  assert plan([clock.block('a', seconds)]) == ([calls], rounds)


def test_with_more_time_there_are_more_rounds(clock):
  assert plan([clock.block('a', 0.2)], seconds=20.0) == ([1], 80)
  assert plan([clock.block('a', 0.25)], seconds=1.0) == ([1], 5)


def test_as_many_calls_are_timed_as_were_asked_for(clock):
  blocks = [clock.block('a', 1.0), clock.block('b', 1.0)]
  assert plan(blocks, [640, 20]) == ([32, 1], 20)
  assert plan(blocks[:1], [7]) == ([1], 7)


def test_rows_count_steps_and_not_calls_and_a_drifting_machine_keeps_the_ratio(clock):
  def drifting(block):
    def run(calls):
      clock.pace = 1.0 + len(clock.log) // 2 % 3  # changes from round to round
      block(calls)

    return run

  contestants = [
    Contestant('plain', drifting(clock.block('a', 0.001)), 1, Compiled(2.0)),
    Contestant(
      'scanned', drifting(clock.block('b', 0.008)), 32, Compiled(3.0, memory={'peak': 7}), workers=4
    ),
  ]
  plain, scanned = compare(contestants, parallelize('pmap'), 64, steps=320)
  assert (plain.parallel, plain.devices, plain.batch_size) == ('pmap', 8, 64)
  assert (plain.steps, scanned.steps, scanned.steps_per_call) == (320, 320, 32)
  assert plain.step_ms == pytest.approx({'median': 2.0, 'p10': 1.0, 'p90': 3.0})
  assert plain.examples_per_second == pytest.approx(64 / 0.002)
  assert (plain.workers, scanned.workers) == (0, 4)
  assert plain.cores == pytest.approx(1.5)
  assert plain.examples_per_core_second == pytest.approx(64 / 0.002 / 1.5)
  assert plain.speed == {}
  # 0.25 ms a step against 1 ms, however slow the machine was in the round.
  assert scanned.speed == {'plain': pytest.approx({'median': 4.0, 'p10': 4.0, 'p90': 4.0})}
  assert (scanned.compile_seconds, scanned.memory_bytes) == (3.0, {'peak': 7})
