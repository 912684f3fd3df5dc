"""Metrics as sums over examples, so that they merge exactly over batches and devices."""

import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from zoo.types import Array

SHARES = (
  *('accuracy', 'top5_accuracy', 'precision', 'recall', 'f1', 'exact_match'),
  *('linear_probe', 'knn', 'matches'),
  *('real_accuracy', 'fake_accuracy', 'class_accuracy'),
)


# google-metrax 0.2.4 has precision, recall and F-beta for two classes only, no confusion matrix.
@flax.struct.dataclass
class ClassificationMetrics:
  """Sums over examples. Two are merged by adding them leaf by leaf.

  An example of weight 0 is padding and counts nowhere. Of the others, the loss is a weighted mean,
  and each counts once for everything else.

  Attributes:
    loss: float32 [], the sum of weight * loss.
    weight: float32 [], the sum of weights.
    confusion: int32 [C, C], examples by true class (row) and predicted class (column).
    top5_hits: int32 [], examples whose class is among the five likeliest; 0 if C <= 5.
  """

  loss: Array
  weight: Array
  confusion: Array
  top5_hits: Array

  @classmethod
  def from_logits(
    cls, logits: Array, labels: Array, losses: Array, weights: Array | None = None
  ) -> 'ClassificationMetrics':
    """Sums over one batch.

    Args:
      logits: float [B, C].
      labels: integer [B], in [0, C).
      losses: float [B].
      weights: float [B]; all 1 if None.
    """
    B, C = logits.shape
    weights = jnp.ones(B) if weights is None else weights.astype(jnp.float32)
    real = weights > 0
    counts = real.astype(jnp.int32)
    predicted = jnp.argmax(logits, axis=-1)
    confusion = jnp.zeros((C, C), jnp.int32).at[labels, predicted].add(counts)
    top5_hits = jnp.zeros((), jnp.int32)
    if C > 5:
      _, top5 = jax.lax.top_k(logits, 5)
      top5_hits = jnp.sum(counts * jnp.any(top5 == labels[:, None], axis=-1))
    loss = jnp.sum(jnp.where(real, weights * losses, 0.0))
    return cls(loss, jnp.sum(weights), confusion, top5_hits)

  def compute(self) -> dict[str, float]:
    """The figures, on the host: float64 from here on.

    Precision, recall and F1 are macro averages: means in which each class counts the same. A class
    that has examples but is never predicted, or is predicted but has no examples, counts as 0. One
    that neither occurs nor is predicted is left out. This is what scikit-learn does by default.

    Returns:
      'loss', 'accuracy', 'top5_accuracy' (only if there are more than five classes), 'precision',
      'recall', 'f1'. All are NaN if there are no examples.
    """
    confusion = np.asarray(self.confusion, np.int64)
    hits, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    total = int(confusion.sum())
    seen = true + predicted > 0

    def macro(denominator: np.ndarray) -> float:
      return ratio(float(np.sum(hits[seen] / np.maximum(denominator[seen], 1))), int(seen.sum()))

    figures = {
      'loss': ratio(float(self.loss), float(self.weight)),
      'accuracy': ratio(int(hits.sum()), total),
      'top5_accuracy': ratio(int(self.top5_hits), total),
      'precision': macro(predicted),
      'recall': macro(true),
      'f1': macro((true + predicted) / 2),  # 2 TP / (2 TP + FP + FN)
    }
    if len(confusion) <= 5:
      del figures['top5_accuracy']
    return figures


@flax.struct.dataclass
class TokenMetrics:
  """Sums over the tokens that count. Two are merged by adding them leaf by leaf.

  Attributes:
    loss: float32 [], the sum of cross-entropies, nats.
    tokens: int32 [], how many counted.
    correct: int32 [], of those, the ones whose token was the likeliest.
    bytes: int32 [], of text that they stand for; None where that is unknown.
    exact: int32 [], sequences that were produced without a fault; None if none are produced.
    sequences: int32 [], of how many; None likewise.
  """

  loss: Array
  tokens: Array
  correct: Array
  bytes: Array | None = None
  exact: Array | None = None
  sequences: Array | None = None

  @classmethod
  def from_losses(
    cls,
    losses: Array,
    correct: Array,
    counts: Array,
    num_bytes: Array | None = None,
  ) -> 'TokenMetrics':
    """Sums over one batch.

    Args:
      losses: float [B, T].
      correct: bool [B, T].
      counts: bool [B, T], which tokens count.
      num_bytes: integer [B, T], of each token.
    """
    of = lambda x: jnp.sum(jnp.where(counts, x, 0).astype(jnp.int32))
    return cls(
      loss=jnp.sum(jnp.where(counts, losses, 0.0)),
      tokens=jnp.sum(counts.astype(jnp.int32)),
      correct=of(correct),
      bytes=None if num_bytes is None else of(num_bytes),
    )

  def compute(self) -> dict[str, float]:
    """The figures, on the host.

    Returns:
      'loss' (nats a token), 'perplexity' (its exponential), 'accuracy' (of tokens),
      'bits_per_byte' (what the text would take if it were compressed with the model, less the cost
      of the model) and 'exact_match'; the last two where they are known. NaN if nothing counted.
    """
    loss, tokens = float(self.loss), int(self.tokens)
    mean = ratio(loss, tokens)
    with np.errstate(over='ignore'):
      figures = {
        'loss': mean,
        'perplexity': float(np.exp(np.float64(mean))),
        'accuracy': ratio(int(self.correct), tokens),
      }
    if self.bytes is not None:
      figures['bits_per_byte'] = ratio(loss / math.log(2), int(self.bytes))
    if self.exact is not None and self.sequences is not None:
      figures['exact_match'] = ratio(int(self.exact), int(self.sequences))
    return figures


@flax.struct.dataclass
class AdversarialMetrics:
  """Sums over real and as many made examples. Two are merged by adding them leaf by leaf.

  Attributes:
    loss: float32 [], the sum of the losses of both networks.
    real_hits: int32 [], real examples that the discriminator took for real.
    fake_hits: int32 [], made ones that it took for made.
    count: int32 [], examples of each kind.
    moments: float32 {'real', 'fake'} -> ([...], []), the sums of examples and of squared norms.
  """

  loss: Array
  real_hits: Array
  fake_hits: Array
  count: Array
  moments: dict[str, tuple[Array, Array]]

  @classmethod
  def from_scores(
    cls,
    losses: Array,
    scores: dict[str, Array],
    examples: dict[str, Array],
    weights: Array | None = None,
  ) -> 'AdversarialMetrics':
    """Sums over one batch.

    Args:
      losses: float [B], of both networks together.
      scores: {'real', 'fake'} -> float [B], above 0 for what is taken for real.
      examples: {'real', 'fake'} -> float [B, ...].
      weights: float [B]; an example counts if it is not 0. All count if None.
    """
    counts = jnp.ones(losses.shape, bool) if weights is None else weights > 0
    of = lambda hits: jnp.sum((counts & hits).astype(jnp.int32))

    def moments(x: Array) -> tuple[Array, Array]:
      x = jnp.where(counts.reshape(-1, *[1] * (x.ndim - 1)), x.astype(jnp.float32), 0)
      return jnp.sum(x, axis=0), jnp.sum(jnp.square(x))

    return cls(
      loss=jnp.sum(jnp.where(counts, losses, 0.0)),
      real_hits=of(scores['real'] > 0),
      fake_hits=of(scores['fake'] <= 0),
      count=jnp.sum(counts.astype(jnp.int32)),
      moments={kind: moments(x) for kind, x in examples.items()},
    )

  def compute(self) -> dict[str, float]:
    """The figures, on the host.

    Returns:
      'loss', 'real_accuracy' and 'fake_accuracy' (of the discriminator: 0.5 each where it cannot
      tell), and 'spread': the root mean square distance between two made examples over that
      between two real ones, which is 1 if all is well and 0 if all that is made is alike.
    """
    count = int(self.count)

    def variance(kind: str) -> float:
      total, squares = (np.asarray(x, np.float64) for x in self.moments[kind])
      return float(squares) / count - float(np.sum(np.square(total / count)))

    spread = ratio(variance('fake'), variance('real')) if count else float('nan')
    return {
      'loss': ratio(float(self.loss), count),
      'real_accuracy': ratio(int(self.real_hits), count),
      'fake_accuracy': ratio(int(self.fake_hits), count),
      'spread': math.sqrt(max(spread, 0.0)) if count else spread,
    }


def show(name: str, value: float) -> str:
  """A figure as people read it: shares in percent."""
  return f'{value:.2%}' if name in SHARES else f'{value:.4f}'


def ratio(numerator: float, denominator: float) -> float:
  """The quotient, or NaN where there is nothing to divide by."""
  return numerator / denominator if denominator else float('nan')
