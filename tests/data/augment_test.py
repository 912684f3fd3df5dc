import functools
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from zoo.data import augment, mixing, randaugment

FACTORIES = {
  'random_crop': lambda: augment.random_crop(3),
  'random_crop_reflect': lambda: augment.random_crop(2, 'reflect'),
  'random_resized_crop': augment.random_resized_crop,
  'random_flip': augment.random_flip,
  'random_dihedral': augment.random_dihedral,
  'random_affine': lambda: augment.random_affine(20.0, 0.1, (0.8, 1.25), 10.0),
  'cutout': lambda: augment.cutout(3),
  'mixup': lambda: mixing.mixup(1.0, num_classes=5),
  'cutmix': lambda: mixing.cutmix(1.0, num_classes=5),
  'rand_augment': randaugment.rand_augment,
  'chain': lambda: augment.chain(
    augment.random_crop(2),
    augment.random_affine(10.0, 0.1),
    mixing.cutmix(1.0, num_classes=5),
  ),
}
every_augmentation = pytest.mark.parametrize('name', FACTORIES)


@functools.cache
def compiled(name):
  return jax.jit(FACTORIES[name]())


def make_batch(shape=(8, 8, 10, 3), seed=0):
  rng = np.random.default_rng(seed)
  return {
    'image': rng.random(shape, dtype=np.float32),
    'label': rng.integers(0, 5, shape[0], dtype=np.int32),
    'weight': np.arange(shape[0], dtype=np.float32),
  }


def images_of(augmentation, images, seed=0):
  batch = {'image': images, 'label': np.zeros(len(images), np.int32)}
  return np.asarray(jax.jit(augmentation)(jax.random.key(seed), batch)['image'])


@every_augmentation
def test_range_and_other_entries_are_kept(name):
  batch = make_batch()
  out = compiled(name)(jax.random.key(1), batch)
  chex.assert_trees_all_equal_shapes_and_dtypes(out['image'], batch['image'])
  assert out['image'].min() >= -1e-6 and out['image'].max() <= 1 + 1e-6
  assert out.keys() == batch.keys()
  np.testing.assert_array_equal(out['weight'], batch['weight'])
  if name in ('mixup', 'cutmix', 'chain'):
    chex.assert_trees_all_equal_shapes_and_dtypes(out['label'], jnp.zeros((8, 5)))
    np.testing.assert_allclose(np.sum(out['label'], axis=1), 1, atol=1e-6)
  else:
    np.testing.assert_array_equal(out['label'], batch['label'])


@every_augmentation
@pytest.mark.parametrize('shape', [(8, 8, 8, 1), (3, 7, 10, 4), (1, 1, 1, 3)])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_any_size_channels_and_precision(name, shape, dtype):
  spec = {
    'image': jax.ShapeDtypeStruct(shape, dtype),
    'label': jax.ShapeDtypeStruct(shape[:1], jnp.int32),
  }
  out = jax.eval_shape(FACTORIES[name](), jax.random.key(0), spec)['image']
  assert (out.shape, out.dtype) == (shape, dtype)


@every_augmentation
def test_key_decides_all(name):
  batch = make_batch()
  first, again = (compiled(name)(jax.random.key(3), batch) for _ in range(2))
  chex.assert_trees_all_equal(first, again)
  other = compiled(name)(jax.random.key(4), batch)
  assert not np.array_equal(first['image'], other['image'])


@every_augmentation
def test_examples_are_augmented_differently(name):
  batch = make_batch()
  # Two images alternate, so that mixing has something to mix; the even ones started equal.
  batch['image'] = np.stack([batch['image'][0], batch['image'][1]] * 4)
  out = np.asarray(compiled(name)(jax.random.key(0), batch)['image'])[::2]
  distinct = len(np.unique(out.reshape(4, -1), axis=0))
  assert distinct >= (2 if name in ('random_flip', 'random_dihedral') else 4)


def test_each_share_under_pmap_is_what_jit_makes_of_it():
  batch, keys = make_batch(), jax.random.split(jax.random.key(5), 2)
  shares = {name: np.stack([x, x[::-1]]) for name, x in batch.items()}
  spread = jax.device_get(jax.pmap(FACTORIES['chain'](), axis_name='data')(keys, shares))
  for i in range(2):
    alone = compiled('chain')(keys[i], {name: x[i] for name, x in shares.items()})
    chex.assert_trees_all_close({name: x[i] for name, x in spread.items()}, alone, atol=1e-5)


@pytest.mark.slow
def test_sharded_examples_give_what_whole_ones_do_without_gathering_them():
  batch, key = make_batch(), jax.random.key(6)
  mesh = jax.make_mesh((2,), ('data',), axis_types=(AxisType.Auto,))
  sharded = jax.device_put(batch, NamedSharding(mesh, PartitionSpec('data')))
  step = jax.jit(FACTORIES['chain']()).lower(key, sharded).compile()
  assert 'all-gather' not in str(step.as_text())
  spread, alone = step(key, sharded), compiled('chain')(key, batch)
  chex.assert_trees_all_close(jax.device_get(spread), jax.device_get(alone), atol=1e-5)


@pytest.mark.parametrize(
  'factory',
  [
    augment.random_crop,
    augment.random_flip,
    augment.random_affine,
    augment.cutout,
    mixing.mixup,
    mixing.cutmix,
    randaugment.rand_augment,
  ],
)
def test_factories_are_configurable(factory):
  factory()
  for parameter in inspect.signature(factory).parameters.values():
    assert parameter.default is not inspect.Parameter.empty
    assert isinstance(parameter.default, (int, float, str, tuple))
    assert parameter.annotation in (int, float, str, tuple[float, float])


def test_chain_gives_each_its_own_key_and_keeps_order():
  draw = lambda key, batch: {'seen': (*batch['seen'], jax.random.uniform(key))}
  key, nothing = jax.random.key(0), {'seen': ()}
  two = augment.chain(draw, draw)(key, nothing)['seen']
  three = augment.chain(draw, draw, draw)(key, nothing)['seen']
  assert three[:2] == two
  assert len(set(map(float, three))) == 3
  assert augment.chain()(key, nothing) == nothing
  add, double = (lambda _, x: x + 1), (lambda _, x: x * 2)
  assert augment.chain(add, double)(key, 3) == 8


# Crop and flip.


def test_crop_without_padding_is_identity():
  images = make_batch()['image']
  np.testing.assert_array_equal(images_of(augment.random_crop(0), images), images)


@pytest.mark.parametrize(('mode', 'numpy_mode'), [('constant', 'constant'), ('reflect', 'reflect')])
def test_crop_is_a_window_of_the_padded_image_and_all_windows_occur(mode, numpy_mode):
  image = np.asarray(make_batch((1, 5, 6, 2))['image'][0])
  padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode=numpy_mode)
  windows = {(r, c): padded[r : r + 5, c : c + 6] for r in range(3) for c in range(3)}
  seen = set()
  for out in images_of(augment.random_crop(1, mode), np.stack([image] * 200)):
    matches = [at for at, window in windows.items() if np.array_equal(out, window)]
    assert len(matches) == 1
    seen.update(matches)
  assert seen == set(windows)


def test_crop_keeps_bytes():
  images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
  assert images_of(augment.random_crop(1), images).dtype == np.uint8


def test_flip_mirrors_half_of_the_images_and_twice_is_identity():
  images = np.asarray(make_batch((400, 3, 4, 2))['image'])
  out = images_of(augment.random_flip(), images)
  same = (out == images).all(axis=(1, 2, 3))
  mirrored = (out == images[:, :, ::-1]).all(axis=(1, 2, 3))
  assert np.all(same ^ mirrored)
  assert 150 < mirrored.sum() < 250  # five standard deviations
  np.testing.assert_array_equal(images_of(augment.random_flip(), out), images)


def test_dihedral_gives_the_eight_symmetries_of_a_square_alike():
  image = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
  out = images_of(augment.random_dihedral(), np.stack([image] * 800))
  turns = [np.rot90(x, k) for x in (image, image.swapaxes(0, 1)) for k in range(4)]
  counts = [(out == turn).all(axis=(1, 2, 3)).sum() for turn in turns]
  assert sum(counts) == 800 and min(counts) > 53  # five standard deviations below 100


# Affine maps.


sample = jax.jit(augment.warp)


def warp(image, inverse, shift, fill=0.0):
  return np.asarray(sample(image, np.float32(inverse), np.float32(shift), fill))


def test_affine_of_nothing_is_identity():
  images = make_batch()['image']
  np.testing.assert_allclose(images_of(augment.random_affine(), images), images, atol=1e-6)


@pytest.mark.parametrize('shift', [(2, 0), (0, -3), (-1, 2), (7, 0), (100, -100)])
def test_whole_shift_is_roll_with_fill(shift):
  image = np.asarray(make_batch()['image'][0])
  expected = np.full_like(image, 0.25)
  for r in range(8):
    for c in range(10):
      if 0 <= r - shift[0] < 8 and 0 <= c - shift[1] < 10:
        expected[r, c] = image[r - shift[0], c - shift[1]]
  moved = warp(image, [[1.0, 0.0], [0.0, 1.0]], [float(s) for s in shift], 0.25)
  np.testing.assert_allclose(moved, expected, atol=1e-6)


@pytest.mark.parametrize('size', [8, 9])
@pytest.mark.parametrize('quarters', [1, 2, 3])
def test_quarter_turns_are_rot90(size, quarters):
  image = np.asarray(make_batch((1, size, size, 3))['image'][0])
  cos, sin = np.cos(quarters * np.pi / 2), np.sin(quarters * np.pi / 2)
  turned = warp(image, [[cos, sin], [-sin, cos]], [0.0, 0.0], 0.5)
  np.testing.assert_allclose(turned, np.rot90(image, quarters), atol=1e-5)


def test_warp_is_bilinear_sampling():
  image = np.asarray(make_batch((1, 9, 7, 2))['image'][0])
  inverse, shift = np.array([[0.8, 0.5], [-0.3, 1.1]]), np.array([1.3, -0.6])
  center = np.array([4.0, 3.0])
  rows_columns = np.moveaxis(np.indices((9, 7)), 0, -1)  # [9, 7, 2]
  places = np.moveaxis((rows_columns - center - shift) @ inverse.T + center, -1, 0)
  reference = functools.partial(
    scipy.ndimage.map_coordinates, coordinates=places, order=1, mode='grid-constant', cval=0.3
  )
  expected = np.stack([reference(image[..., 0]), reference(image[..., 1])], axis=-1)
  np.testing.assert_allclose(warp(image, inverse, shift, 0.3), expected, atol=1e-5)


def test_affine_parameters_are_what_they_say():
  # An image of its own coordinates shows, at each pixel, where that pixel was taken from.
  size, count = 15, 64
  place = np.moveaxis(np.indices((size, size)), 0, -1).astype(np.float32)
  augmentation = augment.random_affine(20.0, 0.1, (0.8, 1.5), 10.0, fill=-1e6)
  angles, zooms, slants, shifts = [], [], [], []
  for source in images_of(augmentation, np.stack([place] * count)):
    inside = (source >= 0).all(axis=-1)
    columns = np.column_stack([place[inside] - 7.0, np.ones(inside.sum())])
    fit, *_ = np.linalg.lstsq(columns, source[inside] - 7.0, rcond=None)
    np.testing.assert_allclose(columns @ fit, source[inside] - 7.0, atol=1e-3)  # affine
    forward = np.linalg.inv(fit[:2].T)
    shifts.append(-forward @ fit[2])
    # forward = [[cos, -sin], [sin, cos]] @ [[zoom, 0], [slant * zoom, zoom]], (row, column).
    angle = np.arctan2(-forward[0, 1], forward[1, 1])
    lower = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ forward
    np.testing.assert_allclose([lower[0, 1], lower[0, 0]], [0, lower[1, 1]], atol=1e-3)
    angles.append(np.degrees(angle))
    zooms.append(lower[0, 0])
    slants.append(np.degrees(np.arctan(lower[1, 0] / lower[0, 0])))
  for values, low, high in (
    (angles, -20, 20),
    (zooms, 0.8, 1.5),
    (slants, -10, 10),
    (np.ravel(shifts), -1.5, 1.5),
  ):
    slack = 1e-2 * (high - low)
    assert low - slack <= np.min(values) < low + 0.2 * (high - low)
    assert high - 0.2 * (high - low) < np.max(values) <= high + slack


# Cutout, mixup, cutmix.


def test_cutout_blanks_one_clipped_square_centred_anywhere():
  images = np.ones((500, 6, 7, 2), np.float32)
  out = images_of(augment.cutout(3, fill=0.5), images)
  centers = set()
  for image in out:
    rows, cols, _ = np.nonzero(image == 0.5)
    top, bottom, left, right = rows.min(), rows.max(), cols.min(), cols.max()
    assert (image[top : bottom + 1, left : right + 1] == 0.5).all()
    assert (image == 1).sum() == image.size - 2 * (bottom - top + 1) * (right - left + 1)
    # A square cut off at the border is two wide if its centre is the border pixel.
    row = top if top == 0 and bottom == 1 else bottom if bottom == 5 and top == 4 else top + 1
    col = left if left == 0 and right == 1 else right if right == 6 and left == 5 else left + 1
    assert bottom - top == (1 if row in (0, 5) else 2)
    assert right - left == (1 if col in (0, 6) else 2)
    centers.add((row, col))
  assert len(centers) == 6 * 7


def test_mixup_is_the_formula_on_images_and_labels():
  # One-hot images, so that the image shows lam itself: example i is 1 at pixel i.
  count = 16
  batch = {
    'image': jnp.eye(count).reshape(count, 4, 4, 1),
    'label': jnp.arange(count, dtype=jnp.int32),
  }
  out = jax.jit(mixing.mixup(1.0, num_classes=count))(jax.random.key(2), batch)
  image, label = np.asarray(out['image']).reshape(count, count), np.asarray(out['label'])
  lam = np.diag(image)
  partner = np.roll(np.arange(count), -1)
  expected = lam[:, None] * np.eye(count) + (1 - lam[:, None]) * np.eye(count)[partner]
  np.testing.assert_allclose(image, expected, atol=1e-6)
  np.testing.assert_allclose(label, expected, atol=1e-6)
  np.testing.assert_allclose(label.sum(axis=1), 1, atol=1e-6)
  assert label.dtype == np.float32
  assert len(np.unique(lam)) == count


def test_mixup_draws_from_beta():
  # A pair of soft labels for each example, so that the label shows lam.
  count = 2000
  labels = jnp.tile(jnp.eye(2), (count // 2, 1))
  batch = {'image': jnp.zeros((count, 1, 1, 1)), 'label': labels}
  mixed = jax.jit(mixing.mixup(0.4))(jax.random.key(0), batch)['label']
  lam = np.sum(mixed * labels, axis=1)
  assert scipy.stats.kstest(lam, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_cutmix_label_is_the_share_of_pixels():
  count = 64
  values = jnp.arange(count, dtype=jnp.float32)
  batch = {
    'image': jnp.broadcast_to(values[:, None, None, None], (count, 9, 12, 3)),
    'label': jnp.eye(count),  # soft already
  }
  out = jax.jit(mixing.cutmix(1.0))(jax.random.key(0), batch)
  image, label = np.asarray(out['image']), np.asarray(out['label'])
  shares = []
  for i in range(count):
    partner = (i + 1) % count
    pasted = image[i, :, :, 0] == partner
    assert np.all(image[i] == np.where(pasted, partner, i)[..., None])  # in every channel
    rows, cols = np.nonzero(pasted)
    if len(rows):
      assert pasted[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1].all()  # a box
    expected = np.zeros(count)
    expected[[i, partner]] = 1 - pasted.mean(), pasted.mean()
    np.testing.assert_allclose(label[i], expected, atol=1e-6)
    shares.append(pasted.mean())
  assert min(shares) < 0.1 and max(shares) > 0.5


def test_soft_labels():
  labels = jnp.array([2, 0])
  one_hot = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
  np.testing.assert_array_equal(mixing.soft_labels('mixup', labels, 3), one_hot)
  half = jnp.asarray(one_hot, jnp.bfloat16)
  for num_classes in (0, 3):
    same = mixing.soft_labels('mixup', half, num_classes)
    np.testing.assert_array_equal(same, one_hot)
    assert same.dtype == jnp.float32


# Random resized crops: the box is read off a picture of its own coordinates.


def boxes(scale, ratio, shape=(24, 30), count=400):
  """The (top, left, height, width) of each box, as fractions of the picture's sides."""
  h, w = shape
  rows, columns = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing='ij')
  images = np.broadcast_to(np.stack([rows, columns], -1), (count, h, w, 2)).astype(np.float32)
  out = images_of(augment.random_resized_crop(scale, ratio), images)
  # Of the middle alone: at the picture's rim the last pixel is repeated.
  middle = out[:, h // 2 - 3 : h // 2 + 4, w // 2 - 3 : w // 2 + 4]
  height = (middle[:, 6, 0, 0] - middle[:, 0, 0, 0]) / 6 * h
  width = (middle[:, 0, 6, 1] - middle[:, 0, 0, 1]) / 6 * w
  top = middle[:, 0, 0, 0] - (h // 2 - 3 + 0.5) / h * height
  left = middle[:, 0, 0, 1] - (w // 2 - 3 + 0.5) / w * width
  return top, left, height, width


def test_boxes_have_the_area_and_proportions_asked_for_and_lie_inside():
  top, left, height, width = boxes((0.3, 0.6), (0.5, 2.0))
  assert (np.minimum(top, left) > -1e-4).all()
  assert (top + height < 1 + 1e-4).all() and (left + width < 1 + 1e-4).all()
  area, shape = height * width, (30 * width) / (24 * height)
  assert 0.3 - 1e-3 < area.min() < 0.32 and 0.58 < area.max() < 0.6 + 1e-3
  assert 0.5 - 1e-3 < shape.min() < 0.6 and 1.7 < shape.max() < 2 + 1e-3
  free = 1 - height
  places = top / free  # uniform where there is room
  assert scipy.stats.kstest(places[free > 0.05], 'uniform').pvalue > 1e-3


def test_a_box_of_the_whole_picture_changes_nothing():
  images = make_batch()['image']
  crop = augment.random_resized_crop((1.0, 1.0), (10 / 8, 10 / 8))
  np.testing.assert_allclose(images_of(crop, images), images, atol=1e-5)
  impossible = augment.random_resized_crop((1.0, 1.0), (3.0, 4.0))  # then the whole, too
  np.testing.assert_allclose(images_of(impossible, images), images, atol=1e-5)


# Bad input.


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda: augment.random_crop(-1), 'padding must not be negative'),
    (lambda: augment.random_crop(1, 'reflekt'), "unknown mode 'reflekt', did you mean 'reflect'"),
    (lambda: augment.random_affine(scale=(1.2, 0.8)), 'scale'),
    (lambda: augment.random_resized_crop((0.0, 1.0)), 'scale must be 0 < low <= high <= 1'),
    (lambda: augment.random_resized_crop((0.5, 1.1)), 'scale must be 0 < low <= high <= 1'),
    (lambda: augment.random_resized_crop(ratio=(2, 1)), 'ratio must be 0 < low <= high'),
    (lambda: augment.cutout(0), 'size'),
    (lambda: mixing.mixup(0.0), 'mixup: alpha'),
    (lambda: mixing.cutmix(-1.0), 'cutmix: alpha'),
  ],
)
def test_bad_parameters(make, message):
  with pytest.raises(ValueError, match=message):
    make()


@pytest.mark.parametrize('factory', [mixing.mixup, mixing.cutmix])
def test_bad_labels(factory):
  batch = make_batch()
  with pytest.raises(ValueError, match='integer labels need num_classes'):
    factory()(jax.random.key(0), batch)
  with pytest.raises(ValueError, match='labels have 4 classes, num_classes is 5'):
    factory(num_classes=5)(jax.random.key(0), {**batch, 'label': jnp.ones((8, 4))})


@pytest.mark.parametrize('name', ['random_affine', 'random_resized_crop', 'mixup', 'rand_augment'])
def test_interpolation_refuses_bytes(name):
  batch = {**make_batch(), 'image': jnp.zeros((8, 8, 10, 3), jnp.uint8)}
  with pytest.raises(ValueError, match=f'{name}: images must be floating point.*uint8'):
    FACTORIES[name]()(jax.random.key(0), batch)
