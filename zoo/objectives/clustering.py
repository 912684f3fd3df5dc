"""Clustering without labels: clusters that say much of an example, and the same of its copies."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from zoo.metrics import ratio
from zoo.objectives.classification import read_input
from zoo.types import Array, Batch, Objective, PyTree, Scalars, parted


@flax.struct.dataclass
class ClusteringMetrics:
  """Sums over examples, from which the terms of the objective follow exactly.

  Attributes:
    probabilities: float32 [K], of the clusters.
    entropy: float32 [], of each example's distribution over clusters.
    divergence: float32 [], of that of its copy from it.
    count: int32 [], examples.
    weights: float32 [2], of the terms of the loss: information and balance.
  """

  probabilities: Array
  entropy: Array
  divergence: Array
  count: Array
  weights: tuple[float, float] = flax.struct.field(pytree_node=False)

  def compute(self) -> dict[str, float]:
    """Means over the split: 'loss', 'mutual_information' and 'inconsistency', in nats."""
    count = int(self.count)
    share = np.asarray(self.probabilities, np.float64) / max(count, 1)
    marginal = -float(np.sum(share * np.log(np.maximum(share, 1e-12))))
    conditional = ratio(float(self.entropy), count)
    divergence = ratio(float(self.divergence), count)
    information, balance = self.weights
    return {
      'loss': divergence - information * (balance * marginal - conditional),
      'mutual_information': marginal - conditional,
      'inconsistency': divergence,
    }


def clustering(
  module: nn.Module,
  *,
  num_classes: int,
  input_key: str = 'image',
  information: float = 0.1,
  balance: float = 4.0,
  axis_name: str | None = None,
) -> Objective:
  """Information maximising self-augmented training: as many clusters as the data have classes.

  Batches of the loss and of `evaluate` are {'first', 'second'}: examples x, and copies x' that are
  augmented (`data.views.original_and_copy`); those of `init` and `predict` have no parts. Labels
  are not looked at. With p(y | x) the softmax of the module's logits, and p(y) its mean over the
  batch (of all devices), the loss is

    mean KL(p(y | x) || p(y | x')) - information * (balance * H(p(y)) - mean H(p(y | x))),

  in which the p(y | x) of the first term is a constant. With `balance` = 1 the bracket is the
  mutual information of example and cluster, estimated on the batch; more prefers clusters of one
  size.

  `predict` returns logits, float32 [B, K]; an example's cluster is where they are greatest. The
  scalars are 'loss', 'mutual_information' and 'inconsistency' (the first term).

  Args:
    module: takes (x, train) and returns logits [B, K]. What it holds beside parameters goes into
      extras.
    num_classes: K, clusters.
    input_key: the leaf of each part that the module takes.
    information: weight of the bracket.
    balance: weight of the entropy of p(y) within it.
    axis_name: the mapped axis, under pmap. The module must have been given the same.

  Raises:
    ValueError: an option out of its range; when called, a module that does not fit.

  References:
    Hu et al. 2017, Learning Discrete Representations via Information Maximizing Self-Augmented
    Training, section 3: information = 0.1, balance = 4. Krause et al. 2010, Discriminative
    Clustering by Regularized Information Maximization.
  """
  for name, value in (('information', information), ('balance', balance)):
    if value <= 0:
      raise ValueError(f'{name} must be positive, not {value}')

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    variables = module.init(key, read_input(batch, input_key)[:1], train=False)
    return parted(variables)

  def log_probabilities(logits: Array) -> Array:
    if logits.shape[1:] != (num_classes,):
      raise ValueError(f'the module returns {logits.shape}, not logits of {num_classes} clusters')
    return jax.nn.log_softmax(logits.astype(jnp.float32))

  def pairs(batch: Batch) -> Array:
    return jnp.concatenate([read_input(batch[part], input_key) for part in ('first', 'second')])

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    logits, extras = module.apply(
      {'params': params, **extras},
      pairs(batch),
      train=True,
      rngs={'dropout': key},
      mutable=list(extras),
    )
    first, second = jnp.split(log_probabilities(logits), 2)
    share = jnp.mean(jnp.exp(first), axis=0)
    if axis_name is not None:
      share = jax.lax.pmean(share, axis_name)
    marginal, conditional = entropy(jnp.log(share + 1e-12)), jnp.mean(entropy(first))
    inconsistency = jnp.mean(divergence(jax.lax.stop_gradient(first), second))
    value = inconsistency - information * (balance * marginal - conditional)
    scalars = {'mutual_information': marginal - conditional, 'inconsistency': inconsistency}
    return value, (extras, {'loss': value, **scalars})

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    logits = module.apply({'params': params, **extras}, read_input(batch, input_key), train=False)
    assert isinstance(logits, Array)
    return logits.astype(jnp.float32)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> ClusteringMetrics:
    del key
    both = predict(params, extras, {input_key: pairs(batch)})
    first, second = jnp.split(log_probabilities(both), 2)
    real = batch['first'].get('weight', jnp.ones(len(first))) > 0
    total = lambda x: jnp.sum(jnp.where(real, x, 0.0))
    return ClusteringMetrics(
      probabilities=jnp.sum(jnp.where(real[:, None], jnp.exp(first), 0.0), axis=0),
      entropy=total(entropy(first)),
      divergence=total(divergence(first, second)),
      count=jnp.sum(real.astype(jnp.int32)),
      weights=(information, balance),
    )

  return Objective(init, loss, evaluate, predict=predict)


def entropy(log_p: Array) -> Array:
  """Of each distribution, in nats: [..., K] -> [...]."""
  return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def divergence(log_p: Array, log_q: Array) -> Array:
  """KL(p || q) of each pair, in nats: [..., K] -> [...]."""
  return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
