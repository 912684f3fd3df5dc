import errno
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from zoo.training.writers import MetricWriter


def png(width, height):
  """A grey picture, by hand: signature and the chunks IHDR, IDAT, IEND."""

  def chunk(kind, data):
    check = struct.pack('>I', zlib.crc32(kind + data))
    return struct.pack('>I', len(data)) + kind + data + check

  rows = zlib.compress((b'\0' + b'\x80' * width) * height)
  header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  chunks = (chunk(b'IHDR', header), chunk(b'IDAT', rows), chunk(b'IEND', b''))
  return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


def crc32c(data):
  """CRC-32C bit by bit (polynomial 0x1EDC6F41, reflected)."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  return crc ^ 0xFFFFFFFF


def masked(data):
  crc = crc32c(data)
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(run):
  """Parses TFRecord: uint64 length, its CRC, data, its CRC, all little-endian."""
  events = []
  for path in sorted((run / 'tensorboard').iterdir()):
    data = path.read_bytes()
    while data:
      (length,), (check,) = struct.unpack('<Q', data[:8]), struct.unpack('<I', data[8:12])
      body, (end,) = data[12 : 12 + length], struct.unpack('<I', data[12 + length : 16 + length])
      assert check == masked(data[:8]) and end == masked(body)
      events.append(event_pb2.Event.FromString(body))  # pyright: ignore
      data = data[16 + length :]
  return events


def train(writer, first, last):
  """What a deterministic run writes for the steps first..last; it validates every 5."""
  for step in range(first, last + 1):
    loss = np.float32(np.exp(-step / 7))
    writer.write(step, {'train/loss': loss, 'train/accuracy': 1 - loss, 'learning_rate': 1e-3})
    writer.write_timing(step, {'examples_per_second': np.random.default_rng().random()})
    if step % 5 == 0:
      writer.write(step, {'validation/accuracy': 0.1 * step})


@pytest.fixture
def uninterrupted(tmp_path):
  with MetricWriter(tmp_path / 'reference') as writer:
    train(writer, 1, 20)
  return (tmp_path / 'reference' / 'metrics.jsonl').read_bytes()


def test_lines_are_json_with_the_step_first_and_sorted_names(tmp_path):
  with MetricWriter(tmp_path) as writer:
    writer.write(7, {'b': np.float32(0.1), 'a': 3, 'c/nan': np.nan, 'c/inf': -np.inf})
  line = (tmp_path / 'metrics.jsonl').read_text()
  assert line == '{"step": 7, "a": 3, "b": 0.1, "c/inf": "-Infinity", "c/nan": "NaN"}\n'
  json.loads(line, parse_constant=pytest.fail)


@pytest.mark.parametrize('saved', [0, 4, 5, 12, 20])
@pytest.mark.parametrize('torn', [b'', b'{"step": 19, "train/lo', b'{"step": 1}', b'\0\0\0'])
def test_resume_gives_the_same_bytes_as_no_kill(tmp_path, uninterrupted, saved, torn):
  with MetricWriter(tmp_path) as writer:
    train(writer, 1, 18 if saved < 18 else saved)
  with open(tmp_path / 'metrics.jsonl', 'ab') as file:
    file.write(torn)
  with MetricWriter(tmp_path, resume_step=saved) as writer:
    train(writer, saved + 1, 20)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == uninterrupted
  steps = [json.loads(x)['step'] for x in (tmp_path / 'timing.jsonl').read_text().splitlines()]
  assert steps == list(range(1, 21))


def test_a_run_that_begins_again_forgets_step_0_too(tmp_path):
  for _ in range(2):  # killed before its first checkpoint
    with MetricWriter(tmp_path, resume_step=0) as writer:
      writer.write(0, {'validation/loss': 2.3})
  assert (tmp_path / 'metrics.jsonl').read_text() == '{"step": 0, "validation/loss": 2.3}\n'


def test_every_line_survives_sigkill(tmp_path, uninterrupted):
  program = f"""
import os, signal
from zoo.training.writers import MetricWriter
writer = MetricWriter({str(tmp_path)!r})
for step in range(1, 10):
  writer.write(step, {{'train/loss': 1 / step}})
os.kill(os.getpid(), signal.SIGKILL)
"""
  result = subprocess.run([sys.executable, '-c', program], check=False)
  assert result.returncode == -signal.SIGKILL
  lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
  assert [json.loads(line)['step'] for line in lines] == list(range(1, 10))
  assert [e.step for e in read_events(tmp_path) if e.summary.value] == list(range(1, 10))
  with MetricWriter(tmp_path) as writer:
    train(writer, 1, 20)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == uninterrupted


def test_a_damaged_log_is_named_and_left_alone(tmp_path):
  text = '{"step": 1}\n{"st\n{"step": 3}\n'
  (tmp_path / 'metrics.jsonl').write_text(text)
  (tmp_path / 'timing.jsonl').write_text('{"step": 9}\n')
  with pytest.raises(ValueError, match=r'metrics\.jsonl, line 2 is damaged'):
    MetricWriter(tmp_path, resume_step=2)
  assert (tmp_path / 'metrics.jsonl').read_text() == text
  assert (tmp_path / 'timing.jsonl').read_text() == '{"step": 9}\n'


def test_a_full_disk_raises_at_once_naming_the_file_and_resume_recovers(tmp_path, uninterrupted):
  with MetricWriter(tmp_path) as writer:
    train(writer, 1, 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = os.path.getsize(tmp_path / 'metrics.jsonl')
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))  # room for a part of a line
    try:
      with pytest.raises(OSError, match=r"metrics\.jsonl'$") as caught:
        writer.write(11, {'train/loss': 1.0})
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert caught.value.errno == errno.EFBIG
  assert os.path.getsize(tmp_path / 'metrics.jsonl') == size + 20  # torn
  with MetricWriter(tmp_path, resume_step=10) as writer:
    train(writer, 11, 20)
  assert (tmp_path / 'metrics.jsonl').read_bytes() == uninterrupted


def test_a_directory_that_cannot_be_is_named(tmp_path):
  (tmp_path / 'previews').write_text('a file in the way')
  with pytest.raises(OSError, match=r"previews'$"):
    MetricWriter(tmp_path)


def test_tensorboard_events_hold_the_same_and_purge_what_is_run_again(tmp_path):
  with MetricWriter(tmp_path) as writer:
    writer.write(3, {'train/loss': 0.5, 'train/accuracy': 0.25})
    writer.write_timing(3, {'seconds': 2.0})
  with MetricWriter(tmp_path, resume_step=2) as writer:
    writer.write_image('confusion', 3, png(5, 4))
    writer.write_text('sample', 3, 'once upon a time')
  events = read_events(tmp_path)
  version, start, metrics, timing, _, resumed, picture, text = events
  assert version.file_version == 'brain.Event:2'
  assert (start.step, start.session_log.status) == (0, 1)  # SessionLog.START
  assert (resumed.step, resumed.session_log.status) == (3, 1)  # forget steps >= 3
  scalars = {value.tag: value.simple_value for value in metrics.summary.value}
  assert metrics.step == 3 and scalars == {'train/loss': 0.5, 'train/accuracy': 0.25}
  assert timing.summary.value[0].tag == 'timing/seconds'
  image = picture.summary.value[0].image
  assert (image.width, image.height, image.colorspace) == (5, 4, 1)
  assert image.encoded_image_string == png(5, 4)
  assert text.summary.value[0].tensor.string_val == [b'once upon a time']


def test_previews_are_files_named_by_their_step(tmp_path):
  with MetricWriter(tmp_path) as writer:
    path = writer.write_image('confusion', 500, png(2, 2))
    writer.write_image('confusion', 500, png(3, 3))  # a step that is run again
    writer.write_text('sample', 20, 'grüße')
    with pytest.raises(ValueError, match=r"^preview 'x' at step 1 is no PNG$"):
      writer.write_image('x', 1, b'GIF89a')
    with pytest.raises(ValueError, match=r"preview name '\.\./x' is not made of"):
      writer.write_text('../x', 1, 'outside')
  assert path == tmp_path / 'previews' / 'confusion_00000500.png'
  assert path.read_bytes() == png(3, 3)
  assert (tmp_path / 'previews' / 'sample_00000020.txt').read_text('utf-8') == 'grüße'
  assert len(os.listdir(tmp_path / 'previews')) == 2


def test_flush_and_close_may_come_again(tmp_path):
  writer = MetricWriter(tmp_path)
  writer.flush()
  writer.flush()
  writer.close()
  writer.close()


def test_importing_the_module_loads_no_tensorboard():
  program = 'import sys, zoo.training.writers; assert "tensorboardX" not in sys.modules'
  subprocess.run([sys.executable, '-c', program], check=True)
