import json
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from zoo.interop.tensors import INDEX, WHOLE, read_json, read_tensors, write_tensors

EIGHT = b'\0' * 8


def entry(shape, start, end, dtype='F32'):
  return {'dtype': dtype, 'shape': shape, 'data_offsets': [start, end]}


def file_of(path, header, data=EIGHT, length=None):
  """A file byte by byte, as the format's specification says."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(struct.pack('<Q', len(text) if length is None else length) + text + data)
  return path


def refusal(path):
  with pytest.raises(ValueError, match=r'\S') as error:
    read_tensors(path)
  assert '\n' not in str(error.value)
  return str(error.value)


ARRAYS = {
  'a': np.arange(6, dtype=np.float32).reshape(2, 3),
  'scalar': np.float64(3.5),
  'empty': np.zeros((0, 4), np.float32),
  'int': np.arange(-3, 3),
  'bool': np.array([True, False]),
  'half': np.array([1.5, -2], np.float16),
  'brain': np.array([1.5, -3e38], ml_dtypes.bfloat16),
}


def test_arrays_come_back_with_their_bits_types_and_shapes(tmp_path):
  write_tensors(tmp_path, ARRAYS)
  for path in (tmp_path, tmp_path / WHOLE):
    found = read_tensors(path)
    assert found.keys() == ARRAYS.keys()
    for name, x in found.items():
      assert (x.dtype, x.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
      assert x.tobytes() == ARRAYS[name].tobytes()


def test_the_layout_in_memory_does_not_matter(tmp_path):
  x = np.arange(12.0).reshape(3, 4)
  write_tensors(tmp_path, {'fortran': np.asfortranarray(x), 'view': x.T, 'steps': x[:, ::2]})
  found = read_tensors(tmp_path)
  np.testing.assert_array_equal(found['fortran'], x)
  np.testing.assert_array_equal(found['view'], x.T)
  np.testing.assert_array_equal(found['steps'], x[:, ::2])


def test_the_file_is_what_the_specification_says(tmp_path):
  write_tensors(tmp_path / 'x.safetensors', {'a': np.array([1.0, 2.0], np.float32)})
  data = (tmp_path / 'x.safetensors').read_bytes()
  length = int.from_bytes(data[:8], 'little')
  header = json.loads(data[8 : 8 + length])
  assert header == {'__metadata__': {'format': 'pt'}, 'a': entry([2], 0, 8)}
  assert np.frombuffer(data[8 + length :], '<f4').tolist() == [1, 2]
  assert [p.name for p in tmp_path.iterdir()] == ['x.safetensors']


def test_a_file_made_by_hand_is_read(tmp_path):
  data = np.array([5, 7], '<f4').tobytes()
  file_of(tmp_path / 'x.safetensors', {'a': entry([2], 0, 8)}, data)
  assert read_tensors(tmp_path / 'x.safetensors')['a'].tolist() == [5, 7]
  # A header of 0x280 bytes: the file begins as a pickle of protocol 2 does.
  text = json.dumps({'a': entry([2], 0, 8)}).encode().ljust(0x280)
  file_of(tmp_path / 'x.safetensors', text, data)
  assert (tmp_path / 'x.safetensors').read_bytes().startswith(b'\x80\x02')
  assert read_tensors(tmp_path / 'x.safetensors')['a'].tolist() == [5, 7]


@pytest.mark.parametrize(
  ('header', 'data', 'length', 'message'),
  [
    ({'a': entry([2], 0, 8)}, EIGHT, 1000, 'it ends before its header does'),
    ({'a': entry([2], 0, 8)}, EIGHT, 2**63, 'it ends before its header does'),
    (b'{hello}', EIGHT, None, 'its header is no JSON'),
    (b'{"\xff": 1}', EIGHT, None, 'its header is no JSON'),
    (b'[' * 100_000, EIGHT, None, 'its header is no JSON'),
    (b'[1, 2]', EIGHT, None, 'invalid JSON in header'),
    ({'a': {'dtype': 'F32'}}, EIGHT, None, 'missing field `shape`'),
    ({'a': entry([2], 0, 8), 'b': entry([2], 4, 12)}, b'\0' * 12, None, 'offset for tensor `b`'),
    ({'a': entry([2], 0, 8), 'b': entry([2], 12, 20)}, b'\0' * 20, None, 'offset for tensor `b`'),
    ({'a': entry([2], 8, 0)}, EIGHT, None, 'invalid offset for tensor `a`'),
    ({'a': entry([2], 0, 8)}, b'\0' * 4, None, 'file not fully covered'),
    ({'a': entry([2], 0, 8)}, b'\0' * 12, None, 'file not fully covered'),
    ({'a': entry([3], 0, 8)}, EIGHT, None, 'invalid shape'),
    ({'a': entry([-2], 0, 8)}, EIGHT, None, 'invalid value'),
    ({'a': entry([2**62, 4], 0, 0)}, b'', None, 'overflow'),
    ({'a': entry([2], 0, 8, 'F33')}, EIGHT, None, "a has the type 'F33'; BOOL, "),
    ({'a': entry([8], 0, 8, 'F8_E4M3')}, EIGHT, None, "a has the type 'F8_E4M3'; BOOL, "),
    ({'__metadata__': {'x': 3}, 'a': entry([2], 0, 8)}, EIGHT, None, 'invalid JSON in header'),
    (
      b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
      b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
      EIGHT,
      None,
      'its header repeats a',
    ),
  ],
)
def test_a_hostile_header_is_refused_in_one_line(tmp_path, header, data, length, message):
  path = file_of(tmp_path / 'bad.safetensors', header, data, length)
  text = refusal(path)
  assert message in text
  assert str(path) in text


@pytest.mark.parametrize('keep', [0, 5, 8, 40, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
  write_tensors(tmp_path, ARRAYS)
  path = tmp_path / WHOLE
  path.write_bytes(path.read_bytes()[:keep])
  assert 'no sound safetensors file' in refusal(path)


class Evil:
  def __reduce__(self):
    return exec, ('raise SystemExit("the pickle was run")',)


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_a_pickle_under_another_name_is_never_run(tmp_path, protocol):
  path = tmp_path / WHOLE
  path.write_bytes(pickle.dumps({'a': Evil()}, protocol))
  assert refusal(tmp_path) == f'{path} is a pickle; only safetensors files are read'


def test_a_zip_archive_is_named(tmp_path):
  with zipfile.ZipFile(tmp_path / WHOLE, 'w') as archive:
    archive.writestr('archive/data.pkl', pickle.dumps([1]))
  assert 'a zip archive, as torch.save writes it' in refusal(tmp_path)


@pytest.mark.parametrize('name', ['pytorch_model.bin', 'x.pt', 'x.ckpt', 'x.pth'])
def test_a_file_named_like_a_pickle_is_refused_even_if_it_is_none(tmp_path, name):
  write_tensors(tmp_path, ARRAYS)
  (tmp_path / WHOLE).rename(tmp_path / name)
  assert 'named like a pickle' in refusal(tmp_path / name)
  assert f'{name} is of a format that is not read' in refusal(tmp_path)


def shards(folder):
  write_tensors(folder / 'model-1.safetensors', {'a': ARRAYS['a'], 'int': ARRAYS['int']})
  write_tensors(folder / 'model-2.safetensors', {'half': ARRAYS['half']})
  return {
    'a': 'model-1.safetensors',
    'int': 'model-1.safetensors',
    'half': 'model-2.safetensors',
  }


def test_shards_are_joined(tmp_path):
  (tmp_path / INDEX).write_text(json.dumps({'weight_map': shards(tmp_path), 'metadata': {}}))
  found = read_tensors(tmp_path)
  assert found.keys() == {'a', 'int', 'half'}
  np.testing.assert_array_equal(found['half'], ARRAYS['half'])


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'half': '../outside.safetensors'}, "places half in '../outside.safetensors', no file of its"),
    ({'half': '/etc/x.safetensors'}, 'no file of its own folder'),
    ({'half': '..\\x.safetensors'}, 'no file of its own folder'),
    ({'half': '..'}, 'no file of its own folder'),
    ({'half': 'model.bin'}, 'no file of its own folder'),
    ({'half': 3}, 'places half in 3'),
    ({'half': 'model-3.safetensors'}, 'names model-3.safetensors, which is not there'),
    ({'more': 'model-2.safetensors'}, 'and model-2.safetensors disagree on more'),
    ({'half': 'model-1.safetensors'}, 'and model-1.safetensors disagree on half'),
  ],
)
def test_an_index_that_lies_is_refused(tmp_path, change, message):
  (tmp_path / 'outside.safetensors').touch()
  folder = tmp_path / 'model'
  places = shards(folder) | change
  (folder / INDEX).write_text(json.dumps({'weight_map': places}))
  assert message in refusal(folder)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', 'is no JSON'),
    ('[]', 'holds no JSON object'),
    ('{}', 'has no weight_map'),
    ('{"weight_map": []}', 'has no weight_map'),
  ],
)
def test_a_damaged_index_is_refused(tmp_path, text, message):
  (tmp_path / INDEX).write_text(text)
  assert message in refusal(tmp_path)


def test_a_folder_without_a_model_says_what_was_looked_for(tmp_path):
  assert f'has neither {WHOLE} nor {INDEX}' in refusal(tmp_path)
  with pytest.raises(FileNotFoundError):
    read_tensors(tmp_path / 'x.safetensors')


def test_read_json_takes_any_encoding_of_unicode_but_objects_alone(tmp_path):
  (tmp_path / 'x.json').write_text('{"a": "é"}', encoding='utf-8')
  assert read_json(tmp_path / 'x.json') == {'a': 'é'}
  (tmp_path / 'x.json').write_bytes(b'{"a": "\xff"}')
  with pytest.raises(ValueError, match='is no JSON'):
    read_json(tmp_path / 'x.json')
