"""Pictures before and after, read back from their pixels."""

import io

import numpy as np
from PIL import Image

from zoo.previews.restoration import before_and_after

COLOURS = np.array([[200, 0, 40], [200, 80, 40], [200, 160, 40], [0, 0, 200]])


def plain(colour, shape=(6, 8)):
  return np.broadcast_to(colour / 255, (*shape, 3))


def pixels(png):
  return np.asarray(Image.open(io.BytesIO(png)).convert('RGB')).astype(int)


def centre(picture, colour):
  """The median place (row, column) of a colour in the picture, as shares of its size."""
  places = np.argwhere(np.abs(picture - colour).max(-1) <= 3)
  return np.median(places, axis=0) / picture.shape[:2]


def test_the_restored_stand_below_what_they_were_restored_from():
  clean, left, restored = (np.stack([plain(c)] * 3) for c in COLOURS[:3])
  picture = pixels(before_and_after(clean, left, restored, np.zeros((2, 3))))
  rows = [centre(picture, colour)[0] for colour in COLOURS[:3]]
  assert rows == sorted(rows)
  covered = (np.abs(picture[:, :, None] - COLOURS[:3]).max(-1) <= 3).any(-1)
  assert covered.mean() > 0.7


def test_every_picture_has_its_column_and_its_shape():
  clean = np.stack([plain(colour) for colour in COLOURS])
  picture = pixels(before_and_after(clean, 0 * clean, 0 * clean, np.zeros((2, 4))))
  columns = [centre(picture, colour)[1] for colour in COLOURS]
  np.testing.assert_allclose(columns, [0.125, 0.375, 0.625, 0.875], atol=0.01)
  for colour in COLOURS:
    places = np.argwhere(np.abs(picture - colour).max(-1) <= 3)
    height, width = np.ptp(places, axis=0) + 1
    np.testing.assert_allclose(height / width, 6 / 8, rtol=0.03)


def test_grey_pictures_and_values_out_of_range():
  draw = lambda x: before_and_after(x, x, x, np.zeros((2, 1)))
  white = draw(np.ones((1, 4, 4, 1)))
  assert white == draw(np.full((1, 4, 4, 1), 7.0))
  assert white == draw(np.ones((1, 4, 4, 3)))
