"""Autoencoding: pictures from few latent numbers, judged by what it would take to transmit them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.figures.code_length import CodeMetrics, discretized_logistic, gaussian_kl
from zoo.losses import weighted_mean
from zoo.objectives.classification import read_input
from zoo.objectives.keys import keys_of
from zoo.types import Array, Batch, Objective, PyTree, Scalars, parted

SMALLEST_LOG_SCALE = -7.0  # a quarter of an 8-bit level


def vae(
  module: nn.Module,
  *,
  input_key: str = 'image',
  levels: int = 256,
  beta: float = 1.0,
  axis_name: str | None = None,
) -> Objective:
  """The evidence lower bound, of pictures whose values are levels: 0, 1 ... in steps to 1.

  A batch holds pictures, float [B, H, W, C] in [0, 1], and optionally 'weight', float [B]. Of each
  value the module says a logistic distribution, cut into the levels, so that log probabilities are
  of what is stored: with `beta` 1 the loss is the length of a code, in nats per value, that says
  the latent numbers first ("bits back"), then each value given them. Where the encoder says no
  variances the module is a plain autoencoder, and the loss is the second part alone.

  `evaluate` returns `CodeMetrics`, whatever `beta`, of one draw of the latent numbers, which
  depends on the picture alone (`keys.keys_of`). `predict` returns {'latent': their means, float32
  [B, L], 'reconstruction': [B, H, W, C], what the decoder makes of those}.

  Args:
    module: with methods `encode(x, train)` -> (means, log variances or None), each [B, L], and
      `decode(z, train)` -> [B, H, W, C, 2], see `likelihood`.
    input_key: the leaf of the batch that holds the pictures.
    levels: how many values a pixel may have: 256 of 8 bits, 17 of scikit-learn's digits.
    beta: weight of the divergence of the latent numbers from a standard normal distribution.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range; when called, a batch or a module that does not fit.

  References:
    Kingma and Welling 2014, Auto-Encoding Variational Bayes. Higgins et al. 2017, beta-VAE. Hinton
    and van Camp 1993, Keeping Neural Networks Simple, section 3, for the bits that come back.
  """
  if levels < 2 or beta < 0:
    raise ValueError(f'vae needs levels >= 2 and beta >= 0, not {levels} and {beta}')

  def read(batch: Batch) -> Array:
    return read_input(batch, input_key).astype(jnp.float32)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    variables = module.init(key, read(batch)[:1], train=False)
    return parted(variables)

  def costs(
    variables: PyTree, extras: PyTree, x: Array, key: Array, train: bool
  ) -> tuple[Array, Array | None, PyTree]:
    """What values and latent numbers cost, nats [B] each, and the new extras."""

    def run(module: nn.Module) -> tuple[Array, Array | None, Array]:
      mean, log_variance = module.encode(x, train=train)  # pyright: ignore
      z = mean
      if log_variance is not None:
        noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys_of(key, x))
        z += jnp.exp(log_variance / 2) * noise
      return mean, log_variance, module.decode(z, train=train)  # pyright: ignore

    changing = list(extras) if train else []
    (mean, log_variance, outputs), extras = nn.apply(run, module, mutable=changing)(variables)
    likely = discretized_logistic(x, *likelihood(outputs, x), levels)
    kl = None if log_variance is None else gaussian_kl(mean, log_variance)
    return -jnp.sum(likely, axis=(1, 2, 3)), kl, extras

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    x, weights = read(batch), batch.get('weight')
    values = x[0].size
    reconstruction, kl, extras = costs({'params': params, **extras}, extras, x, key, True)
    mean = lambda cost: weighted_mean(cost / values, weights, axis_name)
    scalars = {'reconstruction': mean(reconstruction)}
    value = scalars['reconstruction']
    if kl is not None:
      scalars['kl'] = mean(kl)
      value += beta * scalars['kl']
    return value, (extras, {'loss': value, **scalars})

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> dict[str, Array]:
    variables, x = {'params': params, **extras}, read(batch)
    latent, _ = module.apply(variables, x, train=False, method='encode')
    outputs: Any = module.apply(variables, latent, train=False, method='decode')
    return {'latent': latent, 'reconstruction': picture(outputs)}

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> CodeMetrics:
    del key
    x, key = read(batch), jax.random.key(0)
    reconstruction, kl, _ = costs({'params': params, **extras}, extras, x, key, False)
    return CodeMetrics.from_costs(reconstruction, kl, x[0].size, batch.get('weight'))

  return Objective(init, loss, evaluate, predict=predict)


def likelihood(outputs: Array, x: Array) -> tuple[Array, Array]:
  """Location and log scale, each [B, H, W, C], of what the decoder says of pictures x.

  The first of its two numbers is the location's distance from 1/2, and the second the logarithm of
  the scale in tenths.

  Raises:
    ValueError: outputs of another shape.
  """
  if outputs.shape != (*x.shape, 2):
    raise ValueError(f'the module returns {outputs.shape}, not {(*x.shape, 2)}')
  log_scale = jnp.maximum(outputs[..., 1] + jnp.log(0.1), SMALLEST_LOG_SCALE)
  return outputs[..., 0] + 0.5, log_scale


def picture(outputs: Array) -> Array:
  """The pictures [B, H, W, C] in [0, 1] that the decoder means: its locations."""
  return jnp.clip(outputs[..., 0] + 0.5, 0, 1)
