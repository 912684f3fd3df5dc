"""Grids of pictures, read back from their pixels."""

import io

import numpy as np
from PIL import Image

from zoo.previews.pictures import before_and_after, grid

COLOURS = np.array([[200, 0, 40], [200, 80, 40], [200, 160, 40], [200, 240, 40], [0, 0, 200]])


def plain(colour, shape=(6, 8)):
  return np.broadcast_to(colour / 255, (*shape, 3))


def pixels(png):
  return np.asarray(Image.open(io.BytesIO(png)).convert('RGB')).astype(int)


def centre(picture, colour):
  """The median place (row, column) of a colour in the picture, as shares of its size."""
  places = np.argwhere(np.abs(picture - colour).max(-1) <= 3)
  return np.median(places, axis=0) / picture.shape[:2]


def test_every_picture_has_its_place_and_its_shape():
  red, orange, yellow, green = map(plain, COLOURS[:4])
  picture = pixels(grid([[red, orange], [yellow, green]]))
  assert picture.shape[0] / picture.shape[1] == np.float64(0.75)
  places = [[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]
  found = [centre(picture, colour) for colour in COLOURS[:4]]
  np.testing.assert_allclose(found, places, atol=0.01)
  covered = (np.abs(picture[:, :, None] - COLOURS[:4]).max(-1) <= 3).any(-1)
  assert covered.mean() > 0.85


def test_grey_pictures_and_values_out_of_range():
  white = grid([[np.ones((4, 4, 1))]])
  assert white == grid([[np.full((4, 4, 1), 7.0)]])
  assert white == grid([[np.ones((4, 4, 3))]])


def test_the_restored_stand_below_what_they_were_restored_from():
  clean, left, restored = (np.stack([plain(c)] * 3) for c in COLOURS[:3])
  picture = pixels(before_and_after(clean, left, restored, np.zeros((2, 3))))
  rows = [centre(picture, colour)[0] for colour in COLOURS[:3]]
  assert rows == sorted(rows)
