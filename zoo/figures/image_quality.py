"""How alike two pictures are: PSNR and SSIM, and sums of them that merge."""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from zoo.metrics import ratio
from zoo.types import Array

MOST_PSNR = 100.0  # dB: what two equal pictures have


def psnr(x: Array, y: Array) -> Array:
  """The peak signal-to-noise ratio of each picture, float32 [B], in dB.

  Args:
    x: float [B, H, W, C], in [0, 1].
    y: the same, of which one is the truth.

  Returns:
    -10 log10 of the mean squared difference, at most `MOST_PSNR`.
  """
  difference = x.astype(jnp.float32) - y.astype(jnp.float32)
  error = jnp.mean(jnp.square(difference), axis=(1, 2, 3))
  return -10 * jnp.log10(jnp.maximum(error, 10 ** (-MOST_PSNR / 10)))


def ssim(x: Array, y: Array) -> Array:
  """The structural similarity of each picture, float32 [B]; 1 for equal ones.

  In windows of 11 x 11 weighted by a Gaussian of sigma 1.5, wherever they fit into the picture;
  a picture with a shorter side has the largest odd window that fits. The mean is over windows and
  channels, each of which is judged by itself.

  Args:
    x: float [B, H, W, C], in [0, 1].
    y: the same.

  References:
    Wang et al. 2004, Image Quality Assessment: From Error Visibility to Structural Similarity,
    section III.B, with its constants K1 = 0.01 and K2 = 0.03.
  """
  H, W = x.shape[1:3]
  side = min(11, H - (H + 1) % 2, W - (W + 1) % 2)
  local = functools.partial(filtered, by=(windows(H, side, 1.5), windows(W, side, 1.5)))
  x, y = x.astype(jnp.float32), y.astype(jnp.float32)
  mean_x, mean_y = local(x), local(y)
  var_x, var_y = local(x * x) - mean_x * mean_x, local(y * y) - mean_y * mean_y
  covariance = local(x * y) - mean_x * mean_y
  c1, c2 = 0.01**2, 0.03**2
  similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
  similarity /= (mean_x * mean_x + mean_y * mean_y + c1) * (var_x + var_y + c2)
  return jnp.mean(similarity, axis=(1, 2, 3))


def filtered(x: Array, by: tuple[np.ndarray, np.ndarray]) -> Array:
  """Applies a matrix [I, H] to the rows and one [J, W] to the columns of [..., H, W, C].

  Every separable linear filter is two such matrices, whatever it does at the border. For pictures
  of up to a few hundred pixels they take less time than a convolution of single channels.
  """
  rows, columns = (jnp.asarray(matrix, jnp.float32) for matrix in by)
  exact = jax.lax.Precision.HIGHEST
  return jnp.einsum('ih,...hwc,jw->...ijc', rows, x, columns, precision=exact)


def gaussian(side: int, sigma: float) -> np.ndarray:
  """Weights [side] of a Gaussian around the middle, which sum to 1."""
  offsets = np.arange(side) - (side - 1) / 2
  weights = np.exp(-(offsets**2) / (2 * sigma**2))
  return weights / weights.sum()


def windows(size: int, side: int, sigma: float) -> np.ndarray:
  """The matrix [size - side + 1, size] of Gaussian windows that lie within a line."""
  weights = gaussian(side, sigma)
  return np.stack([np.pad(weights, (i, size - side - i)) for i in range(size - side + 1)])


@flax.struct.dataclass
class RestorationMetrics:
  """Sums over pictures. Two are merged by adding them leaf by leaf.

  Attributes:
    loss: float32 [], what training minimises.
    psnr: float32 [], of what was restored, dB.
    ssim: float32 [], likewise.
    input_psnr: float32 [], of what it was restored from.
    count: int32 [], pictures.
  """

  loss: Array
  psnr: Array
  ssim: Array
  input_psnr: Array
  count: Array

  @classmethod
  def from_pictures(
    cls, losses: Array, clean: Array, restored: Array, corrupted: Array, weights: Array | None
  ) -> 'RestorationMetrics':
    """Sums over one batch.

    Args:
      losses: float [B].
      clean: float [B, H, W, C], the truth, in [0, 1].
      restored: of the same shape.
      corrupted: of the same shape.
      weights: float [B], 0 for padding; None for none.
    """
    real = jnp.ones(len(losses), bool) if weights is None else weights > 0
    total = lambda values: jnp.sum(jnp.where(real, values, 0.0))
    return cls(
      loss=total(losses),
      psnr=total(psnr(restored, clean)),
      ssim=total(ssim(restored, clean)),
      input_psnr=total(psnr(corrupted, clean)),
      count=jnp.sum(real.astype(jnp.int32)),
    )

  def compute(self) -> dict[str, float]:
    """The figures, on the host: means over pictures, NaN if there are none.

    Returns:
      'loss', 'psnr', 'ssim' and 'input_psnr'; the two PSNRs are means of those of single pictures.
    """
    count = int(self.count)
    names = ('loss', 'psnr', 'ssim', 'input_psnr')
    return {name: ratio(float(getattr(self, name)), count) for name in names}
