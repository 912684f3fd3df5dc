"""Against small datasets that TFDS itself wrote, with the real builders of mnist and cifar10."""

import importlib.util
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import types
import urllib.error
import urllib.request
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image

import zoo
from zoo.data import builders, dataset, semi, tfds
from zoo.experiment import complete_config, make_experiment

NUM = {'train': 30, 'test': 10}
SHAPES = {'mnist': (28, 28, 1), 'cifar10': (32, 32, 3)}
# Shape, splits and classes of others as the real ones have them, but for the number of examples.
OTHERS = {
  'svhn_cropped': ((32, 32, 3), {'train': 4, 'test': 3, 'extra': 2}, 10),
  'imagenet2012': ((40, 50, 3), {'train': 4, 'validation': 3, 'test': 2}, 1000),
  'celeb_a': ((218, 178, 3), {'train': 4, 'validation': 3, 'test': 2}, None),
  'patch_camelyon': ((96, 96, 3), {'train': 4, 'validation': 3, 'test': 2}, 2),
  'stl10': ((96, 96, 3), {'train': 20, 'test': 3, 'unlabelled': 6}, 10),
}
WITHOUT_LABELS = {'stl10': 'unlabelled', 'imagenet2012': 'test'}  # splits whose labels are all -1


def pixels(name, split, i):
  image = np.random.default_rng([i, NUM[split]]).integers(0, 256, SHAPES[name], dtype=np.uint8)
  image[0, 0] = i  # TFDS shuffles: the first pixel says which example this is
  return image


def write(name, data_dir, num_shards):
  """Prepares a dataset with TFDS's builder for it, whose download alone is replaced."""
  builder: Any = tensorflow_datasets.builder(name, data_dir=data_dir, file_format='array_record')

  def examples(split):
    for i in range(NUM[split]):
      image = pixels(name, split, i)
      image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
      extra = {'id': f'{split}_{i:05d}'} if 'id' in builder.info.features else {}
      yield i, {'image': image, 'label': i % 10, **extra}

  generators = lambda self, downloads: {split: examples(split) for split in NUM}
  config = tensorflow_datasets.download.DownloadConfig(num_shards=num_shards)
  with mock.patch.object(type(builder), '_split_generators', generators):
    builder.download_and_prepare(download_config=config)


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  tensorflow_datasets.disable_progress_bar()
  data_dir = tmp_path_factory.mktemp('tfds')
  write('mnist', data_dir, num_shards=1)
  write('cifar10', data_dir, num_shards=3)
  return data_dir


def flat(shape, i):
  """A picture of one colour, which JPEG keeps."""
  return np.full(shape, (10 * i, 100, 200), np.uint8)


def example(name, builder, split, i):
  """What the builder of a dataset yields: the values of every feature that it declares."""
  shape, _, classes = OTHERS[name]
  if name == 'imagenet2012':
    shape = (shape[0] + i, shape[1], 3)  # photographs are of many sizes
  fields = {'image': Image.fromarray(flat(shape, i))}
  if classes:
    fields['label'] = -1 if split == WITHOUT_LABELS.get(name) else i % classes
  for key, feature in builder.info.features.items():
    if key in ('id', 'file_name'):
      fields[key] = f'{split}_{i}'
    elif isinstance(feature, tensorflow_datasets.features.FeaturesDict):  # of faces
      fields[key] = {entry: x.np_dtype(i) for entry, x in feature.items()}
  return fields


@pytest.fixture(scope='module')
def others(tmp_path_factory):
  tensorflow_datasets.disable_progress_bar()
  data_dir = tmp_path_factory.mktemp('others')
  for name, (_, splits, _) in OTHERS.items():
    builder: Any = tensorflow_datasets.builder(name, data_dir=data_dir, file_format='array_record')
    examples = lambda builder, split, name=name, count=0: (
      (i, example(name, builder, split, i)) for i in range(count)
    )
    generators = lambda self, downloads, make=examples, splits=splits: {
      split: make(self, split, count=count) for split, count in splits.items()
    }
    config = tensorflow_datasets.download.DownloadConfig(num_shards=1)
    with mock.patch.object(type(builder), '_split_generators', generators):
      builder.download_and_prepare(download_config=config)
  return data_dir


@pytest.mark.parametrize('name', OTHERS)
def test_public_sets_are_read_by_their_names_in_all_their_splits(others, name):
  shape, splits, classes = OTHERS[name]
  for split, count in splits.items():
    size = shape[:2] if name == 'imagenet2012' else None
    records = tfds.records(name, split, others, size)
    examples = [records[i] for i in range(len(records))]
    numbers = [round(int(x['image'][0, 0, 0]) / 10) for x in examples]
    assert sorted(numbers) == list(range(count))
    for i, found in zip(numbers, examples, strict=True):
      assert found['image'].dtype == np.uint8
      assert np.abs(found['image'].astype(int) - flat(shape, i)).max() <= 4
      if classes:
        assert found['label'] == (-1 if split == WITHOUT_LABELS.get(name) else i % classes)
    assert records.num_classes == classes
  if name == 'celeb_a':
    assert found['attributes']['Smiling'] == bool(i) and found['landmarks']['nose_x'] == i


def load(name, others, **options):
  return dataset.load_dataset(name, dir=str(others), batch_size=2, **options)


def test_faces_have_no_labels_and_photographs_one_size(others):
  faces = load('celeb_a', others, validation='validation', image_size=(64, 64))
  assert {k: v.shape for k, v in faces.train.spec.items()} == {'image': (2, 64, 64, 3)}
  assert 'num_classes' not in faces.given
  photographs = load('imagenet2012', others, test='validation', image_size=(24, 24))
  assert photographs.train.spec['image'].shape == (2, 24, 24, 3)
  assert photographs.given['num_classes'] == 1000
  with pytest.raises(
    ValueError, match=r"imagenet2012 \(test\) record \d .*: 'label' is -1, but must"
  ):
    load('imagenet2012', others, test='test', image_size=(24, 24))


@pytest.mark.parametrize('on_device', [True, False])
def test_the_split_of_stl10_without_labels_is_learnt_from_without_them(others, on_device):
  options = {'train': 'train', 'unlabeled': 'unlabelled', 'test': 'test', 'on_device': on_device}
  found = semi.load_semi_supervised(
    'stl10', dir=str(others), labels_per_class=1, batch_size=4, unlabeled_ratio=1, **options
  )
  shapes = {part: {k: x.shape for k, x in spec.items()} for part, spec in found.train.spec.items()}
  assert shapes == {
    'labeled': {'image': (4, 96, 96, 3), 'label': (4,)},
    'unlabeled': {'image': (4, 96, 96, 3)},
  }
  if on_device:
    assert set(found.train.data['unlabeled']) == {'image'}
  else:
    state = found.train.init(jax.random.key(0))
    _, batch = found.train.next(state, None, found.train.data)
    assert set(batch['unlabeled']) == {'image'} and batch['labeled']['label'].min() >= 0
  assert found.given['num_classes'] == 10
  assert found.statistics is not None  # of the unlabelled: 10 i for i in 0 .. 5
  assert found.statistics['mean'][0] == pytest.approx(25 / 255, rel=1e-4)
  with pytest.raises(ValueError, match=r'stl10 has no class labels, by which'):
    load('stl10', others, train='unlabelled', classes=(0, 1))


def test_fixmatch_learns_from_stl10(others):
  data = {'loader': 'semi_supervised', 'name': 'stl10', 'dir': str(others), 'on_device': False}
  data |= {'unlabeled': 'unlabelled', 'labels_per_class': 1, 'batch_size': 2, 'unlabeled_ratio': 2}
  values = {
    'model': {'name': 'mlp'},
    'objective': {'name': 'fixmatch'},
    'data': data | {'augment': {'random_flip': {}}, 'strong': {'cutout': {}}},
  }
  made = make_experiment(complete_config(values), devices=jax.devices()[:1])
  spec, key = made.dataset.train.spec, jax.random.key(0)
  params, extras = jax.eval_shape(made.objective.init, key, spec)
  _, (_, scalars) = jax.eval_shape(made.objective.loss, params, extras, spec, key)
  assert 'mask_rate' in scalars and 'pseudo_label_accuracy' not in scalars


@pytest.fixture
def copied(prepared, tmp_path):
  """A copy that a test may damage."""
  return shutil.copytree(prepared, tmp_path / 'tfds')


def one_line(error):
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('name', ['mnist', 'cifar10'])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_reads_what_was_written(prepared, name, split):
  records = tfds.records(name, split, prepared)
  examples = [records[i] for i in range(len(records))]
  numbers = [int(example['image'][0, 0, 0]) for example in examples]
  assert sorted(numbers) == list(range(NUM[split]))
  for i, example in zip(numbers, examples, strict=True):
    assert example['image'].dtype == np.uint8
    np.testing.assert_array_equal(example['image'], pixels(name, split, i))
    assert example['label'] == i % 10
    if name == 'cifar10':
      assert example['id'] == f'{split}_{i:05d}'.encode()
  assert records.num_classes == 10
  assert records.class_names == tuple('0123456789')


def test_split_syntax(prepared):
  def ids(split):
    records = tfds.records('cifar10', split, prepared)
    return [records[i]['id'] for i in range(len(records))]

  whole = ids('train')
  head, tail = ids('train[:90%]'), ids('train[90%:]')
  assert (len(head), len(tail)) == (27, 3)
  assert head + tail == whole
  assert ids('train[10:14]') == whole[10:14]
  assert ids('train+test') == whole + ids('test')
  assert len(tfds.records('mnist:3.0.1', 'test[50%:]', prepared)) == 5


def test_image_size_fits_images(prepared):
  small = tfds.records('cifar10', 'train', prepared, image_size=(16, 8))[0]['image']
  assert (small.shape, small.dtype) == ((16, 8, 3), np.uint8)
  same = tfds.records('cifar10', 'train', prepared, image_size=(32, 32))[0]['image']
  np.testing.assert_array_equal(same, tfds.records('cifar10', 'train', prepared)[0]['image'])


@pytest.mark.slow
def test_two_processes_prepare_at_once_and_never_import_tensorflow(prepared, tmp_path):
  trap = tmp_path / 'tensorflow' / '__init__.py'
  trap.parent.mkdir()
  trap.write_text('raise SystemExit("tensorflow was imported")')
  code = (
    'import sys; from zoo.data import tfds\n'
    f'digits = tfds.records("digits", "train[:90%]", {str(tmp_path / "new")!r})\n'
    f'images = tfds.records("cifar10", "train", {str(prepared)!r})\n'
    'print(len(digits), digits[7]["label"], images[0]["image"].shape, "tensorflow" in sys.modules)'
  )
  path = os.pathsep.join([str(tmp_path), str(pathlib.Path(zoo.__file__).parents[1])])
  environment = os.environ | {'PYTHONPATH': path}
  children = [
    subprocess.Popen([sys.executable, '-c', code], env=environment, stdout=subprocess.PIPE)
    for _ in range(2)
  ]
  for child in children:
    assert child.communicate()[0].decode() == '1350 7 (32, 32, 3) False\n'
  assert [path.name for path in (tmp_path / 'new' / 'digits').iterdir()] == ['1.0.0']


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('mnsit', "unknown dataset 'mnsit'; did you mean 'mnist'"),
    ('digit', "did you mean 'digits'"),
    ('kaggle:mnist', "unknown dataset 'kaggle:mnist'"),
    ('imdb_reviews/plain', "'plain'; did you mean 'plain_text'"),
    ('mnist/big', "dataset 'mnist' has no configs"),
    ('mnist:9.9.9', "'9.9.9'; there are: 3.0.1"),
    ('digits:2.0.0', 'there are: 1.0.0'),
    ('a b', "cannot open dataset 'a b'"),
  ],
)
def test_unknown_names(tmp_path, name, message):
  with pytest.raises(ValueError) as error:
    tfds.records(name, 'train', tmp_path)
  assert message in one_line(error)


@pytest.mark.parametrize('split', ['tset', 'train[:31]', 'train[', 'train[:10%', '', 'train+tset'])
def test_unknown_splits(prepared, split):
  with pytest.raises(ValueError) as error:
    tfds.records('mnist', split, prepared)
  message = one_line(error)
  assert f"mnist: no split '{split}'; there is train (30 examples), test (10 examples)" in message
  assert ("did you mean 'test'" in message) == (split == 'tset')


def test_empty_split(prepared):
  with pytest.raises(ValueError, match='has no examples in it'):
    tfds.records('mnist', 'train[:0]', prepared)


def test_unprepared_without_tensorflow_says_what_to_do(tmp_path, monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  monkeypatch.setattr(urllib.request, 'urlopen', None)  # nothing is downloaded
  with pytest.raises(ValueError) as error:
    tfds.records('mnist', 'train', tmp_path)
  assert "pip install -e '.[prepare]'" in one_line(error)
  assert f'python -m zoo.data.tfds mnist --data_dir={tmp_path}' in one_line(error)
  with pytest.raises(ValueError, match='downloads/manual'):
    tfds.records('imagenet2012', 'train', tmp_path)


def test_unprepared_without_network_fails_at_once(tmp_path, monkeypatch):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
  offline = mock.Mock(side_effect=urllib.error.URLError('no network'))
  monkeypatch.setattr(urllib.request, 'urlopen', offline)
  monkeypatch.setattr(subprocess, 'run', None)
  with pytest.raises(ValueError, match='cannot be reached'):
    builders.prepare('mnist', tmp_path)
  with pytest.raises(ValueError) as error:
    tfds.records('mnist', 'train', tmp_path)
  assert 'storage.googleapis.com' in one_line(error)
  assert 'cannot be reached' in one_line(error)


def test_public_sets_are_prepared_in_another_process(prepared, tmp_path, monkeypatch):
  def run(arguments, **_):
    assert arguments[1:] == ['-m', 'zoo.data.tfds', 'mnist', f'--data_dir={tmp_path}']
    shutil.copytree(prepared / 'mnist', tmp_path / 'mnist')
    return types.SimpleNamespace(returncode=0)

  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
  monkeypatch.setattr(urllib.request, 'urlopen', mock.Mock())
  monkeypatch.setattr(subprocess, 'run', run)
  assert len(tfds.records('mnist', 'train', tmp_path)) == 30


def test_unwritable_data_dir(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError) as error:
    tfds.records('digits', 'train', tmp_path / 'file')
  assert f"cannot prepare dataset 'digits' in {tmp_path}/file" in one_line(error)


@pytest.mark.parametrize('damage', ['flip', 'truncate', 'empty', 'remove'])
def test_damaged_files_are_named(copied, damage):
  path = copied / 'mnist' / '3.0.1' / 'mnist-train.array_record-00000-of-00001'
  content = bytearray(path.read_bytes())
  content[5_000] ^= 4
  kept = {'flip': content, 'truncate': content[:100_000], 'empty': b'', 'remove': b''}[damage]
  path.write_bytes(kept)
  if damage == 'remove':
    path.unlink()
  records = tfds.records('mnist', 'train', copied)
  with pytest.raises(ValueError) as error:
    for i in range(len(records)):
      records[i]
  assert 'mnist (train) record' in one_line(error)
  assert str(path) in one_line(error)


def test_the_damaged_shard_is_named(copied):
  shard = copied / 'cifar10' / '3.0.2' / 'cifar10-train.array_record-00001-of-00003'
  shard.write_bytes(b'')
  records = tfds.records('cifar10', 'test+train', copied)
  for i in range(20):  # 10 of test, 10 in the first shard of train
    records[i]
  with pytest.raises(ValueError, match=shard.name):
    records[20]


def test_damaged_metadata(copied):
  (copied / 'mnist' / '3.0.1' / 'dataset_info.json').write_text('{')
  with pytest.raises(ValueError) as error:
    tfds.records('mnist', 'train', copied)
  assert f"cannot open dataset 'mnist' in {copied}" in one_line(error)


def test_records_end(prepared):
  with pytest.raises(IndexError, match='there is no record 30'):
    tfds.records('mnist', 'train', prepared)[30]


def test_tfrecord_is_refused_and_converted(copied, monkeypatch):
  before = tfds.records('mnist', 'train', copied)
  expected = [before[i]['image'] for i in range(30)]
  folder = copied / 'mnist' / '3.0.1'
  for split in NUM:  # the same examples in the framing of tfrecord: length, crc, data, crc
    builder = builders.open_dataset('mnist', copied)
    source = builder.as_data_source(
      split, deserialize_method=tensorflow_datasets.decode.DeserializeMethod.RAW_BYTES
    )
    with (folder / f'mnist-{split}.tfrecord-00000-of-00001').open('wb') as file:
      for record in source:
        file.write(struct.pack('<QI', len(record), 0) + record + bytes(4))
    (folder / f'mnist-{split}.array_record-00000-of-00001').unlink()
  info = json.loads((folder / 'dataset_info.json').read_text())
  (folder / 'dataset_info.json').write_text(json.dumps(info | {'fileFormat': 'tfrecord'}))

  with pytest.raises(ValueError) as error:
    tfds.records('mnist', 'train', copied)
  assert 'is in tfrecord format only' in one_line(error)
  assert f'python -m zoo.data.tfds mnist --data_dir={copied}' in one_line(error)

  class TFRecordDataset:
    def __init__(self, path):
      self.content = open(path, 'rb').read()  # noqa: SIM115

    def as_numpy_iterator(self):
      at = 0
      while at < len(self.content):
        (size,) = struct.unpack_from('<Q', self.content, at)
        yield self.content[at + 12 : at + 12 + size]
        at += size + 16

  tensorflow = types.SimpleNamespace(data=types.SimpleNamespace(TFRecordDataset=TFRecordDataset))
  monkeypatch.setitem(sys.modules, 'tensorflow', tensorflow)  # pyright: ignore[reportArgumentType]
  builders.prepare('mnist', copied)
  after = tfds.records('mnist', 'train', copied)
  np.testing.assert_array_equal([after[i]['image'] for i in range(30)], expected)
