"""Classification metrics against scikit-learn, and as sums that merge exactly."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from zoo.losses import softmax_cross_entropy
from zoo.metrics import ClassificationMetrics, TokenMetrics, show


def examples(N, C, seed=0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, C, N)
  logits = rng.normal(size=(N, C)).astype(np.float32)
  logits[np.arange(N), labels] += 1.0
  return jnp.asarray(logits), jnp.asarray(labels)


@jax.jit
def measure(logits, labels, weights=None):
  losses = softmax_cross_entropy(logits, labels)
  return ClassificationMetrics.from_logits(logits, labels, losses, weights)


def figures(metrics):
  return jax.device_get(metrics).compute()


def test_by_hand():
  # True 0, 0, 1, 2 predicted 0, 1, 1, 1.
  logits = jnp.eye(3)[jnp.array([0, 1, 1, 1])]
  metrics = ClassificationMetrics.from_logits(
    logits, jnp.array([0, 0, 1, 2]), jnp.array([1.0, 2.0, 3.0, 6.0])
  )
  np.testing.assert_array_equal(metrics.confusion, [[1, 1, 0], [0, 1, 0], [0, 1, 0]])
  assert figures(metrics) == pytest.approx(
    {
      'loss': 3.0,
      'accuracy': 1 / 2,
      'precision': (1 + 1 / 3 + 0) / 3,  # class 2 is never predicted
      'recall': (1 / 2 + 1 + 0) / 3,
      'f1': (2 / 3 + 1 / 2 + 0) / 3,
    }
  )


@pytest.mark.parametrize('C, missing', [(2, False), (5, False), (12, False), (5, True), (12, True)])
def test_figures_are_those_of_scikit_learn(C, missing):
  logits, labels = examples(300, C)
  if missing:  # the last neither occurs nor is predicted; the first does not occur
    logits = logits.at[:, -1].set(-50.0)
    labels = jnp.clip(labels, 1, C - 2)
  predicted = logits.argmax(-1)
  got = figures(measure(logits, labels))
  precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
    labels,
    predicted,
    average='macro',
    zero_division=0,  # type: ignore
  )
  expected = {
    'loss': sklearn_metrics.log_loss(labels, jax.nn.softmax(logits), labels=np.arange(C)),
    'accuracy': sklearn_metrics.accuracy_score(labels, predicted),
    'precision': precision,
    'recall': recall,
    'f1': f1,
  }
  if C > 5:
    expected['top5_accuracy'] = sklearn_metrics.top_k_accuracy_score(
      labels, logits, k=5, labels=np.arange(C)
    )
  assert got == pytest.approx(expected, rel=1e-5)
  np.testing.assert_array_equal(
    measure(logits, labels).confusion,
    sklearn_metrics.confusion_matrix(labels, predicted, labels=np.arange(C)),
  )


@pytest.mark.parametrize('cuts', [(), (1,), (7, 8, 64), (30, 60, 90)])
def test_any_division_into_batches_gives_the_same(cuts):
  logits, labels = examples(100, 8)
  parts = [
    measure(x, y) for x, y in zip(jnp.split(logits, cuts), jnp.split(labels, cuts), strict=True)
  ]
  merged = parts[0]
  for part in parts[1:]:
    merged = jax.tree.map(jnp.add, merged, part)
  whole = measure(logits, labels)
  np.testing.assert_array_equal(merged.confusion, whole.confusion)
  np.testing.assert_array_equal(merged.top5_hits, whole.top5_hits)
  assert figures(merged) == pytest.approx(figures(whole), rel=1e-6)


def test_sums_over_devices_are_those_of_one():
  logits, labels = examples(64, 8)
  sums = jax.pmap(lambda x, y: jax.lax.psum(measure(x, y), 'data'), 'data', out_axes=None)(
    logits.reshape(8, 8, 8), labels.reshape(8, 8)
  )
  chex.assert_trees_all_close(sums, measure(logits, labels), rtol=1e-6)


@pytest.mark.parametrize('garbage', [0, 7, 255, -3])
def test_padding_counts_nowhere(garbage):
  logits, labels = examples(20, 8)
  weights = jnp.ones(26).at[20:].set(0.0)
  padded = measure(
    jnp.concatenate([logits, 1e3 * jnp.ones((6, 8))]),
    jnp.concatenate([labels, jnp.full(6, garbage)]),
    weights,
  )
  chex.assert_trees_all_close(padded, measure(logits, labels), rtol=1e-6)


def test_weights_weigh_the_loss_and_nothing_else():
  logits, labels = examples(10, 3)
  weights = jnp.arange(1.0, 11.0)
  weighted, plain = measure(logits, labels, weights), measure(logits, labels)
  losses = softmax_cross_entropy(logits, labels)
  assert figures(weighted)['loss'] == pytest.approx(np.average(losses, weights=weights), rel=1e-6)
  np.testing.assert_array_equal(weighted.confusion, plain.confusion)


def test_counts_are_integers():
  metrics = measure(*examples(10, 8))
  assert metrics.confusion.dtype == metrics.top5_hits.dtype == jnp.int32


def test_top5_only_where_it_says_something():
  assert 'top5_accuracy' not in figures(measure(*examples(10, 5)))
  assert 'top5_accuracy' in figures(measure(*examples(10, 6)))


def test_no_examples_give_no_figures_and_no_error():
  logits, labels = examples(4, 8)
  got = figures(measure(logits, labels, jnp.zeros(4)))
  assert len(got) == 6 and all(np.isnan(v) for v in got.values())


# --- tokens


def tokens(losses, correct, counts, **more):
  return TokenMetrics.from_losses(*map(jnp.asarray, (losses, correct, counts)), **more)


def test_tokens_by_hand():
  sums = tokens([[1.0, 3.0, np.inf]], [[True, False, True]], [[True, True, False]])
  assert figures(sums) == pytest.approx({'loss': 2.0, 'perplexity': np.exp(2), 'accuracy': 0.5})


def test_batches_of_tokens_merge_by_adding():
  first = tokens([[1.0]], [[True]], [[True]], num_bytes=jnp.array([[2]]))
  second = tokens([[3.0]], [[False]], [[True]], num_bytes=jnp.array([[6]]))
  found = figures(jax.tree.map(jnp.add, first, second))
  assert found['loss'] == 2.0
  assert found['bits_per_byte'] == pytest.approx(4 / np.log(2) / 8)


def test_nothing_counted_is_nan_and_a_hopeless_model_infinitely_perplexed():
  assert all(np.isnan(v) for v in figures(tokens([[1.0]], [[True]], [[False]])).values())
  assert figures(tokens([[1e6]], [[False]], [[True]]))['perplexity'] == np.inf


def test_shares_are_shown_in_percent():
  assert show('exact_match', 0.99123) == '99.12%'
  assert show('bits_per_byte', 1.98764) == '1.9876'
