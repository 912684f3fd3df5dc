"""Changes of colour as pure functions of a key and a batch; see `augment.py`."""

import jax
import jax.numpy as jnp

from zoo.data.augment import Augmentation, float_images
from zoo.types import Array, Batch


def random_color(
  brightness: float = 0.5, saturation: float = 1.0, contrast: float = 0.5
) -> Augmentation:
  """Adds light, then stretches each pixel's colours about their mean, then all about theirs.

  Nothing is clipped to [0, 1], so that gradients pass: a generator may learn through it.

  Args:
    brightness: what is added is uniform in [-brightness, brightness].
    saturation: a pixel's distance to its grey is multiplied by a factor uniform in 1 +- saturation.
    contrast: likewise each value's distance to the mean of the image.

  Raises:
    ValueError: if one is negative.

  References:
    Zhao et al. 2020, Differentiable Augmentation for Data-Efficient GAN Training, section 4.
  """
  options = {'brightness': brightness, 'saturation': saturation, 'contrast': contrast}
  for name, value in options.items():
    if value < 0:
      raise ValueError(f'random_color: {name} must not be negative, got {value}')

  def apply(key: Array, batch: Batch) -> Batch:
    x = float_images('random_color', batch)
    keys = jax.random.split(key, 3)
    light, colour, range_ = (
      bound * jax.random.uniform(key, (len(x), 1, 1, 1), x.dtype, minval=-1.0)
      for key, bound in zip(keys, options.values(), strict=True)
    )
    x = x + light
    grey = jnp.mean(x, axis=-1, keepdims=True)
    x = grey + (1 + colour) * (x - grey)
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    return {**batch, 'image': mean + (1 + range_) * (x - mean)}

  return apply
