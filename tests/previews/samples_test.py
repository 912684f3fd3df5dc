"""Grids read back from their pixels, and ways through latents."""

import io

import numpy as np
from PIL import Image

from zoo.previews import samples


def test_a_grid_shows_each_picture_in_its_place():
  images = np.linspace(0, 1, 5)[:, None, None, None] * np.ones((5, 8, 8, 1))
  pixels = np.asarray(Image.open(io.BytesIO(samples.grid(images, columns=3))))
  assert pixels.shape == (2 * 34 + 2, 3 * 34 + 2)  # eight pixels four times, and the gaps
  centres = [pixels[18 + 34 * (i // 3), 18 + 34 * (i % 3)] for i in range(6)]
  assert centres == [0, 64, 128, 191, 255, 255]  # the last place is empty


def test_colours_stay_and_large_pictures_keep_their_size():
  images = np.zeros((1, 40, 50, 3))
  images[..., 1] = 1.5  # out of range: full green
  pixels = np.asarray(Image.open(io.BytesIO(samples.grid(images, columns=1))))
  assert pixels.shape == (44, 54, 3)
  assert pixels[20, 20].tolist() == [0, 255, 0]


def test_a_way_goes_from_end_to_end_on_the_arc():
  first, last = np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 3.0], [-2.0, 2.0]])
  ways = samples.between(first, last, 5)
  np.testing.assert_allclose(ways[:, 0], first, atol=1e-6)
  np.testing.assert_allclose(ways[:, -1], last, atol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(ways[0], axis=-1), 3, rtol=1e-6)
  np.testing.assert_allclose(ways[0, 2], [3 / np.sqrt(2)] * 2, rtol=1e-6)
