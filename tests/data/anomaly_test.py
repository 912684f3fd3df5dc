import jax
import numpy as np
import pytest

from tests import fake_data
from zoo.data import dataset
from zoo.data.anomaly import load_anomalies


@pytest.fixture
def splits(monkeypatch):
  """Records of five classes for each split."""
  records = {
    split: fake_data.make_records((4, 4, 1), 5, size, seed)
    for seed, (split, size) in enumerate({'train': 40, 'validation': 20, 'test': 30}.items())
  }
  monkeypatch.setattr(dataset, 'open_records', lambda name, split, *_: records[split])
  return records


def load(**options):
  options = {'validation': 'validation', 'held_out': (1, 3), 'batch_size': 8} | options
  return load_anomalies('fake', workers=0, **options)


def test_training_sees_normal_examples_alone_and_no_labels(splits):
  data = load().train.data
  assert list(data) == ['image']
  normal = ~np.isin(splits['train'].labels, (1, 3))
  np.testing.assert_array_equal(data['image'], splits['train'].images[normal])


@pytest.mark.parametrize('split', ['validation', 'test'])
def test_evaluation_sees_all_and_which_are_anomalies(splits, split):
  data = load().evaluation[split].data
  np.testing.assert_array_equal(data['image'], splits[split].images)
  np.testing.assert_array_equal(data['label'], np.isin(splits[split].labels, (1, 3)))


def test_inputs_are_standardised_by_the_normal_examples(splits):
  loaded = load()
  batch = jax.tree.map(np.asarray, loaded.train.data)
  x = np.asarray(loaded.standardize(loaded.scale(batch))['image'])
  assert abs(x.mean()) < 1e-5 and x.std() == pytest.approx(1, abs=1e-5)
  again = load(statistics={'mean': np.zeros(1, np.float32), 'std': np.ones(1, np.float32)})
  assert np.asarray(again.standardize(again.scale(batch))['image']).max() <= 1
  assert load(normalization='scale').statistics is None


@pytest.mark.parametrize('held_out', [(), (5,), (0, 1, 2, 3, 4), (-1,)])
def test_classes_that_leave_nothing_normal_or_nothing_odd(splits, held_out):
  with pytest.raises(ValueError, match=r'held_out must be some, not all, of the classes 0 .. 4'):
    load(held_out=held_out)


def test_a_split_without_anomalies_is_named(splits):
  splits['test'] = fake_data.FakeRecords(splits['test'].images, splits['test'].labels * 0, 5)
  with pytest.raises(ValueError, match='the test examples of fake include no anomalies'):
    load()
