import numpy as np
import pytest
from sklearn import datasets

from tests.scripts import command
from zoo.data import tfds
from zoo.data.stream import collect


@pytest.fixture(scope='module')
def splits():
  records = {
    split: tfds.records('breast_cancer', split, command.home() / 'tfds')
    for split in ('train', 'test')
  }
  return {split: collect(r, ('features', 'label', 'index')) for split, r in records.items()}


def test_every_example_is_in_one_split_as_scikit_learn_has_it(splits):
  features, labels = datasets.load_breast_cancer(return_X_y=True)
  indices = np.concatenate([split['index'] for split in splits.values()])
  np.testing.assert_array_equal(np.sort(indices), np.arange(569))
  for split in splits.values():
    np.testing.assert_allclose(split['features'], features[split['index']], rtol=1e-6)
    np.testing.assert_array_equal(split['label'], labels[split['index']])


def test_the_split_is_stratified(splits):
  counts = {name: np.bincount(split['label']).tolist() for name, split in splits.items()}
  assert counts == {'train': [159, 268], 'test': [53, 89]}
  labels = datasets.load_breast_cancer(return_X_y=True)[1]
  assert splits['test']['index'].tolist() == sorted(
    i for c in (0, 1) for i in np.flatnonzero(labels == c)[3::4].tolist()
  )


def test_labels_have_names():
  records = tfds.records('breast_cancer', 'test', command.home() / 'tfds')
  assert records.class_names == ('malignant', 'benign')
