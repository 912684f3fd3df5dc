"""Image augmentations as pure functions of a key and a batch.

Each factory takes plain numbers and returns an `Augmentation`: (key, batch) -> batch, traced inside
the training step, vectorised over the examples, for images [B, H, W, C] of any size. Only 'image'
and, where images are mixed, 'label' change; every other entry of the batch passes through. Examples
are mixed with others that the function is given: under pmap, with those of one device.
"""

import difflib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo.types import Array, Batch

Augmentation = Callable[[Array, Batch], Batch]


def chain(*augmentations: Augmentation) -> Augmentation:
  """Applies augmentations in order, each with a key of its own."""

  def apply(key: Array, batch: Batch) -> Batch:
    # Folded, not split: appending one leaves what the others draw as it was.
    for i, augmentation in enumerate(augmentations):
      batch = augmentation(jax.random.fold_in(key, i), batch)
    return batch

  return apply


def random_crop(padding: int = 4, mode: str = 'constant') -> Augmentation:
  """Pads every side, then crops a window of the original size at a random place.

  Args:
    padding: pixels added on each side.
    mode: 'constant' pads with zeros, 'reflect' mirrors the image about its edge pixels.

  Raises:
    ValueError: if the padding is negative or the mode unknown.

  References:
    He et al., Deep Residual Learning for Image Recognition, 2016, section 4.2.
  """
  modes = ('constant', 'reflect')
  if padding < 0:
    raise ValueError(f'random_crop: padding must not be negative, got {padding}')
  if mode not in modes:
    nearest = difflib.get_close_matches(mode, modes, 1, cutoff=0.0)[0]
    raise ValueError(f'random_crop: unknown mode {mode!r}, did you mean {nearest!r}?')

  def apply(key: Array, batch: Batch) -> Batch:
    images = batch['image']
    sides = (padding, padding)
    padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)), mode=mode)
    corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * padding + 1)

    def crop(image: Array, corner: Array) -> Array:
      return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return {**batch, 'image': jax.vmap(crop)(padded, corners)}

  return apply


def random_resized_crop(
  scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (0.75, 4 / 3)
) -> Augmentation:
  """Cuts out a box of random area, proportions and place, and enlarges it to the whole, bilinearly.

  Area and proportions are drawn ten times, and the first box that fits is taken; if none does, the
  whole image. The box is at most as large as the image, so that nothing is lost by sampling.

  Args:
    scale: bounds of the uniform area, as a fraction of the image's.
    ratio: bounds of width / height, uniform in their logarithm.

  Raises:
    ValueError: if bounds are not positive and in order, or the area is above 1.

  References:
    Szegedy et al., Going Deeper with Convolutions, 2015, section 6.
  """
  if not 0 < scale[0] <= scale[1] <= 1:
    raise ValueError(f'random_resized_crop: scale must be 0 < low <= high <= 1, got {scale}')
  if not 0 < ratio[0] <= ratio[1]:
    raise ValueError(f'random_resized_crop: ratio must be 0 < low <= high, got {ratio}')

  def apply(key: Array, batch: Batch) -> Batch:
    images = float_images('random_resized_crop', batch)
    b, h, w, _ = images.shape
    area_key, ratio_key, place_key = jax.random.split(key, 3)
    area = jax.random.uniform(area_key, (b, 10), minval=scale[0], maxval=scale[1])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = jnp.exp(jax.random.uniform(ratio_key, (b, 10), minval=low, maxval=high))
    # Sides as fractions of the image's: their product is the area.
    tall, wide = jnp.sqrt(area / shape * (w / h)), jnp.sqrt(area * shape * (h / w))
    fits = (tall <= 1) & (wide <= 1)
    first = jnp.argmax(fits, axis=1)[:, None]
    sides = jnp.stack([tall, wide], axis=2)  # [B, 10, 2]
    sides = jnp.take_along_axis(sides, first[..., None], axis=1)[:, 0]
    sides = jnp.where(fits.any(1, keepdims=True), sides, 1.0)  # [B, 2]
    corners = jax.random.uniform(place_key, (b, 2)) * (1 - sides)

    def enlarge(image: Array, side: Array, corner: Array) -> Array:
      shift = -corner / side * jnp.array([h, w])
      return jax.image.scale_and_translate(
        image, image.shape, (0, 1), 1 / side, shift, 'linear', antialias=False
      )

    return {**batch, 'image': jax.vmap(enlarge)(images, sides, corners)}

  return apply


def random_flip() -> Augmentation:
  """Mirrors each image left to right with probability one half."""

  def apply(key: Array, batch: Batch) -> Batch:
    images = batch['image']
    flip = jax.random.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
    return {**batch, 'image': jnp.where(flip, images[:, :, ::-1], images)}

  return apply


def random_dihedral() -> Augmentation:
  """Turns and mirrors each image: one of the eight symmetries of a square, all equally likely.

  Where height and width differ, one of the four that keep the shape.
  """

  def apply(key: Array, batch: Batch) -> Batch:
    images = batch['image']
    draws = jax.random.bernoulli(key, 0.5, (3, images.shape[0], 1, 1, 1))
    images = jnp.where(draws[0], images[:, :, ::-1], images)
    images = jnp.where(draws[1], images[:, ::-1], images)
    if images.shape[1] == images.shape[2]:
      images = jnp.where(draws[2], images.swapaxes(1, 2), images)
    return {**batch, 'image': images}

  return apply


def random_affine(
  degrees: float = 0.0,
  translate: float = 0.0,
  scale: tuple[float, float] = (1.0, 1.0),
  shear: float = 0.0,
  fill: float = 0.0,
) -> Augmentation:
  """Scales, shears, rotates about the centre and then shifts, with bilinear sampling.

  Args:
    degrees: rotation, uniform in [-degrees, degrees].
    translate: shift along each axis, uniform up to this fraction of that side.
    scale: bounds of the uniform magnification; above 1 enlarges.
    shear: slant of the columns, uniform in [-shear, shear] degrees.
    fill: value of the pixels that come from outside the image.

  Raises:
    ValueError: if the bounds of the scale are not positive and in order.
  """
  if not 0 < scale[0] <= scale[1]:
    raise ValueError(f'random_affine: scale must be 0 < low <= high, got {scale}')

  def apply(key: Array, batch: Batch) -> Batch:
    images = float_images('random_affine', batch)
    b, h, w, _ = images.shape
    angle_key, shift_key, scale_key, shear_key = jax.random.split(key, 4)
    angle = math.radians(degrees) * jax.random.uniform(angle_key, (b,), minval=-1.0)
    shift = translate * jax.random.uniform(shift_key, (b, 2), minval=-1.0) * jnp.array([[h, w]])
    zoom = jax.random.uniform(scale_key, (b,), minval=scale[0], maxval=scale[1])
    slant = jnp.tan(math.radians(shear) * jax.random.uniform(shear_key, (b,), minval=-1.0))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    # Undoes the rotation, [[cos, sin], [-sin, cos]], then the shear, [[1, 0], [-slant, 1]].
    inverse = jnp.stack([cos, sin, -slant * cos - sin, -slant * sin + cos], axis=1)
    inverse = (inverse / zoom[:, None]).reshape(b, 2, 2)
    warped = jax.vmap(warp, in_axes=(0, 0, 0, None))(images, inverse, shift, fill)
    return {**batch, 'image': warped}

  return apply


def cutout(size: int = 8, fill: float = 0.0) -> Augmentation:
  """Blanks a square centred on a random pixel; what lies over the border is cut off.

  Args:
    size: side of the square in pixels.
    fill: value of the blanked pixels.

  Raises:
    ValueError: if the size is not positive.

  References:
    DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.
  """
  if size < 1:
    raise ValueError(f'cutout: size must be positive, got {size}')

  def apply(key: Array, batch: Batch) -> Batch:
    images = batch['image']
    sides = jnp.full(images.shape[0], size)
    inside = random_boxes(key, sides, sides, images.shape)
    return {**batch, 'image': jnp.where(inside, jnp.asarray(fill, images.dtype), images)}

  return apply


def warp(image: Array, inverse: Array, shift: Array, fill: float) -> Array:
  """Samples an image bilinearly along an affine map about its centre.

  Args:
    image: float [H, W, C].
    inverse: float [2, 2], from (row, column) of the output to the input, both from the centre.
    shift: float [2], rows and columns by which the content moves.
    fill: value of everything outside the image; edges blend into it over one pixel.

  Returns:
    float [H, W, C].
  """
  h, w, c = image.shape
  padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=fill)
  # Written out, not a matrix product: accelerators round its factors to a few bits by default.
  y = jnp.arange(h)[:, None] - (h - 1) / 2 - shift[0]
  x = jnp.arange(w)[None, :] - (w - 1) / 2 - shift[1]
  rows = inverse[0, 0] * y + inverse[0, 1] * x + (h - 1) / 2
  cols = inverse[1, 0] * y + inverse[1, 1] * x + (w - 1) / 2
  # In the padded image; all that lies outside lands on the rim of fill.
  rows, cols = jnp.clip(rows + 1, 0, h + 1), jnp.clip(cols + 1, 0, w + 1)
  top = jnp.minimum(jnp.floor(rows), h).astype(jnp.int32)
  left = jnp.minimum(jnp.floor(cols), w).astype(jnp.int32)
  down = (rows - top)[..., None].astype(image.dtype)
  right = (cols - left)[..., None].astype(image.dtype)
  pixels = padded.reshape(-1, c)
  corner = top * (w + 2) + left
  upper = lerp(pixels[corner], pixels[corner + 1], right)
  lower = lerp(pixels[corner + w + 2], pixels[corner + w + 3], right)
  return lerp(upper, lower, down)


def float_images(name: str, batch: Batch) -> Array:
  """Returns the images; raises ValueError, naming the augmentation, unless they are floating."""
  images = batch['image']
  if not jnp.issubdtype(images.dtype, jnp.floating):
    raise ValueError(f'{name}: images must be floating point in [0, 1], got {images.dtype}')
  return images


def lerp(a: Array, b: Array, weight: Array) -> Array:
  return a + weight * (b - a)  # exactly a where a == b, which (1 - w) * a + w * b is not


def random_boxes(key: Array, heights: Array, widths: Array, shape: tuple[int, ...]) -> Array:
  """Masks [B, H, W, 1], true in heights[b] x widths[b] around a uniform pixel, clipped."""
  b, h, w, _ = shape
  row_key, col_key = jax.random.split(key)

  def spans(key: Array, sizes: Array, length: int) -> Array:
    start = jax.random.randint(key, (b,), 0, length) - sizes // 2
    place = jnp.arange(length)[None, :]
    return (place >= start[:, None]) & (place < (start + sizes)[:, None])

  rows, cols = spans(row_key, heights, h), spans(col_key, widths, w)
  return (rows[:, :, None] & cols[:, None, :])[..., None]
