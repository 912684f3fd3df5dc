import json

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.data import normalize


def test_statistics_by_hand():
  images = np.zeros((2, 1, 2, 2), np.uint8)
  images[0, 0, :, 0] = 255, 0
  images[1, 0, :, 0] = 255, 0
  images[..., 1] = 51
  stats = normalize.statistics({'image': images}, 'image')
  np.testing.assert_allclose(stats['mean'], [0.5, 0.2], rtol=1e-7)
  np.testing.assert_allclose(stats['std'], [0.5, 1])  # the second channel is constant


@pytest.mark.parametrize('workers', [0, 3])
def test_records_of_many_sizes_weigh_by_their_pixels(workers):
  rng = np.random.default_rng(0)
  sizes = rng.integers(1, 5, (700, 2))
  records = [{'image': rng.integers(0, 256, (h, w, 3), dtype=np.uint8)} for h, w in sizes]
  pixels = np.concatenate([record['image'].reshape(-1, 3) for record in records]) / 255
  stats = normalize.statistics(records, 'image', workers)
  np.testing.assert_allclose(stats['mean'], pixels.mean(0), rtol=1e-6)
  np.testing.assert_allclose(stats['std'], pixels.std(0), rtol=1e-6)


def test_features_far_from_zero_keep_their_spread():
  rng = np.random.default_rng(0)
  x = (rng.normal(size=(3000, 4)) * [1, 1e-3, 5, 0] + [1e4, 0, -3, 0.1]).astype(np.float32)
  stats = normalize.statistics({'features': x}, 'features')
  np.testing.assert_allclose(stats['mean'], x.mean(0, np.float64), rtol=1e-6, atol=1e-9)
  np.testing.assert_allclose(stats['std'][:3], x.std(0, np.float64)[:3], rtol=1e-6)
  assert stats['std'][3] == 1
  out = normalize.standardize(stats, 'features')({'features': x, 'label': np.arange(3000)})
  features = np.asarray(out['features'], np.float64)
  np.testing.assert_allclose(features.mean(0), 0, atol=1e-3)  # 1e4 has a float32 spacing of 1e-3
  np.testing.assert_allclose(features.std(0), [1, 1, 1, 0], rtol=1e-6)
  np.testing.assert_array_equal(out['label'], np.arange(3000))


def test_statistics_refuse_nothing_and_nan():
  with pytest.raises(ValueError, match="no examples to take statistics of 'features' from"):
    normalize.statistics({'features': np.zeros((0, 3))}, 'features')
  with pytest.raises(ValueError, match="'features' has values that are not finite"):
    normalize.statistics({'features': np.array([[1.0], [np.nan]])}, 'features')


@chex.variants(with_jit=True, without_jit=True)  # pyright: ignore[reportCallIssue]
class StandardizeTest(chex.TestCase):
  def test_bytes_and_scaled_floats_agree(self):
    stats = {'mean': np.array([0.2, 0.4], np.float32), 'std': np.array([0.5, 2], np.float32)}
    image = np.arange(2 * 3 * 2, dtype=np.uint8).reshape(1, 2, 3, 2) * 20
    standardize = self.variant(normalize.standardize(stats, 'image'))
    scaled = self.variant(normalize.scale('image'))({'image': image})
    expected = (image / 255 - [0.2, 0.4]) / [0.5, 2]
    for batch in ({'image': image}, scaled):
      out = standardize(batch)['image']
      assert out.dtype == jnp.float32
      np.testing.assert_allclose(out, expected, atol=1e-6)


def test_scale_maps_0_to_0_and_255_to_1_and_leaves_floats():
  scale = normalize.scale('image')
  out = scale({'image': np.array([0, 51, 255], np.uint8)})['image']
  np.testing.assert_allclose(out, [0, 0.2, 1], rtol=1e-6)
  np.testing.assert_array_equal(
    scale({'image': np.array([0.5, 200], np.float32)})['image'], [0.5, 200]
  )


def test_channels_must_match():
  stats = {'mean': np.zeros(3, np.float32), 'std': np.ones(3, np.float32)}
  with pytest.raises(ValueError, match=r"'image' has 1 channels or features, but .* are of 3"):
    normalize.standardize(stats, 'image')({'image': np.zeros((2, 4, 4, 1), np.uint8)})


def test_file_round_trip_is_exact(tmp_path):
  rng = np.random.default_rng(0)
  stats = {
    'mean': rng.normal(size=50).astype(np.float32),
    'std': np.exp(20 * rng.normal(size=50)).astype(np.float32),
  }
  normalize.save(stats, tmp_path / 'normalization.json')
  chex.assert_trees_all_equal(normalize.load(tmp_path / 'normalization.json'), stats)
  assert [path.name for path in tmp_path.iterdir()] == ['normalization.json']


@pytest.mark.parametrize(
  'text',
  [
    '',
    '[1]',
    '{"mean": [0.5]}',
    '{"mean": [0.5], "std": [1, 2]}',
    '{"mean": [0.5], "std": [0]}',
    '{"mean": [NaN], "std": [1]}',
    '{"mean": ["a"], "std": [1]}',
    '{"mean": [], "std": []}',
    '{"mean": {"a": 1}, "std": {"a": 1}}',
  ],
)
def test_malformed_files_are_named(tmp_path, text):
  path = tmp_path / 'normalization.json'
  path.write_text(text)
  with pytest.raises(ValueError) as error:
    normalize.load(path)
  assert str(error.value).startswith(f'{path}: ')
  assert '\n' not in str(error.value)


def test_missing_file_is_named(tmp_path):
  with pytest.raises(ValueError, match=r'nothing\.json: cannot read normalization statistics'):
    normalize.load(tmp_path / 'nothing.json')


def test_statistics_are_plain_json(tmp_path):
  normalize.save(
    {'mean': np.array([0.5], np.float32), 'std': np.array([0.25], np.float32)}, tmp_path / 'n.json'
  )
  assert json.loads((tmp_path / 'n.json').read_text()) == {'mean': [0.5], 'std': [0.25]}
