import numpy as np
import pytest

from tests import fake_data
from zoo.data import subset


@pytest.fixture
def records():
  return fake_data.make_records((4, 4, 1), 5)


def test_classes_are_renamed_in_the_order_given(records):
  chosen = subset.of_classes(records, (3, 1))
  old = subset.labels_of(records)
  assert len(chosen) == np.isin(old, (1, 3)).sum()
  assert chosen.num_classes == 2
  assert chosen.class_names == ('class 3', 'class 1')
  for i in range(len(chosen)):
    original = records[int(chosen.indices[i])]
    assert (3, 1)[chosen[i]['label']] == original['label']
    np.testing.assert_array_equal(chosen[i]['image'], original['image'])
    assert chosen.where(i) == records.where(int(chosen.indices[i]))


@pytest.mark.parametrize('classes', [(1,), (1, 1), (0, 5), (-1, 2)])
def test_classes_that_make_no_sense(records, classes):
  with pytest.raises(ValueError, match=r'config\.data\.classes'):
    subset.of_classes(records, classes)


def test_an_empty_class_is_named(records):
  two = subset.of_classes(records, (0, 1))
  only = subset.Subset(two, np.flatnonzero(subset.labels_of(two) == 0), (0, 1))
  with pytest.raises(ValueError, match='no example of class 1'):
    subset.of_classes(only, (0, 1))


def test_few_are_drawn_evenly_and_again_the_same(records):
  chosen = subset.few(records, 2, seed=7)
  assert sorted(subset.labels_of(chosen)) == sorted([*range(5)] * 2)
  assert len(set(chosen.indices.tolist())) == 10
  np.testing.assert_array_equal(chosen.indices, subset.few(records, 2, seed=7).indices)
  assert any(
    not np.array_equal(chosen.indices, subset.few(records, 2, seed=s).indices) for s in range(5)
  )


def test_fewer_examples_than_asked_for(records):
  with pytest.raises(ValueError, match='labels_per_class=1000 asks for more'):
    subset.few(records, 1000)
  with pytest.raises(ValueError, match='at least 1'):
    subset.few(records, 0)
