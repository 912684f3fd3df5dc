import json

import pytest

from zoo.benchmark.comparison import compare_rows, lines, read_rows

ORIGIN = {'provenance': {'versions': {'jax': '0.10.2'}}}


def row(median, spread=0.0, **others):
  step = {'median': median, 'p10': median * (1 - spread), 'p90': median * (1 + spread)}
  same = {'name': 'mlp', 'what': 'train', 'parallel': 'jit', 'devices': 1, 'batch_size': 8}
  return same | {'step_ms': step} | ORIGIN | others


def test_rows_of_the_same_work_are_compared_and_the_last_counts():
  old = [row(9.0), row(1.0), row(5.0, what='loop'), row(1.0, dtype='bfloat16')]
  new = [row(2.0), row(2.0, batch_size=16), {'what': 'train', 'name': 'mlp', 'error': 'no memory'}]
  [change] = compare_rows(new, old)
  assert (change.speed, change.low, change.high) == (0.5, 0.5, 0.5)
  assert change.is_slower(0.1)
  assert [line.endswith('SLOWER') for line in lines([change], 0.1)] == [True]


def test_noise_that_reaches_the_threshold_excuses_a_row():
  [change] = compare_rows([row(1.2, spread=0.1)], [row(1.0, spread=0.1)])
  assert change.speed == pytest.approx(1 / 1.2)
  assert (change.low, change.high) == (pytest.approx(0.9 / 1.32), pytest.approx(1.1 / 1.08))
  assert not change.is_slower(0.1)
  [change] = compare_rows([row(1.2)], [row(1.0)])
  assert change.is_slower(0.1) and not change.is_slower(0.2)


def test_a_file_is_read_back(tmp_path):
  path = tmp_path / 'rows.jsonl'
  path.write_text(json.dumps(row(1.0)) + '\n' + json.dumps(row(1.0) | {'step_ms': None}) + '\n')
  assert read_rows(path)[0] == row(1.0)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', 'rows.jsonl:1 is no JSON'),
    ('[1]', 'rows.jsonl:1 is no row of scripts/benchmark.py'),
    ('{"case": "dqn"}', 'is no row of scripts/benchmark.py'),
    ('{"name": "mlp", "what": "train"}', 'does not say where it was measured'),
    (json.dumps(row(1.0) | {'step_ms': {'median': 1}}), 'has no quantiles'),
  ],
)
def test_another_schema_is_refused_in_one_line(tmp_path, text, message):
  path = tmp_path / 'rows.jsonl'
  path.write_text(text)
  with pytest.raises(ValueError, match=r'rows\.jsonl') as caught:
    read_rows(path)
  assert message in str(caught.value) and '\n' not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(ValueError, match=r'absent\.jsonl cannot be read'):
    read_rows(tmp_path / 'absent.jsonl')
