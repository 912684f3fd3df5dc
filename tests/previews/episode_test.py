"""An episode as a GIF: as many frames as observations, and what they show."""

import io

import numpy as np
import pytest
from PIL import Image

from zoo.previews import episode


def frames_of(data: bytes) -> list[np.ndarray]:
  found = []
  with Image.open(io.BytesIO(data)) as picture:
    for i in range(picture.n_frames):
      picture.seek(i)
      found.append(np.asarray(picture.convert('RGB')))
  return found


def column_of(frame: np.ndarray, colour: tuple[int, int, int]) -> float:
  near = np.abs(frame.astype(int) - np.array(colour)).sum(-1) < 60
  return float(np.nonzero(near)[1].mean())


def test_the_cart_is_where_it_was_and_the_pole_leans_as_it_did():
  seen = np.array([[-1.2, 0, 0.2, 0], [1.2, 0, -0.2, 0]], np.float32)
  left, right = frames_of(episode.gif('CartPole-v1', seen))
  for frame, x, sign in ((left, 60, 1), (right, 180, -1)):
    assert column_of(frame, episode.INK) == pytest.approx(x, abs=2)
    assert sign * (column_of(frame, episode.MARK) - x) > 3


def test_long_episodes_are_thinned_out():
  seen = np.zeros((501, 4), np.float32) + np.arange(501, dtype=np.float32)[:, None] / 300
  assert len(frames_of(episode.gif('CartPole-v1', seen, most=100))) == 84


@pytest.mark.parametrize(('name', 'size'), [('Acrobot-v1', 6), ('MountainCar-v0', 2)])
def test_what_moves_is_drawn_elsewhere(name, size):
  seen = np.array([[-0.5] * size, [0.4] * size], np.float32)
  first, second = frames_of(episode.gif(name, seen))
  assert (first != second).any()


def test_boards_are_shown_as_they_are_and_unknown_numbers_not_at_all():
  boards = np.zeros((2, 10, 5, 1), np.uint8)
  boards[0, 0, 1], boards[1, 9, 4] = 255, 255
  first, second = frames_of(episode.gif('Catch', boards))
  assert first.shape == (160, 80, 3)
  assert first[8, 24].min() > 200 and second[8, 24].max() < 50 and second[150, 70].min() > 200
  screens = np.zeros((1, 84, 84, 4), np.uint8)
  screens[0, 40:44, 40:44, 0], screens[0, 60:64, 60:64, 3] = 255, 255
  (screen,) = frames_of(episode.gif('atari:Pong', screens))
  assert screen[42, 42].max() < 50 and screen[62, 62].min() > 200  # the last of the stack
  board = np.zeros((1, 10, 10, 4), np.float32)
  board[0, 2, 2, 0], board[0, 5, 5, 1] = 1, 1
  (seen,) = frames_of(episode.gif('gymnax:Breakout-MinAtar', board))
  assert abs(seen[40, 40].astype(int) - seen[88, 88]).max() > 50 and not seen[0, 0].any()
  assert episode.gif('other', np.zeros((3, 7))) is None


def test_pictures_keep_their_colours():
  pictures = np.zeros((2, 400, 600, 3), np.uint8)
  pictures[..., 0], pictures[1, :200, :, 1] = 200, 200
  first, second = frames_of(episode.gif('gymnasium:CartPole-v1', pictures))
  assert first.shape == (320, 480, 3) and abs(first[9, 9].astype(int) - (200, 0, 0)).max() < 9
  assert abs(second[9, 9].astype(int) - (200, 200, 0)).max() < 9
