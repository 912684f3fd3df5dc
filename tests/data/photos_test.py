"""The patches of the photographs: where they come from, and that no split sees another."""

import numpy as np
import pytest
from sklearn import datasets

from tests.scripts import command
from zoo.data import tfds
from zoo.data.builders import photos

SPLITS = ('train', 'validation', 'test')


@pytest.fixture(scope='module')
def examples():
  found = {split: tfds.records('photos/64', split, command.home() / 'tfds') for split in SPLITS}
  return {split: [r[i] for i in range(len(r))] for split, r in found.items()}


def covered(split, size):
  """How often each pixel of each photograph is in a patch."""
  count = np.zeros((2, photos.HEIGHT, photos.WIDTH), int)
  for photo, top, left in photos.places(split, size):
    count[photo, top : top + size, left : left + size] += 1
  return count


@pytest.mark.parametrize('size', [64, 32])
def test_no_pixel_is_in_two_splits_and_held_out_patches_do_not_overlap(size):
  counts = {split: covered(split, size) for split in SPLITS}
  assert (sum((count > 0).astype(int) for count in counts.values()) <= 1).all()
  for split, share in (('train', 0.7), ('validation', 0.1), ('test', 0.2)):
    assert (counts[split] > 0).mean() == pytest.approx(share, abs=0.03), split
  assert counts['validation'].max() == counts['test'].max() == 1 < counts['train'].max()


@pytest.mark.parametrize(('size', 'sizes'), [(64, (736, 12, 24)), (32, (1200, 52, 104))])
def test_counts(size, sizes):
  # Of 64: 23 rows of 5 + 5 + 5 + 1 to train on, and 6 rows of 1 and 2; two photographs each.
  assert tuple(len(list(photos.places(split, size))) for split in SPLITS) == sizes


def test_patches_are_cut_from_the_photographs_of_scikit_learn(examples):
  originals = [datasets.load_sample_image(name) for name in photos.FILES]
  for split in SPLITS:
    found = [(int(e['photo']), int(e['top']), int(e['left'])) for e in examples[split]]
    assert found == list(photos.places(split, 64))
    for example, (photo, top, left) in zip(examples[split], found, strict=True):
      np.testing.assert_array_equal(
        example['image'], originals[photo][top : top + 64, left : left + 64]
      )


def test_says_whose_they_are_and_has_no_classes():
  info = tfds.open_dataset('photos', command.home() / 'tfds').info
  assert 'CC BY 2.0' in info.redistribution_info.license
  assert all(author in info.description for author in ('danielbuechele', 'vultilion'))
  records = tfds.records('photos', 'test', command.home() / 'tfds')  # the patches of 64
  assert records.num_classes is None and records[0]['image'].shape == (64, 64, 3)
