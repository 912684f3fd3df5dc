"""What takes something away from pictures: noise, blur, a lower resolution, missing pixels."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.figures.image_quality import filtered, gaussian
from zoo.types import Array


class Corruption(NamedTuple):
  """A corruption of pictures.

  Attributes:
    apply: (key, picture [H, W, C]) -> (what is left of it, [H, W, C], and where it is known, [H, W,
      1]: 1, or 0 where a pixel is missing, which then is 0 as well).
    masked: whether pixels may be missing.
    degraded: whether anything happens to those that are not.
  """

  apply: Callable[[Array, Array], tuple[Array, Array]]
  masked: bool
  degraded: bool


def make_corruption(
  noise: tuple[float, ...] = (),
  blur: float = 0.0,
  factor: int = 1,
  missing: float = 0.0,
  holes: int = 0,
  hole_size: int = 12,
) -> Corruption:
  """Returns a corruption of its parts, in the order of the arguments, which are `restoration`'s.

  Raises:
    ValueError: an argument out of its range, or no part at all; when applied, a picture that does
      not fit.
  """
  levels = noise if len(noise) == 2 else noise * 2
  if len(noise) > 2 or any(x < 0 for x in noise) or sorted(levels) != list(levels):
    raise ValueError(f'noise must be one number >= 0, or two in ascending order, not {noise}')
  if blur < 0 or factor < 1 or holes < 0 or hole_size < 1 or not 0 <= missing < 1:
    raise ValueError(
      'a corruption needs blur >= 0, factor >= 1, holes >= 0, hole_size >= 1 and missing in '
      f'[0, 1), not {blur}, {factor}, {holes}, {hole_size} and {missing}'
    )
  masked, degraded = bool(holes or missing), bool(any(noise) or blur or factor > 1)
  if not (masked or degraded):
    raise ValueError('there is nothing to restore: set noise, blur, factor, missing or holes')

  def apply(key: Array, x: Array) -> tuple[Array, Array]:
    (H, W, C), keys = x.shape, jax.random.split(key, 5)
    if H % factor or W % factor:
      raise ValueError(f'pictures of {H} x {W} cannot be made smaller by a factor of {factor}')
    if holes and hole_size > min(H, W):
      raise ValueError(f'holes of {hole_size} pixels do not fit pictures of {H} x {W}')
    known: Array = jnp.ones((H, W, 1), jnp.float32)
    if blur:
      x = filtered(x, (blurring(H, blur), blurring(W, blur)))
    if factor > 1:
      small = jax.image.resize(x, (H // factor, W // factor, C), 'cubic')
      x = jax.image.resize(small, (H, W, C), 'cubic')
    if any(noise):
      sigma = jax.random.uniform(keys[0], (), minval=levels[0], maxval=levels[1]) / 255
      x += sigma * jax.random.normal(keys[1], x.shape)
    if missing:
      known *= jax.random.uniform(keys[2], known.shape) >= missing
    if holes:
      rows = in_spans(keys[3], H, holes, hole_size)
      columns = in_spans(keys[4], W, holes, hole_size)
      known *= ~jnp.any(rows[:, :, None] & columns[:, None], axis=0)[..., None]
    return x * known, known

  return Corruption(apply, masked, degraded)


def blurring(size: int, sigma: float) -> np.ndarray:
  """The matrix [size, size] that blurs a line, which goes on as its last value beyond its ends."""
  reach = int(np.ceil(3 * sigma))
  weights = gaussian(2 * reach + 1, sigma)
  matrix = np.zeros((size, size))
  for i in range(size):
    np.add.at(matrix[i], np.clip(np.arange(i - reach, i + reach + 1), 0, size - 1), weights)
  return matrix


def in_spans(key: Array, size: int, count: int, length: int) -> Array:
  """Which of `size` places lie within each of some spans at random places, bool [count, size]."""
  starts = jax.random.randint(key, (count, 1), 0, size - length + 1)
  places = jnp.arange(size)[None]
  return (places >= starts) & (places < starts + length)
