import errno
import json
import os

import numpy as np
import pytest

from zoo.training import rundir


@pytest.mark.parametrize('function', ['replace', 'fsync'])
def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch, function):
  path = tmp_path / 'config.json'
  rundir.atomic_write(path, 'old')

  def fail(*args):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, function, fail)
  with pytest.raises(OSError, match=r"No space left on device: .*config\.json'$") as caught:
    rundir.atomic_write(path, 'new')
  assert caught.value.errno == errno.ENOSPC
  assert path.read_text() == 'old'
  assert os.listdir(tmp_path) == ['config.json']  # and no litter


def test_atomic_write_replaces_what_a_killed_write_left(tmp_path):
  (tmp_path / '.a.png.tmp').write_bytes(b'torn, and longer than what comes')
  rundir.atomic_write(tmp_path / 'a.png', b'whole')
  assert (tmp_path / 'a.png').read_bytes() == b'whole'
  assert os.listdir(tmp_path) == ['a.png']


def test_an_interrupt_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
  rundir.atomic_write(tmp_path / 'a', 'old')

  def interrupt(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(os, 'replace', interrupt)
  with pytest.raises(KeyboardInterrupt):
    rundir.atomic_write(tmp_path / 'a', 'new')
  assert os.listdir(tmp_path) == ['a'] and (tmp_path / 'a').read_text() == 'old'


def test_config_round_trip_and_layout(tmp_path):
  config = {'model': {'name': 'cnn', 'features': (32, 64)}, 'data': {'split': None}}
  rundir.write_config(tmp_path / 'new' / 'run', config)
  restored = rundir.read_config(tmp_path / 'new' / 'run')
  assert restored == {'model': {'name': 'cnn', 'features': [32, 64]}, 'data': {'split': None}}
  assert rundir.config_difference(config, restored) == []
  text = (tmp_path / 'new' / 'run' / 'config.json').read_text()
  assert text.splitlines()[:3] == ['{', '  "data": {', '    "split": null']


def test_read_config_answers_in_one_line(tmp_path):
  with pytest.raises(ValueError, match=r'^no run in .*nowhere: it has no config.json$'):
    rundir.read_config(tmp_path / 'nowhere')
  (tmp_path / 'config.json').write_text('{"model": {')
  with pytest.raises(ValueError, match=r'config\.json is damaged: Expecting .*line 1'):
    rundir.read_config(tmp_path)
  (tmp_path / 'config.json').write_bytes(b'\xff\xfe\x00')
  with pytest.raises(ValueError, match=r'config\.json is damaged: '):
    rundir.read_config(tmp_path)
  (tmp_path / 'config.json').write_text('[1]')
  with pytest.raises(ValueError, match=r'config\.json is damaged: it holds no object'):
    rundir.read_config(tmp_path)


def test_a_directory_that_cannot_be_is_named(tmp_path):
  (tmp_path / 'file').write_text('kept')
  with pytest.raises(OSError, match=r"file/run'$"):
    rundir.write_config(tmp_path / 'file' / 'run', {})
  with pytest.raises(OSError, match=r"file'$"):
    rundir.write_config(tmp_path / 'file', {})
  with pytest.raises(OSError, match=r"gone/summary\.json'$"):
    rundir.write_summary(tmp_path / 'gone', {})
  assert (tmp_path / 'file').read_text() == 'kept'


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
  rundir.write_config(tmp_path, {'a': 1})
  for bad in (object(), float('inf')):
    with pytest.raises(ValueError, match=r'^config\.json cannot be written: '):
      rundir.write_config(tmp_path, {'a': bad})
  assert rundir.read_config(tmp_path) == {'a': 1}


def test_config_difference_by_hand():
  old = {
    'optimizer': {'learning_rate': 1e-3, 'name': 'adam', 'mask': {}},
    'model': {'features': (32, 64), 'norm': True, 'dropout': 0},
    'gone': {'a': 1},
  }
  new = {
    'optimizer': {'learning_rate': 1e-2, 'name': 'lion', 'mask': {}},
    'model': {'features': [32, 128], 'norm': 1, 'dropout': 0.0},
    'train': {'steps': None},
  }
  assert rundir.config_difference(old, new) == [
    'gone.a: 1 -> (absent)',
    'model.features: [32, 64] -> [32, 128]',
    'model.norm: true -> 1',
    'optimizer.learning_rate: 0.001 -> 0.01',
    'optimizer.name: "adam" -> "lion"',
    'train.steps: (absent) -> null',
  ]
  assert rundir.config_difference(old, old) == []
  assert rundir.config_difference({'a': 1}, {'a': {'b': 2}}) == [
    'a: 1 -> (absent)',
    'a.b: (absent) -> 2',
  ]


def test_summary_is_valid_json_with_numbers_as_they_are(tmp_path):
  seconds = 12.345678901234567
  values = {'test/accuracy': np.float32(0.1), 'loss': float('nan'), 'seconds': seconds}
  rundir.write_summary(tmp_path, {'final': values, 'steps': np.int64(3), 'shape': (1, 2)})
  summary = json.loads((tmp_path / 'summary.json').read_text(), parse_constant=pytest.fail)
  assert summary['final'] == {'test/accuracy': 0.1, 'loss': 'NaN', 'seconds': seconds}
  assert summary['steps'] == 3 and summary['shape'] == [1, 2]


def test_json_number_gives_every_float32_back():
  rng = np.random.default_rng(0)
  bits = rng.integers(0, 2**32, 5000, dtype=np.uint32).view(np.float32)
  for value in bits[np.isfinite(bits)]:
    text = json.dumps(rundir.json_number(value))
    assert np.float32(json.loads(text)).tobytes() == value.tobytes()
    assert json.dumps(rundir.json_number(float(value))) == text  # widened: the same text
  assert rundir.json_number(np.float32(0.1)) == 0.1  # not 0.10000000149011612
  assert rundir.json_number(2**40) == 2**40  # not rounded to 24 bits
  assert [rundir.json_number(v) for v in (np.nan, np.inf, -np.inf)] == [*rundir.NOT_FINITE]


def test_read_metrics_skips_a_torn_end_and_names_a_damaged_line(tmp_path):
  path = tmp_path / 'metrics.jsonl'
  path.write_text('{"step": 1, "loss": "Infinity"}\n{"step": 2, "loss": 0.5}\n{"step": 3, "lo')
  assert rundir.read_metrics(path) == [{'step': 1, 'loss': np.inf}, {'step': 2, 'loss': 0.5}]
  for damaged in ('{"step"\n', '{"loss": 1}\n', '[1]\n'):
    path.write_text('{"step": 1}\n' + damaged + '{"step": 3}\n')
    with pytest.raises(ValueError, match=r'metrics\.jsonl, line 2 is damaged'):
      rundir.read_metrics(path)
