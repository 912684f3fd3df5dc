import io

import pytest

from zoo.training import progress
from zoo.training.progress import Progress, Throughput


class Terminal(io.StringIO):
  def isatty(self):
    return True


class Clock:
  def __init__(self):
    self.now = 100.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(progress.time, 'monotonic', clock)
  return clock


def test_a_log_file_gets_one_plain_line_per_update(clock):
  file = io.StringIO()
  with Progress(2000, file=file) as bar:
    bar.update(100, {'train/accuracy': 0.5, 'train/loss': 1.25, 'grad_norm': 1e-5})
    clock.now += 50
    scalars = {'train/accuracy': 1, 'train/loss': float('nan'), 'validation/accuracy': 0.98765}
    bar.update(600, scalars, 12345.6)
    bar.write('saved')
    clock.now += 140
    bar.update(2000, {}, 9.0)
  assert file.getvalue() == (
    'step 100/2000  loss 1.2500  accuracy 0.5000  grad_norm 1.000e-05\n'
    # 1400 steps are left, at 500 in 50 s: 140 s
    'step 600/2000  loss nan  accuracy 1.0000  12,346 examples/s  ETA 0:02:20'
    '  validation/accuracy 0.9877\n'
    'saved\n'
    'step 2000/2000  9 examples/s\n'
  )


def test_a_resumed_run_estimates_from_its_own_steps(clock):
  file = io.StringIO()
  with Progress(1000, initial=900, unit='tokens', file=file) as bar:
    bar.update(910, {})
    clock.now += 10
    bar.update(920, {}, 1e6)  # 80 left at 1 step/s
  assert file.getvalue().splitlines()[1] == 'step 920/1000  1,000,000 tokens/s  ETA 0:01:20'


def test_a_terminal_gets_a_bar_with_the_same_text():
  file = Terminal()
  with Progress(200, initial=100, file=file) as bar:
    bar.update(150, {'train/loss': 0.5}, 10.0)
    bar.write('evaluated')
  text = file.getvalue()
  assert '\rstep 100/200 |' in text  # before the first update, while it compiles
  assert 'step 150/200  loss 0.5000  10 examples/s |' in text
  assert 'evaluated\n' in text and text.endswith('\n')


def test_an_error_leaves_the_terminal_on_a_fresh_line():
  file = Terminal()
  with pytest.raises(RuntimeError), Progress(10, file=file):
    raise RuntimeError
  assert file.getvalue().endswith('\n')


def test_throughput_leaves_out_the_first_interval_and_the_pauses():
  clock = Clock()
  throughput = Throughput(clock)
  clock.now += 60  # compilation
  assert throughput.update(1000) is None and throughput.mean is None
  clock.now += 2
  assert throughput.update(1200) == pytest.approx(100)
  with throughput.paused():
    clock.now += 30  # evaluation
  clock.now += 3
  assert throughput.update(2100) == pytest.approx(300)
  clock.now += 5
  assert throughput.update(2100) == 0
  assert throughput.mean == pytest.approx((200 + 900) / (2 + 3 + 5))


def test_a_pause_within_the_first_interval_does_not_count_later():
  clock = Clock()
  throughput = Throughput(clock)
  with throughput.paused():
    clock.now += 50
  throughput.update(0)
  clock.now += 1
  assert throughput.update(7) == pytest.approx(7)
