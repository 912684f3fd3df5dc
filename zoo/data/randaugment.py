"""RandAugment: a few operations per image, drawn from fourteen, all at one magnitude.

The operations act on one image, float [H, W, C] in [0, 1], and follow Pillow's definitions;
`rand_augment` maps them over a batch. Where Pillow's depends on there being 256 levels, pixels are
rounded to the nearest level.
"""

import math

import jax
import jax.numpy as jnp

from zoo.data.augment import Augmentation, float_images, warp
from zoo.types import Array, Batch

OPS = (
  'identity',
  'autocontrast',
  'equalize',
  'rotate',
  'posterize',
  'solarize',
  'color',
  'contrast',
  'brightness',
  'sharpness',
  'shear_x',
  'shear_y',
  'translate_x',
  'translate_y',
)


def rand_augment(num_ops: int = 2, magnitude: float = 9.0, fill: float = 0.5) -> Augmentation:
  """Applies `num_ops` operations to each image, drawn uniformly with replacement.

  The ranges are AutoAugment's, arranged so that every operation does nothing at magnitude 0 and
  grows from there (`autocontrast` and `equalize` have no magnitude). At 10: rotation by 30 degrees,
  shear by 0.3, translation by 150/331 of the side, and a factor of 0.1 or 1.9 for color, contrast,
  brightness and sharpness, all with a random sign; posterize leaves 4 bits, solarize inverts all.

  Args:
    num_ops: N in the paper.
    magnitude: M in the paper, from 0 to 10.
    fill: value of the pixels that a geometric operation brings in; grey, as in AutoAugment.

  Raises:
    ValueError: if `num_ops` is not positive or the magnitude out of range.

  References:
    Cubuk et al., RandAugment: Practical Automated Data Augmentation with a Reduced Search Space,
    2020, section 3. The ranges: Cubuk et al., AutoAugment: Learning Augmentation Strategies from
    Data, 2019, appendix.
  """
  if num_ops < 1:
    raise ValueError(f'rand_augment: num_ops must be positive, got {num_ops}')
  if not 0 <= magnitude <= 10:
    raise ValueError(f'rand_augment: magnitude must be from 0 to 10, got {magnitude}')

  def one_op(key: Array, image: Array) -> Array:
    op_key, sign_key = jax.random.split(key)
    op = jax.random.randint(op_key, (), 0, len(OPS))
    sign = jax.random.rademacher(sign_key, (), jnp.float32)
    return apply_op(image, op, sign * (magnitude / 10), fill)

  def apply(key: Array, batch: Batch) -> Batch:
    images = float_images('rand_augment', batch)
    keys = jax.random.split(key, (num_ops, images.shape[0]))
    # A scan, because XLA fuses an unrolled loop: wherever an operation reads a pixel, nine times to
    # smooth, it would compute the operation before it anew (more than twice the time on CPU).
    step = lambda images, keys: (jax.vmap(one_op)(keys, images), None)
    images, _ = jax.lax.scan(step, images, keys)
    return {**batch, 'image': images}

  return apply


def apply_op(image: Array, op: Array, level: Array, fill: float) -> Array:
  """Applies the operation `OPS[op]` to one image.

  Args:
    image: float [H, W, C] in [0, 1].
    op: int32 [], index into `OPS`.
    level: float32 [] in [-1, 1], the magnitude as a share of the greatest, with the sign where an
      operation has a direction.
    fill: value of what comes from outside the image.

  Returns:
    float [H, W, C] in [0, 1].
  """
  # Under vmap a `switch` over the fourteen evaluates them all, with a warp for each of the five
  # geometric ones. These differ in a matrix alone, and the four enhancements in what they blend
  # with, so one warp and one blend serve all nine: a warp, a histogram and a few maps in all, in
  # half the time of the switch.
  amount = jnp.abs(level)
  warped = _geometric(image, op, level, fill)
  enhanced = _enhance(image, op, 1 + 0.9 * level)
  results = {
    'identity': image,
    'autocontrast': autocontrast(image),
    'equalize': equalize(image),
    'posterize': posterize(image, 8 - jnp.round(4 * amount).astype(jnp.int32)),
    'solarize': solarize(image, 256 * (1 - amount)),
    **dict.fromkeys(('color', 'contrast', 'brightness', 'sharpness'), enhanced),
    **dict.fromkeys(('rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'), warped),
  }
  return jnp.clip(jax.lax.select_n(op, *[results[name] for name in OPS]), 0, 1)


def autocontrast(image: Array) -> Array:
  """Stretches each channel to [0, 1]; a constant channel stays."""
  low = jnp.min(image, axis=(0, 1), keepdims=True)
  span = jnp.max(image, axis=(0, 1), keepdims=True) - low
  return jnp.where(span > 0, (image - low) / jnp.where(span > 0, span, 1), image)


def equalize(image: Array) -> Array:
  """Flattens the histogram of each channel over 256 levels.

  As in Pillow, whose step is an integer, a channel with fewer than 255 pixels below its brightest
  level stays as it is: images smaller than 16 x 16 never change.
  """
  h, w, c = image.shape
  levels = _levels(image)
  bins = levels + 256 * jnp.arange(c)[None, None, :]
  # A scatter: on CPU 20 times as fast as sorting the pixels, 60 as one-hot products.
  counts = jnp.zeros(256 * c, jnp.int32).at[bins].add(1).reshape(c, 256)
  brightest = jnp.max(levels, axis=(0, 1))[:, None]
  step = (h * w - jnp.take_along_axis(counts, brightest, axis=1)) // 255  # [C, 1]
  below = jnp.cumsum(counts, axis=1) - counts
  # Not `//`, whose care for signs XLA repeats for every pixel that looks the table up.
  table = jax.lax.div(below + step // 2, jnp.broadcast_to(jnp.maximum(step, 1), below.shape))
  equalized = (table.reshape(-1)[bins] / 255).astype(image.dtype)
  return jnp.where(step[:, 0] > 0, jnp.minimum(equalized, 1), image)


def posterize(image: Array, bits: Array) -> Array:
  """Keeps the `bits` (int32 [], 1 to 8) highest bits of each pixel's 8."""
  kept = -jnp.left_shift(1, 8 - bits)  # the mask of the high bits, in two's complement
  return ((_levels(image) & kept) / 255).astype(image.dtype)


def solarize(image: Array, threshold: Array) -> Array:
  """Inverts the pixels at or above a threshold (float32 [], in levels from 0 to 256)."""
  return jnp.where(_levels(image) >= threshold, 1 - image, image)


def greyscale(image: Array) -> Array:
  """Returns luma [H, W, 1] by ITU-R 601-2 for three channels, their mean for any other number."""
  if image.shape[-1] != 3:
    return jnp.mean(image, axis=-1, keepdims=True)
  return 0.299 * image[..., :1] + 0.587 * image[..., 1:2] + 0.114 * image[..., 2:]


def smooth(image: Array) -> Array:
  """Blurs by the 3 x 3 kernel of ones with a 5 in the middle, over 13; the border stays."""
  h, w, _ = image.shape
  padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
  rows = padded[:-2] + padded[1:-1] + padded[2:]
  total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
  y, x = jnp.arange(h)[:, None, None], jnp.arange(w)[None, :, None]
  inner = (y > 0) & (y < h - 1) & (x > 0) & (x < w - 1)
  return jnp.where(inner, (total + 4 * image) / 13, image)


def _geometric(image: Array, op: Array, level: Array, fill: float) -> Array:
  """Rotates (counter-clockwise), shears or shifts, or none of them if `op` is another operation."""

  def amount(name: str, greatest: float) -> Array:
    return jnp.where(op == OPS.index(name), greatest * level, 0.0)

  h, w, _ = image.shape
  angle = amount('rotate', math.radians(30))
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  # At most one of the three differs from the identity, so their offsets from it may be added.
  shear_x, shear_y = amount('shear_x', 0.3), amount('shear_y', 0.3)
  inverse = jnp.stack([cos, sin - shear_y, -sin - shear_x, cos]).reshape(2, 2)
  farthest = 150 / 331
  shift = jnp.stack([amount('translate_y', farthest * h), amount('translate_x', farthest * w)])
  return warp(image, inverse, shift, fill)


def _enhance(image: Array, op: Array, factor: Array) -> Array:
  """Blends with the image devoid of colour, contrast, light or sharpness; 1 gives the image."""
  grey = greyscale(image)
  flat = jnp.where(op == OPS.index('contrast'), jnp.mean(grey), jnp.zeros_like(grey))
  without = jnp.where(op == OPS.index('color'), grey, flat)  # [H, W, 1]
  without = jnp.where(op == OPS.index('sharpness'), smooth(image), without)
  return without + factor.astype(image.dtype) * (image - without)


def _levels(image: Array) -> Array:
  return jnp.clip(jnp.round(image * 255), 0, 255).astype(jnp.int32)
