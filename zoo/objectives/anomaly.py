"""Anomaly detection: learning to restore what is normal, and scoring by how badly that succeeds."""

from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from zoo.losses import weighted_mean
from zoo.metrics import ratio
from zoo.objectives.classification import read_input
from zoo.types import Array, Batch, Objective, PyTree, Scalars


@flax.struct.dataclass
class AnomalyMetrics:
  """Sums over examples, those that are normal and those that are not.

  Attributes:
    scores: float32 [2], sums of scores: of normal examples, of anomalies.
    counts: int32 [2], how many there are.
  """

  scores: Array
  counts: Array

  def compute(self) -> dict[str, float]:
    """Mean scores: 'loss' of the normal ones, 'anomaly_loss' of the others; NaN of none."""
    normal, anomalous = (ratio(float(self.scores[i]), int(self.counts[i])) for i in (0, 1))
    return {'loss': normal, 'anomaly_loss': anomalous}


def anomaly(
  module: nn.Module,
  *,
  input_key: str = 'image',
  noise: float = 0.0,
  draws: int = 8,
  axis_name: str | None = None,
) -> Objective:
  """Restoring inputs x from x + noise * e, where e is standard normal.

  The loss is the squared error, a mean over elements and examples, weighted by batch['weight'] if
  there is one. The score of an example is the same error, a mean over elements and over `draws`
  draws of e: the same few for every example, so that a score depends on its example alone.

  Without noise this is the reconstruction error of an autoencoder, which must have a narrow code.
  With noise it is a denoising autoencoder, which need not: restoring moves an example uphill to
  where training examples were dense, and one that came from elsewhere does not get back. The error
  is, up to constants, the term of one noise level of the bound on -log p(x) that diffusion models
  are trained by, so a density score too.

  `predict` returns the scores, float32 [B]; `evaluate` their means, apart for normal examples
  and anomalies (those with batch['label'] = 1; without labels all are normal).

  Args:
    module: takes (x, train) and returns the shape of x. It has parameters and nothing else.
    input_key: the leaf of the batch that the module takes.
    noise: standard deviation, in units of the standardised input.
    draws: for a score; without noise one is enough, and is all that is computed.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range; when called, a batch or a module that does not fit.

  References:
    Vincent et al. 2010, Stacked Denoising Autoencoders. Alain and Bengio 2014, What Regularized
    Auto-Encoders Learn from the Data-Generating Distribution, theorem 1: the restored minus the
    given is noise^2 times the gradient of log p. Ho et al. 2020, Denoising Diffusion Probabilistic
    Models, section 3.2. Graham et al. 2023, Denoising Diffusion Models for Out-of-Distribution
    Detection, who score by the error at many levels.
  """
  if noise < 0:
    raise ValueError(f'noise must be >= 0, not {noise}')
  if draws < 1:
    raise ValueError(f'draws must be at least 1, not {draws}')

  def errors(params: PyTree, x: Array, e: Array, train: bool, rngs: PyTree = None) -> Array:
    restored: Any = module.apply({'params': params}, x + noise * e, train=train, rngs=rngs)
    if restored.shape != x.shape:
      raise ValueError(f'the module returns {restored.shape}, not the shape {x.shape} of its input')
    squares = jnp.square(restored.astype(jnp.float32) - x.astype(jnp.float32))
    return jnp.mean(squares.reshape(x.shape[0], -1), axis=1)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    return module.init(key, read_input(batch, input_key)[:1], train=False)['params'], {}

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    x = read_input(batch, input_key)
    noise_key, dropout_key = jax.random.split(key)
    e = jax.random.normal(noise_key, x.shape)
    of_examples = errors(params, x, e, True, {'dropout': dropout_key})
    value = weighted_mean(of_examples, batch.get('weight'), axis_name)
    return value, (extras, {'loss': value})

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    del extras
    x = read_input(batch, input_key)
    e = jax.random.normal(jax.random.key(0), (draws if noise else 1, 1, *x.shape[1:]))
    return jnp.mean(jax.lax.map(lambda e: errors(params, x, e, False), e), axis=0)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> AnomalyMetrics:
    del key
    scores = predict(params, extras, batch)
    real = batch['weight'] > 0 if 'weight' in batch else jnp.ones(scores.shape, bool)
    odd = batch['label'] == 1 if 'label' in batch else jnp.zeros(scores.shape, bool)
    kinds = jnp.stack([real & ~odd, real & odd])
    sums = jnp.sum(jnp.where(kinds, scores[None, :], 0.0), axis=1)
    return AnomalyMetrics(sums, jnp.sum(kinds.astype(jnp.int32), axis=1))

  return Objective(init, loss, evaluate, predict=predict)
