import numpy as np
import pytest

from zoo.figures import partitions

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2])


def test_a_perfect_partition_under_other_numbers():
  found = partitions.agreement(LABELS, np.array([2, 0, 1])[LABELS])
  assert found == pytest.approx({'nmi': 1.0, 'ari': 1.0, 'accuracy': 1.0})


def test_accuracy_is_that_of_the_best_assignment():
  # Cluster 0 holds classes 0, 0, 1; cluster 1 holds 0, 1, 1; cluster 2 holds 2, 2.
  clusters = np.array([0, 0, 1, 0, 1, 1, 2, 2])
  assert partitions.matched(LABELS, clusters).tolist() == [0, 0, 1, 0, 1, 1, 2, 2]
  assert partitions.agreement(LABELS, clusters)['accuracy'] == 6 / 8


def test_a_class_belongs_to_one_cluster_alone():
  # Both clusters 0 and 1 are all of class 0, but only one may be.
  found = partitions.matched(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 2]))
  assert found.tolist() == [0, 0, -1, 1] or found.tolist() == [0, 0, 1, -1]
  assert np.mean(found == np.array([0, 0, 0, 1])) >= 0.5


def test_no_figure_depends_on_how_clusters_are_numbered():
  rng = np.random.default_rng(0)
  labels, clusters = rng.integers(0, 5, 200), rng.integers(0, 7, 200)
  renumbered = rng.permutation(7)[clusters]
  expected = pytest.approx(partitions.agreement(labels, clusters), abs=1e-12)
  assert partitions.agreement(labels, renumbered) == expected


def test_nmi_by_hand():
  # Two classes of two, three clusters: I = log 2, H = log 2 and 1.5 log 2.
  found = partitions.agreement(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]))
  assert found['nmi'] == pytest.approx(1 / 1.25)


def test_one_cluster_for_all_says_nothing():
  found = partitions.agreement(LABELS, np.zeros(8, int))
  assert found == pytest.approx({'nmi': 0.0, 'ari': 0.0, 'accuracy': 3 / 8})
