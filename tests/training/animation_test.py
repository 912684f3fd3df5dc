"""Pictures of many steps become one that moves, in order."""

import numpy as np
import pytest
from PIL import Image

from zoo.training.animation import animate


def draw(folder, name, step, value, size=(6, 4)):
  Image.fromarray(np.full(size[::-1], value, np.uint8)).save(folder / f'{name}_{step:08d}.png')


def frames(path):
  with Image.open(path) as picture:
    for i in range(picture.n_frames):
      picture.seek(i)
      yield np.asarray(picture.convert('L')), picture.info['duration']


def test_frames_come_in_the_order_of_steps_and_the_last_stays(tmp_path):
  for step, value in ((1000, 250), (5, 10), (20, 90)):
    draw(tmp_path, 'grid', step, value)
  draw(tmp_path, 'alone', 5, 0)
  (tmp_path / 'grid_00000005.txt').write_text('no picture')
  (tmp_path / 'other.png').write_bytes(b'not one of ours')
  assert animate(tmp_path, seconds=3) == [tmp_path / 'grid.gif']
  shown = list(frames(tmp_path / 'grid.gif'))
  assert [int(pixels[1, 1]) for pixels, _ in shown] == [10, 90, 250]
  assert [pause for _, pause in shown] == [1000, 1000, 2000]
  assert not list(tmp_path.glob('alone.gif'))


def test_of_many_pictures_a_few_are_taken_the_first_and_the_last_among_them(tmp_path):
  for step in range(9):
    draw(tmp_path, 'x', step, 20 * step, size=(6 + step, 4))
  animate(tmp_path, most=3)
  shown = [pixels for pixels, _ in frames(tmp_path / 'x.gif')]
  assert [int(pixels[1, 1]) for pixels in shown] == [0, 80, 160]
  assert {pixels.shape for pixels in shown} == {(4, 14)}


def test_a_damaged_picture_is_named(tmp_path):
  draw(tmp_path, 'x', 1, 0)
  (tmp_path / 'x_00000002.png').write_bytes(b'\x89PNG')
  with pytest.raises(OSError, match='x_00000002'):
    animate(tmp_path)
