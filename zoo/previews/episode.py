"""An episode as a picture that moves, drawn from what was observed: CartPole and such, boards."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

WIDTH, HEIGHT = 240, 160
INK, GROUND, MARK, BACK = (40, 40, 40), (150, 150, 150), (0, 114, 178), (255, 255, 255)
# Of the channels of a board: Okabe and Ito's, see `training/curves.py`.
COLOURS = (
  (0, 114, 178),
  (230, 159, 0),
  (90, 90, 90),
  (0, 158, 115),
  (204, 121, 167),
  (240, 228, 66),
)
BOARD = 20  # cells of a side; what is larger is a screen
PAUSE = 40  # ms between two frames


def gif(name: str, observations: np.ndarray, most: int = 250) -> bytes | None:
  """Draws an episode.

  Args:
    name: of the environment, whoever it is from ('gymnax:CartPole-v1').
    observations: [T, ...], from its start to its end: what was seen, or pictures of it.
    most: frames; of a longer episode only every second, third ... is drawn.

  Returns:
    A GIF file, or None if nothing is known of how the observations look.
  """
  if observations.ndim == 4:
    in_colour = observations.dtype == np.uint8 and observations.shape[-1] == 3
    draw = scene if in_colour and observations.shape[1] > HEIGHT else board
  else:
    draw = DRAWN.get(name.rpartition(':')[2])
  if draw is None:
    return None
  every = -(-len(observations) // most)
  frames = [draw(seen) for seen in observations[::every]]
  buffer = io.BytesIO()
  pauses = [PAUSE * every] * (len(frames) - 1) + [1000]
  frames[0].save(
    buffer, format='gif', save_all=True, append_images=frames[1:], duration=pauses, loop=0
  )
  return buffer.getvalue()


def canvas() -> tuple[Any, Any]:
  from PIL import Image, ImageDraw

  picture = Image.new('RGB', (WIDTH, HEIGHT), BACK)
  return picture, ImageDraw.Draw(picture)


def scene(seen: np.ndarray) -> Any:
  """A picture of a scene in colour, made smaller."""
  from PIL import Image

  smaller = Image.fromarray(seen)
  smaller.thumbnail((2 * WIDTH, 2 * HEIGHT))
  return smaller


def rod(pen: Any, start: Sequence[float], angle: float, length: float) -> tuple[float, float]:
  """Draws a rod that hangs at an angle from straight down; returns its end."""
  end = (start[0] + length * np.sin(angle), start[1] + length * np.cos(angle))
  pen.line([tuple(start), end], fill=MARK, width=5)
  return float(end[0]), float(end[1])


def cartpole(seen: np.ndarray) -> Any:
  """The cart on its track, which ends where the picture does."""
  picture, pen = canvas()
  x, y = WIDTH / 2 * (1 + float(seen[0]) / 2.4), 120
  pen.line([(0, y + 10), (WIDTH, y + 10)], fill=GROUND, width=2)
  pen.rectangle([x - 18, y - 9, x + 18, y + 9], fill=INK)
  rod(pen, (x, y - 9), np.pi - float(seen[2]), 80)
  return picture


def acrobot(seen: np.ndarray) -> Any:
  """Both links, and the height that the lower end is to reach."""
  picture, pen = canvas()
  middle, unit = (WIDTH / 2, HEIGHT / 2), 36
  pen.line([(0, middle[1] - unit), (WIDTH, middle[1] - unit)], fill=GROUND, width=2)
  first = float(np.arctan2(seen[1], seen[0]))
  elbow = rod(pen, middle, first, unit)
  rod(pen, elbow, first + float(np.arctan2(seen[3], seen[2])), unit)
  return picture


def mountain_car(seen: np.ndarray) -> Any:
  """The car between its hills, and the flag."""
  picture, pen = canvas()
  across = lambda x: (x + 1.2) / 1.8 * (WIDTH - 1)
  above = lambda x: HEIGHT - 20 - 50 * (np.sin(3 * x) + 1)
  xs = np.linspace(-1.2, 0.6, 60)
  pen.line([(across(x), above(x)) for x in xs], fill=GROUND, width=2)
  pen.line([(across(0.5), above(0.5)), (across(0.5), above(0.5) - 30)], fill=INK, width=2)
  x = float(seen[0])
  pen.ellipse([across(x) - 7, above(x) - 14, across(x) + 7, above(x)], fill=MARK)
  return picture


def board(seen: np.ndarray) -> Any:
  """A board, each of its channels in a colour of its own, or the last screen of a stack."""
  from PIL import Image

  pixels = seen.astype(np.float32) / (255 if seen.dtype == np.uint8 else 1)
  if min(pixels.shape[:2]) > BOARD:
    pixels = pixels[..., -1:]
  colours = np.resize(COLOURS, (pixels.shape[-1], 3)) if pixels.shape[-1] > 1 else [(255, 255, 255)]
  pixels = np.round((np.clip(pixels, 0, 1)[..., None] * colours).max(-2)).astype(np.uint8)
  times = max(1, HEIGHT // pixels.shape[0])
  return Image.fromarray(pixels.repeat(times, axis=0).repeat(times, axis=1))


DRAWN: dict[str, Callable[[np.ndarray], Any]] = {
  'Acrobot-v1': acrobot,
  'CartPole-v1': cartpole,
  'MountainCar-v0': mountain_car,
}
