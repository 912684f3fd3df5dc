"""PSNR and SSIM: values by hand, and those of a plain loop and of scikit-image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.figures.image_quality import MOST_PSNR, RestorationMetrics, psnr, ssim


def pictures(shape=(2, 17, 14, 3), noise=0.1):
  rng = np.random.default_rng(0)
  rows, columns = np.mgrid[: shape[1], : shape[2]]
  x = 0.5 + 0.3 * np.sin(rows / 3 + columns / 4)[None, ..., None] + np.zeros(shape)
  y = np.clip(x + noise * rng.normal(size=shape), 0, 1)
  return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize('error', [0.1, 25 / 255, 0.001])
def test_psnr_of_a_known_error(error):
  x = jnp.full((2, 5, 4, 3), 0.5)
  y = x + error * jnp.where(jnp.arange(5) % 2, 1, -1)[None, :, None, None]
  np.testing.assert_allclose(psnr(x, y), [-20 * np.log10(error)] * 2, rtol=1e-4)
  assert psnr(x, x).tolist() == [MOST_PSNR] * 2


@pytest.mark.parametrize('shape', [(2, 17, 14, 3), (1, 11, 11, 1), (1, 8, 8, 1), (1, 1, 6, 2)])
def test_equal_pictures_are_alike_and_others_less(shape):
  x, y = pictures(shape)
  np.testing.assert_allclose(ssim(jnp.asarray(x), jnp.asarray(x)), 1, atol=1e-6)
  assert (ssim(jnp.asarray(x), jnp.asarray(y)) < 1).all()


def test_constant_pictures_differ_in_luminance_alone():
  found = ssim(jnp.full((1, 12, 12, 1), 0.2), jnp.full((1, 12, 12, 1), 0.6))
  assert float(found[0]) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), rel=1e-4)


def test_ssim_is_that_of_a_loop_over_windows():
  x, y = pictures((1, 13, 12, 2))
  offsets = np.arange(-5, 6)
  weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
  weights /= weights.sum()
  found = []
  for c in range(2):
    for i in range(3):
      for j in range(2):
        a, b = (z[0, i : i + 11, j : j + 11, c].astype(np.float64) for z in (x, y))
        mean = lambda z: (weights * z).sum()
        ma, mb = mean(a), mean(b)
        va, vb, ab = mean((a - ma) ** 2), mean((b - mb) ** 2), mean((a - ma) * (b - mb))
        top = (2 * ma * mb + 1e-4) * (2 * ab + 9e-4)
        found.append(top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
  assert float(ssim(jnp.asarray(x), jnp.asarray(y))[0]) == pytest.approx(np.mean(found), abs=1e-5)


def test_both_are_those_of_scikit_image():
  metrics = pytest.importorskip('skimage.metrics')
  x, y = pictures()
  for i in range(2):
    assert float(psnr(jnp.asarray(x), jnp.asarray(y))[i]) == pytest.approx(
      metrics.peak_signal_noise_ratio(x[i], y[i], data_range=1), rel=1e-5
    )
    expected = metrics.structural_similarity(
      *(x[i], y[i]),
      channel_axis=-1,
      data_range=1,
      gaussian_weights=True,
      sigma=1.5,
      use_sample_covariance=False,
    )
    assert float(ssim(jnp.asarray(x), jnp.asarray(y))[i]) == pytest.approx(expected, abs=1e-5)


def test_sums_merge_and_padding_does_not_count():
  x, y = map(jnp.asarray, pictures((4, 12, 12, 1)))
  losses = jnp.arange(4.0)
  whole = RestorationMetrics.from_pictures(losses, x, y, y, None)
  weights = jnp.array([1.0, 1.0, 1.0, 0.0])
  broken = losses.at[3].set(jnp.nan)
  first = RestorationMetrics.from_pictures(broken, x, y, y, weights)
  last = RestorationMetrics.from_pictures(losses[3:], x[3:], y[3:], y[3:], None)
  merged = jax.tree.map(jnp.add, first, last)
  assert merged.compute() == pytest.approx(whole.compute(), rel=1e-5)
  assert whole.compute()['loss'] == 1.5
  assert whole.compute()['psnr'] == pytest.approx(float(psnr(x, y).mean()), rel=1e-5)
