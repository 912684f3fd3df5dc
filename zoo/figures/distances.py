"""How far apart two sets of examples are, in a space of features: on the host, in float64."""

from collections.abc import Iterator

import numpy as np

ROWS = 1024  # whose distances to all others exist at a time


def frechet(a: np.ndarray, b: np.ndarray) -> float:
  """The squared Frechet distance of two normal distributions, of the means and covariances found.

  |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)). It is above 0 also for two samples of one
  distribution, the more the fewer they are: compare only what was measured on equally many.

  Args:
    a: features, [N, D], N >= 2.
    b: [M, D], M >= 2.

  References:
    Dowson and Landau 1982. Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, for
    features of Inception, which these need not be: no figure of theirs compares with one of other
    features.
  """
  a, b = a.astype(np.float64), b.astype(np.float64)
  A, B = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
  # A B has the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
  values, vectors = np.linalg.eigh(A)
  root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
  between = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ B @ root), 0)).sum()
  means = np.square(a.mean(0) - b.mean(0)).sum()
  return float(means + np.trace(A) + np.trace(B) - 2 * between)


def frechet_and_floor(
  real: np.ndarray, fake: np.ndarray, draws: int = 10, seed: int = 0
) -> tuple[float, float]:
  """The distance of made examples to real ones, and that of real ones to real ones beside it.

  The real examples are halved at random; the floor is the distance of one half to the other, and as
  many made examples are held against the first. Both are means over several draws. So they come
  from equally many examples, and at their ratio of 1 nothing tells what is made from what is real.

  Args:
    real: features, [N, D], N >= 4.
    fake: [N, D].
    draws: how often.
    seed: of the draws.

  Returns:
    (distance, floor).
  """
  rng, half = np.random.default_rng(seed), len(real) // 2
  found = []
  for _ in range(draws):
    order, chosen = rng.permutation(len(real)), rng.permutation(len(fake))[:half]
    first, second = real[order[:half]], real[order[half : 2 * half]]
    found.append((frechet(fake[chosen], first), frechet(first, second)))
  distance, floor = np.mean(found, axis=0)
  return float(distance), float(floor)


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
  """How much of what is made looks real, and how much of what is real is made.

  Around each example of a set lies a ball that reaches to its k-th nearest neighbour in the set.
  Precision is the share of made examples within any ball of the real ones, recall the share of real
  ones within any ball of what is made.

  Args:
    real: features, [N, D], N > k.
    fake: [M, D], M > k.
    k: see above.

  References:
    Kynkaanniemi et al. 2019, Improved Precision and Recall Metric for Assessing Generative Models,
    section 2; k = 3 as there.
  """
  real, fake = real.astype(np.float64), fake.astype(np.float64)

  def radii(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.partition(d, k, axis=1)[:, k] for d in squares(x, x)])

  def covered(x: np.ndarray, centres: np.ndarray, reach: np.ndarray) -> float:
    return float(np.concatenate([(d <= reach).any(axis=1) for d in squares(x, centres)]).mean())

  return covered(fake, real, radii(real)), covered(real, fake, radii(fake))


def squares(a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
  """Squared distances of the rows of a to all of b, [ROWS, M] at a time."""
  of_b = np.square(b).sum(1)
  for start in range(0, len(a), ROWS):
    rows = a[start : start + ROWS]
    yield np.maximum(np.square(rows).sum(1)[:, None] + of_b - 2 * rows @ b.T, 0)
