import io

import numpy as np
import pytest
from PIL import Image

from zoo.previews import anomaly

RNG = np.random.default_rng(0)
SCORES = RNG.exponential(size=40)
LABELS = (SCORES > 2).astype(int)


def pixels(png):
  return np.asarray(Image.open(io.BytesIO(png)).convert('RGB'))


@pytest.mark.slow
def test_pictures_are_drawn_where_there_are_images():
  images = RNG.uniform(size=(40, 8, 8, 1))
  shown = anomaly.preview(LABELS, SCORES, images=images)
  assert sorted(shown) == ['most_and_least_anomalous', 'scores']
  assert all(pixels(png).std() > 0 for png in shown.values())
  assert list(anomaly.preview(LABELS, SCORES)) == ['scores']


def test_the_oddest_are_above_and_the_least_odd_below():
  images = np.full((40, 8, 8, 1), 0.5)
  images[SCORES.argmax()], images[SCORES.argmin()] = 1.0, 0.0
  picture = pixels(anomaly.extremes(images, LABELS, SCORES, columns=4))
  above, below = np.split(picture[: len(picture) // 2 * 2], 2)
  dark = lambda part: int(np.sum(part.max(-1) < 8))  # letters are few
  assert dark(below) > dark(above) + 1000


def test_one_score_for_all_is_drawn_too():
  assert pixels(anomaly.histogram(np.zeros(5), np.ones(5))).std() > 0
