"""What the pictures show, read back from their pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from zoo.previews.classification import preview

DARKEST = np.array([8, 48, 107])  # of the colours in use: the whole of a true class


def pixels(png):
  return np.asarray(Image.open(io.BytesIO(png)).convert('RGB')).astype(int)


def centre(picture, colour):
  """The median place (row, column) of a colour in the picture, as shares of its size."""
  places = np.argwhere(np.abs(picture - colour).max(-1) <= 3)
  return np.median(places, axis=0) / picture.shape[:2]


@pytest.mark.parametrize('soft', [False, True])
def test_rows_are_true_classes_and_columns_predicted_ones(soft):
  labels = np.array([0, 0, 1])
  labels = np.eye(3)[labels] if soft else labels
  logits = np.eye(3)[[2, 2, 2]]  # so both rows that occur are dark in the last column
  pictures = preview(labels, logits)
  assert set(pictures) == {'confusion_matrix'}
  row, column = centre(pixels(pictures['confusion_matrix']), DARKEST)
  assert row < 0.5 < column


def test_the_worst_mistake_is_shown_first_and_what_is_right_last():
  reds = np.array([[200, 0, 40], [200, 80, 40], [200, 160, 40], [200, 240, 40]], np.uint8)
  images = np.broadcast_to(reds[:, None, None], (4, 6, 6, 3))
  labels = np.array([0, 0, 1, 1])
  # Probabilities of the true class: 0.27, 0.95, 0.02, and 0.12.
  logits = np.array([[0.0, 1.0], [3.0, 0.0], [4.0, 0.0], [2.0, 0.0]])
  picture = pixels(preview(labels, logits, images=images, class_names=['a', 'b'])['worst_mistakes'])
  columns = [centre(picture, colour)[1] for colour in reds]
  assert np.argsort(columns).tolist() == [2, 3, 0, 1]


@pytest.mark.slow
def test_pictures_of_any_depth_and_range():
  rng = np.random.default_rng(0)
  labels, logits = rng.integers(0, 3, 5), rng.normal(size=(5, 3))
  grey = np.zeros((5, 4, 4, 1), np.float32)
  grey[:, :2] = 1.0
  halves = pixels(preview(labels, logits, images=grey)['worst_mistakes'])
  for scale in (
    lambda x: 5 * x - 2,
    lambda x: (255 * x).astype(np.uint8),
    lambda x: x.repeat(2, -1),
  ):
    same = pixels(preview(labels, logits, images=scale(grey))['worst_mistakes'])
    np.testing.assert_array_equal(same, halves)
  assert set(preview(labels, logits, images=grey[..., 0])) == {'confusion_matrix'}


@pytest.mark.parametrize('C', [2, 10, 41, 100])
def test_pictures_stay_of_a_reasonable_size(C):
  rng = np.random.default_rng(0)
  names = [f'${c} ' + 'long' * 20 for c in range(C)]  # neither mathematics nor wider than the page
  png = preview(rng.integers(0, C, 200), rng.normal(size=(200, C)), class_names=names)
  height, width, _ = pixels(png['confusion_matrix']).shape
  assert 400 < height < 2000 and 400 < width < 2000
  assert 0.7 < width / height < 1.5


def test_it_is_drawn_alike_each_time():
  args = (np.array([0, 1]), np.array([[1.0, 0.0], [2.0, 0.0]]))
  images = np.zeros((2, 4, 4, 1))
  assert preview(*args, images=images) == preview(*args, images=images)
