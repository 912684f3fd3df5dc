"""Changes of colour: what each does by hand, and that a generator learns through augmentations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.data.augment import chain, cutout, random_crop
from zoo.data.color import random_color

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(jax.random.key(1), (6, 5, 4, 3))


def changed(**options):
  off = {'brightness': 0.0, 'saturation': 0.0, 'contrast': 0.0}
  batch = {'image': IMAGES, 'label': jnp.arange(6)}
  return np.asarray(jax.jit(random_color(**off | options))(KEY, batch)['image'])


def test_brightness_adds_one_number_to_an_image():
  added = changed(brightness=0.3) - IMAGES
  np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1, :1], added.shape), atol=1e-6)
  assert np.abs(added).max() <= 0.3 and added.std(axis=0).min() > 0.01


def test_saturation_keeps_grey_and_contrast_the_mean():
  grey = IMAGES.mean(-1)
  np.testing.assert_allclose(changed(saturation=1.0).mean(-1), grey, atol=1e-6)
  factors = (changed(saturation=1.0) - grey[..., None]) / (IMAGES - grey[..., None])
  np.testing.assert_allclose(factors.std(axis=(1, 2, 3)), 0, atol=1e-3)
  assert factors.min() >= -1e-3 and factors.max() <= 2.001
  mean = IMAGES.mean((1, 2, 3))
  np.testing.assert_allclose(changed(contrast=0.5).mean((1, 2, 3)), mean, atol=1e-6)
  np.testing.assert_allclose(changed(), IMAGES, atol=1e-6)


def test_a_gradient_passes_through_translation_cutout_and_colour():
  """They are affine maps of the image, so that differences are mapped as gradients are."""
  augment = chain(random_crop(1), random_color(), cutout(2))
  apply = jax.jit(lambda x: augment(KEY, {'image': x})['image'])
  pull = jax.jit(lambda x: jax.vjp(apply, x)[1](jnp.ones_like(x))[0])
  step = 0.1 * jax.random.normal(KEY, IMAGES.shape)
  found = jnp.sum(pull(IMAGES) * step)
  assert abs(found) > 1e-3
  np.testing.assert_allclose(jnp.sum(apply(IMAGES + step) - apply(IMAGES)), found, rtol=1e-3)


def test_bad_input_is_named():
  with pytest.raises(ValueError, match='random_color: contrast must not be negative, got -1'):
    random_color(contrast=-1.0)
  with pytest.raises(ValueError, match='random_color: images must be floating point'):
    random_color()(KEY, {'image': jnp.zeros((1, 2, 2, 3), jnp.uint8)})
