"""What it costs to say pictures: codes of values and of latent numbers, and sums that merge."""

import math

import flax.struct
import jax
import jax.numpy as jnp

from zoo.metrics import ratio
from zoo.types import Array


def discretized_logistic(values: Array, location: Array, log_scale: Array, levels: int) -> Array:
  """The log probability of each value under a logistic distribution cut into `levels` bins, nats.

  Bin i is what is nearer to i / (levels - 1) than to the other levels; the first and the last reach
  to infinity, so that the probabilities of the bins sum to one. The negative is what the value
  costs in an entropy coder.

  Args:
    values: [...], in [0, 1]; rounded to the nearest level.
    location: [...], of the distribution.
    log_scale: [...], the logarithm of its scale.
    levels: at least 2: 256 of 8-bit values.

  References:
    Salimans et al. 2017, PixelCNN++, section 2.1.
  """
  level = jnp.round(values * (levels - 1))
  width, centre = 1 / (levels - 1), level / (levels - 1)
  narrowness = jnp.exp(-log_scale)
  above = (centre + width / 2 - location) * narrowness
  below = (centre - width / 2 - location) * narrowness
  lowest, highest = level == 0, level == levels - 1
  # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), of which nothing cancels.
  inner = jnp.log(-jnp.expm1(-width * narrowness))
  return (
    jnp.where(highest, 0.0, jax.nn.log_sigmoid(above))
    + jnp.where(lowest, 0.0, jax.nn.log_sigmoid(-below))
    + jnp.where(lowest | highest, 0.0, inner)
  )


def gaussian_kl(mean: Array, log_variance: Array) -> Array:
  """The divergence of independent normal distributions from standard ones, [B] of [B, L], nats.

  References:
    Kingma and Welling 2014, Auto-Encoding Variational Bayes, appendix B.
  """
  each = jnp.exp(log_variance) + jnp.square(mean) - 1 - log_variance
  return jnp.sum(each, axis=-1) / 2


@flax.struct.dataclass
class CodeMetrics:
  """Sums over pictures. Two are merged by adding them leaf by leaf.

  Attributes:
    reconstruction: float32 [], what the values cost given the latent numbers, nats.
    kl: float32 [], what the latent numbers cost, nats; None where they have no distribution.
    bits_per_dim: float32 [], the sum of both per value, in bits.
    count: int32 [], pictures.
  """

  reconstruction: Array
  kl: Array | None
  bits_per_dim: Array
  count: Array

  @classmethod
  def from_costs(
    cls, reconstruction: Array, kl: Array | None, values: int, weights: Array | None
  ) -> 'CodeMetrics':
    """Sums over one batch.

    Args:
      reconstruction: float [B], nats.
      kl: float [B], nats, or None.
      values: in each picture.
      weights: float [B], 0 for padding; None for none.
    """
    real = jnp.ones(len(reconstruction), bool) if weights is None else weights > 0
    total = lambda costs: jnp.sum(jnp.where(real, costs, 0.0))
    both = reconstruction if kl is None else reconstruction + kl
    return cls(
      reconstruction=total(reconstruction),
      kl=None if kl is None else total(kl),
      bits_per_dim=total(both / (values * math.log(2))),
      count=jnp.sum(real.astype(jnp.int32)),
    )

  def compute(self) -> dict[str, float]:
    """The figures, on the host: means over pictures, NaN if there are none.

    Returns:
      'loss' and 'reconstruction', nats a picture; and, where the latent numbers have a
      distribution, 'kl' and 'elbo' (nats a picture) and 'bits_per_dim'. Without one nothing says
      what the latent numbers cost, so there is no length of a code.
    """
    count = int(self.count)
    reconstruction = ratio(float(self.reconstruction), count)
    if self.kl is None:
      return {'loss': reconstruction, 'reconstruction': reconstruction}
    kl = ratio(float(self.kl), count)
    return {
      'loss': reconstruction + kl,
      'elbo': -(reconstruction + kl),
      'bits_per_dim': ratio(float(self.bits_per_dim), count),
      'kl': kl,
      'reconstruction': reconstruction,
    }
