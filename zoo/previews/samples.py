"""Pictures of what a generator now makes: a grid of samples, and ways from one to another."""

import io

import numpy as np

SIDE = 32  # pixels that a small picture is blown up to, at least
GAP = 2


def latents(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
  """Standard normal, float32 [count, size]."""
  return rng.standard_normal((count, size), np.float32)


def between(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
  """Latents on the way from some to others, both among them: [N, L] twice -> [N, count, L].

  Along the arc through both, so that those in the middle are as long as the ends: a straight line
  passes too near to the origin, where a normal distribution in many dimensions has nothing.

  References:
    White 2016, Sampling Generative Networks, section 2.1.
  """
  lengths = [np.linalg.norm(x, axis=-1, keepdims=True) for x in (first, last)]
  cosine = np.sum(first * last, axis=-1, keepdims=True) / (lengths[0] * lengths[1])
  angle = np.arccos(np.clip(cosine, -1, 1))[:, None]
  t = np.linspace(0, 1, count)[None, :, None]
  ways = np.sin((1 - t) * angle) * first[:, None] + np.sin(t * angle) * last[:, None]
  return (ways / np.sin(angle)).astype(np.float32)


def grid(images: np.ndarray, columns: int) -> bytes:
  """Draws pictures side by side, row by row.

  Args:
    images: float [N, H, W, channels], in [0, 1]: RGB if there are three channels, else the first
      in grey.
    columns: pictures in a row.

  Returns:
    A PNG file.
  """
  from PIL import Image

  pixels = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
  pixels = pixels if pixels.shape[-1] == 3 else pixels[..., :1]
  times = -(-SIDE // pixels.shape[1])
  pixels = pixels.repeat(times, axis=1).repeat(times, axis=2)
  N, H, W, C = pixels.shape
  rows = -(-N // columns)
  canvas = np.full((rows * (H + GAP) + GAP, columns * (W + GAP) + GAP, C), 255, np.uint8)
  for i, picture in enumerate(pixels):
    row, column = divmod(i, columns)
    top, left = row * (H + GAP) + GAP, column * (W + GAP) + GAP
    canvas[top : top + H, left : left + W] = picture
  buffer = io.BytesIO()
  Image.fromarray(canvas if C == 3 else canvas[..., 0]).save(buffer, format='png')
  return buffer.getvalue()
