"""The operations against Pillow on bytes, and against NumPy where Pillow rounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image, ImageEnhance, ImageOps

from zoo.data import randaugment
from zoo.data.randaugment import OPS

apply_op = jax.jit(randaugment.apply_op)


def picture(channels, seed=0, size=(24, 20)):
  """Bytes [H, W, C] with an uneven histogram that does not reach 0 or 255."""
  rng = np.random.default_rng(seed)
  return np.clip(rng.normal(90, 30, (*size, channels)), 20, 200).astype(np.uint8)


def to_pil(image):
  return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def from_pil(image, shape):
  return np.asarray(image).reshape(shape).astype(np.float32)


def run(name, image, level=0.0, fill=0.0):
  """Applies an operation to bytes; returns floats in 0..255."""
  pixels = jnp.asarray(image, jnp.float32) / 255
  return 255 * np.asarray(apply_op(pixels, OPS.index(name), jnp.float32(level), fill))


either_image = pytest.mark.parametrize('channels', [1, 3])


@pytest.mark.parametrize('name', OPS)
def test_level_zero_changes_nothing(name):
  image = picture(3, size=(8, 8))  # too small for `equalize`
  image[0], image[1] = 0, 255  # nothing left for `autocontrast`
  np.testing.assert_allclose(run(name, image), image, atol=1e-4)


@either_image
@pytest.mark.parametrize('level', [0.25, -0.5, 1.0])
def test_posterize_equals_pillow(channels, level):
  image = picture(channels)
  bits = {0.25: 7, -0.5: 6, 1.0: 4}[level]
  expected = from_pil(ImageOps.posterize(to_pil(image), bits), image.shape)
  np.testing.assert_allclose(run('posterize', image, level), expected, atol=1e-3)


@either_image
@pytest.mark.parametrize('level', [0.25, -0.5, 1.0])
def test_solarize_equals_pillow(channels, level):
  image = picture(channels)
  expected = from_pil(ImageOps.solarize(to_pil(image), int(256 * (1 - abs(level)))), image.shape)
  np.testing.assert_allclose(run('solarize', image, level), expected, atol=1e-3)


@either_image
@pytest.mark.parametrize('size', [(24, 20), (64, 50), (15, 17)])
def test_equalize_equals_pillow(channels, size):
  image = picture(channels, size=size)
  image[..., 0] = np.minimum(image[..., 0], 110)  # channels of their own, with a tall last bin
  expected = from_pil(ImageOps.equalize(to_pil(image)), image.shape)
  np.testing.assert_allclose(run('equalize', image), expected, atol=1e-3)
  assert np.array_equal(expected, image) == (size == (15, 17))


@either_image
def test_autocontrast_equals_pillow_but_for_its_rounding_down(channels):
  image = picture(channels)
  out = run('autocontrast', image)
  expected = from_pil(ImageOps.autocontrast(to_pil(image)), image.shape)
  assert np.all((out - expected > -1e-3) & (out - expected < 1 + 1e-3))
  low, high = image.min(axis=(0, 1)).astype(float), image.max(axis=(0, 1)).astype(float)
  np.testing.assert_allclose(out, 255 * (image - low) / (high - low), atol=1e-3)


@pytest.mark.parametrize('name', ['autocontrast', 'equalize'])
def test_constant_channel_stays(name):
  image = picture(3)
  image[..., 1] = 77
  out = run(name, image)
  np.testing.assert_allclose(out[..., 1], 77, atol=1e-4)
  assert not np.allclose(out[..., 0], image[..., 0])


@either_image
@pytest.mark.parametrize('name', ['color', 'contrast', 'brightness', 'sharpness'])
@pytest.mark.parametrize('level', [-1.0, -0.4, 0.7])
def test_enhancements_equal_pillow_to_its_rounding(channels, name, level):
  image = picture(channels)
  factor = 1 + 0.9 * level
  expected = getattr(ImageEnhance, name.title())(to_pil(image)).enhance(factor)
  # Pillow rounds what it blends with (half a level) and truncates the result (one).
  out = run(name, image, level)
  np.testing.assert_allclose(out, from_pil(expected, image.shape), atol=1.5)
  grey = image @ np.array([0.299, 0.587, 0.114]) if channels == 3 else image[..., 0].astype(float)
  without = {
    'color': grey[..., None],
    'contrast': grey.mean(),
    'brightness': 0.0,
    'sharpness': smooth(image),
  }[name]
  exact = np.clip(without + factor * (image - without), 0, 255)
  np.testing.assert_allclose(out, exact, atol=1e-3)


def smooth(image):
  kernel = np.ones((3, 3, 1))
  kernel[1, 1] = 5
  out = image.astype(float)
  out[1:-1, 1:-1] = scipy.ndimage.convolve(out, kernel / 13)[1:-1, 1:-1]
  return out


def test_color_leaves_one_channel_alone():
  image = picture(1)
  np.testing.assert_allclose(run('color', image, -1.0), image, atol=1e-4)


def test_grey_of_other_channel_counts_is_their_mean():
  image = picture(4)
  expected = image.mean(axis=-1, keepdims=True) + 0.1 * (image - image.mean(-1, keepdims=True))
  np.testing.assert_allclose(run('color', image, -1.0), expected, atol=1e-3)


@pytest.mark.parametrize('level', [-1.0, 0.6])
@pytest.mark.parametrize('name', ['rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'])
def test_geometric_operations_move_pixels_as_they_say(name, level):
  image = picture(2)
  h, w, _ = image.shape
  angle = np.radians(30 * level)
  forward = {  # (row, column), rows downwards
    'rotate': [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]],
    'shear_x': [[1, 0], [0.3 * level, 1]],
    'shear_y': [[1, 0.3 * level], [0, 1]],
  }.get(name, np.eye(2))
  shift = {'translate_x': [0, w * level * 150 / 331], 'translate_y': [h * level * 150 / 331, 0]}
  shift = np.array(shift.get(name, [0, 0]))
  inverse = np.linalg.inv(forward)
  center = np.array([(h - 1) / 2, (w - 1) / 2])
  expected = [
    scipy.ndimage.affine_transform(
      image[..., c].astype(float),
      inverse,
      center - inverse @ (center + shift),
      order=1,
      mode='grid-constant',
      cval=51,
    )
    for c in range(2)
  ]
  out = run(name, image, level, fill=0.2)
  np.testing.assert_allclose(out, np.stack(expected, axis=-1), atol=2e-2)


def test_every_image_gets_one_of_the_operations_and_all_occur():
  image = picture(3, size=(17, 19)) / np.float32(255)
  count = 400
  batch = {'image': jnp.stack([jnp.asarray(image)] * count)}
  augmentation = randaugment.rand_augment(num_ops=1, magnitude=7.0)
  out = np.asarray(jax.jit(augmentation)(jax.random.key(0), batch)['image'])
  every = {
    (name, sign): np.asarray(apply_op(image, OPS.index(name), jnp.float32(0.7 * sign), 0.5))
    for name in OPS
    for sign in (-1, 1)
  }
  counts = dict.fromkeys(every, 0)
  for one in out:
    matches = [which for which, result in every.items() if np.allclose(one, result, atol=1e-5)]
    assert len({name for name, _ in matches}) == 1
    for which in matches:
      counts[which] += 1
  assert min(counts.values()) > 0
  assert max(counts.values()) < 60  # 400 / 14 = 29, standard deviation 5


@pytest.mark.slow
def test_operations_follow_one_another():
  image = jnp.asarray(picture(1, size=(17, 19)) / np.float32(255))
  batch = {'image': jnp.stack([image] * 16)}
  levels = 0.9 * jnp.array([-1.0, 1.0])
  each_level = jax.vmap(randaugment.apply_op, in_axes=(None, None, 0, None))
  each = jax.vmap(each_level, in_axes=(None, 0, None, None))

  def after_any(image):
    return each(image, jnp.arange(len(OPS)), levels, 0.5).reshape(-1, *image.shape)

  pairs = np.asarray(jax.jit(lambda x: jax.vmap(after_any)(after_any(x)))(image))
  pairs = pairs.reshape(-1, *image.shape)
  out = np.asarray(jax.jit(randaugment.rand_augment(2, 9.0))(jax.random.key(2), batch)['image'])
  for one in out:
    assert np.abs(pairs - one).max(axis=(1, 2, 3)).min() < 1e-4


@pytest.mark.parametrize(
  ('arguments', 'message'), [((0, 9.0), 'num_ops'), ((2, 10.5), 'magnitude'), ((2, -1.0), '-1.0')]
)
def test_bad_parameters(arguments, message):
  with pytest.raises(ValueError, match=message):
    randaugment.rand_augment(*arguments)
