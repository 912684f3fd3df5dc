import numpy as np
import pytest
from sklearn import datasets

from zoo.data import tfds


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('tfds')


@pytest.fixture(scope='module')
def original():
  images, labels = datasets.load_digits(return_X_y=True)
  return images.reshape(-1, 8, 8, 1), labels


@pytest.mark.parametrize(('split', 'start', 'stop'), [('train', 0, 1500), ('test', 1500, 1797)])
def test_records_are_those_of_scikit_learn_in_its_order(data_dir, original, split, start, stop):
  records = tfds.records('digits', split, data_dir)
  examples = [records[i] for i in range(len(records))]
  images = np.stack([example['image'] for example in examples])
  assert images.dtype == np.uint8
  np.testing.assert_array_equal(np.round(images * (16 / 255)), original[0][start:stop])
  np.testing.assert_array_equal([e['label'] for e in examples], original[1][start:stop])
  np.testing.assert_array_equal([e['index'] for e in examples], np.arange(start, stop))


def test_all_of_0_to_255_is_used(data_dir):
  records = tfds.records('digits', 'train', data_dir)
  values = np.unique([records[i]['image'] for i in range(100)])
  # 255 / 16 * count for count = 0 .. 16, rounded by hand (half to even).
  assert values.tolist() == [
    *(0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255)
  ]


def test_is_prepared_once_and_read_again(data_dir):
  first = tfds.records('digits', 'test', data_dir)
  files = {path: path.stat().st_mtime_ns for path in data_dir.rglob('*') if path.is_file()}
  again = tfds.records('digits', 'test', data_dir)
  assert {path: path.stat().st_mtime_ns for path in files} == files
  assert any('array_record' in path.name for path in files)
  np.testing.assert_array_equal(first[5]['image'], again[5]['image'])


def test_says_where_it_comes_from(data_dir):
  tfds.records('digits', 'test', data_dir)
  info = tfds.open_dataset('digits', data_dir).info
  assert 'Alpaydin' in info.citation
  assert 'uci' in info.homepage
  assert 'CC BY 4.0' in info.redistribution_info.license
  assert tfds.records('digits', 'test', data_dir).class_names == tuple('0123456789')
