"""A folder verifies if and only if it is, bit for bit, what was written."""

import json
import os
import random

import pytest

from tests.training.step_folder import make_folder
from zoo.training import manifest


def test_content_comes_back_and_files_are_listed(tmp_path):
  folder = make_folder(tmp_path / '3')
  content = manifest.verify(folder)
  assert content == manifest.read(folder)
  assert content['info'] == {'x': [1.5, None, 'ü']}
  assert list(content['files']) == ['a.bin', 'd/b.bin', 'd/manifest.json']
  # The digest of no bytes at all, as FIPS 180-4 has it.
  assert content['files']['d/b.bin'] == {
    'size': 0,
    'sha256': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  }


def test_any_bit_of_any_file_counts(tmp_path):
  folder = make_folder(tmp_path / '3')
  rng = random.Random(0)
  for name in ('a.bin', 'd/manifest.json', manifest.FILENAME):
    good = (folder / name).read_bytes()
    for bit in rng.sample(range(8 * len(good)), 100):
      bad = bytearray(good)
      bad[bit // 8] ^= 1 << bit % 8
      (folder / name).write_bytes(bad)
      with pytest.raises(manifest.DamagedError, match=name):
        manifest.verify(folder)
    (folder / name).write_bytes(good)
  manifest.verify(folder)


@pytest.mark.parametrize('damage', ['missing', 'extra', 'truncated', 'longer', 'no manifest'])
def test_damage_is_named(tmp_path, damage):
  folder = make_folder(tmp_path / '3')
  if damage == 'missing':
    (folder / 'd' / 'b.bin').unlink()
    message = 'd/b.bin is missing'
  elif damage == 'extra':
    (folder / 'd' / 'c.bin').write_bytes(b'')
    message = 'd/c.bin is not in the manifest'
  elif damage == 'truncated':
    os.truncate(folder / 'a.bin', 199)
    message = 'a.bin has 199 bytes instead of 200'
  elif damage == 'longer':
    (folder / 'd' / 'b.bin').write_bytes(b'x')
    message = 'd/b.bin has 1 bytes instead of 0'
  else:
    (folder / manifest.FILENAME).unlink()
    message = 'manifest.json: No such file or directory'
  with pytest.raises(manifest.DamagedError, match=message):
    manifest.verify(folder)


@pytest.mark.parametrize('data', [b'', b'[]', b'{"checksum": 1}', b'\xff', b'[' * 100_000])
def test_a_manifest_that_is_none(tmp_path, data):
  (tmp_path / manifest.FILENAME).write_bytes(data)
  with pytest.raises(manifest.DamagedError, match=manifest.FILENAME):
    manifest.verify(tmp_path)


def test_a_manifest_edited_by_hand_is_refused(tmp_path):
  folder = make_folder(tmp_path / '3', {'step': 3})
  content = json.loads((folder / manifest.FILENAME).read_text())
  (folder / manifest.FILENAME).write_text(json.dumps({**content, 'step': 4}, indent=1) + '\n')
  with pytest.raises(manifest.DamagedError, match='its own checksum'):
    manifest.read(folder)
