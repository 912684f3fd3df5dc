"""How well clusters agree with classes: figures of a whole split, on the host."""

import numpy as np


def agreement(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
  """What does not depend on how clusters are numbered.

  Args:
    labels: integer [N], the classes.
    clusters: integer [N].

  Returns:
    'nmi', the mutual information over the mean of both entropies; 'ari', the Rand index adjusted
    for chance; 'accuracy', of the one-to-one assignment of clusters to classes that is best.

  References:
    Vinh et al. 2010, Information Theoretic Measures for Clusterings Comparison. Hubert and Arabie
    1985, Comparing Partitions. Yang et al. 2010, Image Clustering using Local Discriminant Models,
    for the accuracy.
  """
  from sklearn import metrics  # takes a second

  return {
    'nmi': float(metrics.normalized_mutual_info_score(labels, clusters)),
    'ari': float(metrics.adjusted_rand_score(labels, clusters)),
    'accuracy': float(np.mean(matched(labels, clusters) == labels)),
  }


def matched(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
  """The clusters under the numbers of their classes, integer [N]; -1 for one too many.

  Args:
    labels: integer [N], >= 0.
    clusters: integer [N], >= 0.

  References:
    Kuhn 1955, The Hungarian method for the assignment problem.
  """
  from scipy.optimize import linear_sum_assignment

  counts = np.zeros((int(clusters.max()) + 1, int(labels.max()) + 1), np.int64)
  np.add.at(counts, (clusters, labels), 1)
  rows, columns = linear_sum_assignment(counts, maximize=True)
  names = np.full(len(counts), -1)
  names[rows] = columns
  return names[clusters]
