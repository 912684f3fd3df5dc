import pytest

from tests.benchmark.measurements_test import workload
from zoo.benchmark import profile
from zoo.benchmark.profile import Event


def test_what_runs_within_another_is_taken_off_it():
  events = [
    Event('while', 0, 100),
    Event('dot', 10, 40),
    Event('add', 20, 30),
    Event('dot', 50, 60),
  ]
  assert profile.own_times(events) == [('while', 60), ('dot', 20), ('add', 10), ('dot', 10)]


def test_idle_is_when_no_thread_works():
  events = [Event('a', 0, 10), Event('b', 5, 20), Event('c', 30, 40), Event('d', 32, 35)]
  assert profile.idle_time(events) == 10
  assert profile.idle_time([]) == 0


def test_the_table_adds_up():
  threads = [[Event('dot', 0, 4e6), Event('dot', 6e6, 8e6)], [Event('copy.1', 1e6, 3e6)]]
  rows = profile.table(threads, {'dot': ('matmul', 'f/Dense_0')}, steps=2)
  assert [(r.op, r.kind, r.scope, r.ms, r.runs) for r in rows] == [
    ('dot', 'matmul', 'f/Dense_0', 3.0, 1.0),
    ('copy.1', 'other', '', 1.0, 0.5),
    ('', 'idle', '', 1.0, 0),
  ]
  assert [r.share for r in rows] == pytest.approx([0.6, 0.2, 0.2])
  assert profile.by_kind(rows) == pytest.approx({'matmul': 0.6, 'other': 0.2, 'idle': 0.2})
  assert 'matmul 60.0%' in next(iter(profile.lines(rows)))


@pytest.mark.parametrize('strategy', ['jit', 'pmap'])
def test_a_step_is_traced_and_its_operations_are_found(strategy, tmp_path):
  rows = profile.profile(workload(strategy), tmp_path)
  assert list(tmp_path.rglob('*.xplane.pb'))
  assert sum(row.share for row in rows) == pytest.approx(1)
  known = [row for row in rows if row.kind not in ('idle', 'other')]
  assert known and all(row.ms > 0 for row in known)
