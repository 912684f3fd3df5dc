"""How well scores tell anomalies from what is normal: figures of a whole split, on the host."""

import numpy as np

from zoo.metrics import ratio

# Of the normal validation examples, the share that the threshold leaves alone.
QUANTILE = 0.95


def threshold_of(normal_scores: np.ndarray, quantile: float = QUANTILE) -> float:
  """The score above which an example is called an anomaly, from normal examples alone.

  So the rate of false alarms is fixed, at 1 - quantile, and no anomaly needs to be known: those
  still to come may be of another kind than those that were seen.

  Args:
    normal_scores: float [N], of normal validation examples.
    quantile: the share of them that stays below.

  Raises:
    ValueError: no normal examples.
  """
  if not len(normal_scores):
    raise ValueError('the validation split has no normal examples to choose a threshold by')
  return float(np.quantile(np.asarray(normal_scores, np.float64), quantile))


def ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
  """What depends on the order of the scores alone.

  Args:
    labels: [N], 1 for anomalies and 0 for normal examples; some of each.
    scores: float [N], higher for anomalies.

  Returns:
    'auroc', the probability that an anomaly scores above a normal example (a tie counts half), and
    'aupr', the average precision; by chance they are 0.5 and the share of anomalies.

  References:
    Hanley and McNeil 1982, The meaning and use of the area under a ROC curve. Davis and Goadrich
    2006, The relationship between Precision-Recall and ROC curves.
  """
  from sklearn import metrics  # takes a second

  return {
    'auroc': float(metrics.roc_auc_score(labels, scores)),
    'aupr': float(metrics.average_precision_score(labels, scores)),
  }


def decisions(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, float]:
  """What follows if a score above the threshold is called an anomaly.

  Args:
    labels: [N], 1 for anomalies and 0 for normal examples.
    scores: float [N], higher for anomalies.
    threshold: chosen on other examples than these.

  Returns:
    'accuracy', 'f1' (of the anomalies) and the 'threshold'.
  """
  odd, called = np.asarray(labels) == 1, np.asarray(scores) > threshold
  found = int(np.sum(odd & called))
  return {
    'accuracy': float(np.mean(odd == called)),
    'f1': ratio(2 * found, int(odd.sum() + called.sum())),
    'threshold': float(threshold),
  }
