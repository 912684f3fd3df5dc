import numpy as np
import pytest

from zoo.figures import detection

LABELS = np.array([0, 0, 1, 0, 1])
SCORES = np.array([0.1, 0.4, 0.35, 0.2, 0.8])


def test_auroc_and_aupr_by_hand():
  # Of the 6 pairs of an anomaly and a normal example, one is in the wrong order: 0.35 < 0.4.
  # Ranked: 1, 0, 1, 0, 0; precision where anomalies are found: 1 and 2 / 3.
  assert detection.ranking(LABELS, SCORES) == pytest.approx({'auroc': 5 / 6, 'aupr': 5 / 6})


def test_a_tie_counts_half():
  assert detection.ranking(np.array([0, 1]), np.array([1.0, 1.0]))['auroc'] == 0.5


def test_ranking_depends_on_the_order_alone():
  stretched = np.exp(5 * SCORES)
  assert detection.ranking(LABELS, stretched) == detection.ranking(LABELS, SCORES)


def test_the_threshold_leaves_its_share_of_normal_examples_alone():
  normal = np.random.default_rng(0).normal(size=1000)
  threshold = detection.threshold_of(normal, 0.9)
  assert np.mean(normal > threshold) == pytest.approx(0.1)
  with pytest.raises(ValueError, match='no normal examples'):
    detection.threshold_of(normal[:0])


def test_decisions_by_hand():
  # Above 0.3: one false alarm (0.4), both anomalies found.
  found = detection.decisions(LABELS, SCORES, 0.3)
  assert found == pytest.approx({'accuracy': 0.8, 'f1': 2 * 2 / (3 + 2), 'threshold': 0.3})
  assert detection.decisions(LABELS, SCORES, 9.0)['f1'] == 0.0
