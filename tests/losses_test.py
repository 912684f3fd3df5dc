"""Losses by hand, and means that are the same on one device and on eight."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.losses import label_logits, over_chunks, softmax_cross_entropy, weighted_mean

LOGITS = jax.random.normal(jax.random.key(0), (16, 5)) * 3
LABELS = jnp.arange(16) % 5


# --- softmax_cross_entropy


def test_cross_entropy_by_hand():
  logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
  loss = softmax_cross_entropy(logits + 7.0, jnp.array([0, 1]))  # a shift changes nothing
  np.testing.assert_allclose(loss, [np.log(2), np.log(5)], rtol=1e-5)


def test_cross_entropy_of_distributions_by_hand():
  logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
  labels = jnp.array([[0.5, 0.5, 0.0]])
  loss = softmax_cross_entropy(logits, labels)
  np.testing.assert_allclose(loss, [0.5 * np.log(2) + 0.5 * np.log(4)], rtol=1e-5)


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes():
  loss = softmax_cross_entropy(jnp.zeros((3, 10)), jnp.array([0, 4, 9]), label_smoothing=0.3)
  np.testing.assert_allclose(loss, np.full(3, np.log(10)), rtol=1e-6)


@pytest.mark.parametrize('smoothing', [0.0, 0.1, 1.0])
def test_smoothing_is_that_of_the_labels(smoothing):
  one_hot = jax.nn.one_hot(LABELS, 5)
  expected = optax.softmax_cross_entropy(LOGITS, optax.smooth_labels(one_hot, smoothing))
  for labels in (LABELS, one_hot):
    loss = softmax_cross_entropy(LOGITS, labels, smoothing)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_smoothing_by_hand():
  # Of probabilities 0.5 and twice 0.25, with a = 0.3: 0.8 on the true class, 0.1 on the others.
  loss = softmax_cross_entropy(jnp.log(jnp.array([[0.5, 0.25, 0.25]])), jnp.array([0]), 0.3)
  np.testing.assert_allclose(loss, [0.8 * np.log(2) + 0.2 * np.log(4)], rtol=1e-5)


def test_the_gradient_is_probabilities_minus_target():
  grad = jax.grad(lambda x: softmax_cross_entropy(x, LABELS, 0.2).sum())(LOGITS)
  target = 0.8 * jax.nn.one_hot(LABELS, 5) + 0.2 / 5
  np.testing.assert_allclose(grad, jax.nn.softmax(LOGITS) - target, rtol=1e-4, atol=1e-6)


def test_half_precision_logits_cost_in_float32():
  loss = softmax_cross_entropy(LOGITS.astype(jnp.bfloat16), LABELS)
  assert loss.dtype == jnp.float32
  rounded = LOGITS.astype(jnp.bfloat16).astype(jnp.float32)
  np.testing.assert_array_equal(loss, softmax_cross_entropy(rounded, LABELS))


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_a_label_beyond_the_classes_is_not_a_number(smoothing):
  loss = softmax_cross_entropy(LOGITS[:2], jnp.array([5, 4]), smoothing)
  assert jnp.isnan(loss).tolist() == [True, False]


@pytest.mark.parametrize(
  'labels, smoothing, message',
  [
    (LABELS.astype(jnp.float32), 0.0, r'float32 labels for logits \(16, 5\) must be \(16, 5\)'),
    (LABELS[:, None], 0.0, r'int32 labels for logits \(16, 5\) must be \(16,\)'),
    (LABELS, 1.5, 'label_smoothing must be in'),
  ],
)
def test_what_does_not_fit_is_refused(labels, smoothing, message):
  with pytest.raises(ValueError, match=message):
    softmax_cross_entropy(LOGITS, labels, smoothing)


# --- weighted_mean


def test_weighted_mean_by_hand():
  values = jnp.array([1.0, 2.0, 6.0])
  assert weighted_mean(values) == 3.0
  assert weighted_mean(values, jnp.array([1.0, 1.0, 0.5])) == 2.4
  assert weighted_mean(values, jnp.array([1.0, 1.0, 0.5]) * 8) == 2.4  # their scale does not matter


def test_without_any_weight_the_mean_and_its_gradient_are_zero():
  value, grad = jax.value_and_grad(weighted_mean)(jnp.ones(3), jnp.zeros(3))
  assert value == 0 and (grad == 0).all()


def test_a_value_of_weight_zero_does_not_count_whatever_it_is():
  values = jnp.array([1.0, jnp.nan, jnp.inf, 3.0])
  weights = jnp.array([1.0, 0.0, 0.0, 1.0])
  value, grad = jax.value_and_grad(weighted_mean)(values, weights)
  assert value == 2.0
  np.testing.assert_array_equal(grad, [0.5, 0, 0, 0.5])


def test_the_mean_over_devices_is_the_mean_of_all():
  # Sums of weights that differ widely between devices, one of them without any.
  weights = (jnp.arange(16.0) ** 2).at[4:6].set(0.0)
  w = jax.random.normal(jax.random.key(1), (5, 5))

  def loss(w, logits, labels, weights, axis_name=None):
    return weighted_mean(softmax_cross_entropy(logits @ w, labels), weights, axis_name)

  def on_device(w, *batch):
    return jax.lax.pmean(jax.value_and_grad(loss)(w, *batch, axis_name='data'), 'data')

  batch = (LOGITS, LABELS, weights)
  shares = [x.reshape(8, 2, *x.shape[1:]) for x in batch]
  several = jax.pmap(on_device, 'data', in_axes=(None, 0, 0, 0), out_axes=None)(w, *shares)
  one = jax.jit(jax.value_and_grad(loss))(w, *batch)
  chex.assert_trees_all_close(several, one, rtol=1e-5)
  naive = jax.pmap(
    lambda w, *batch: jax.lax.pmean(loss(w, *batch), 'data'),
    'data',
    in_axes=(None, 0, 0, 0),
    out_axes=None,
  )
  assert abs(naive(w, *shares) - one[0]) > 1e-2  # what a mean of means would have been


def test_weights_of_another_shape_are_refused():
  with pytest.raises(ValueError, match='weights must have the shape'):
    weighted_mean(jnp.ones((4, 2)), jnp.ones(4))


# --- label_logits


def test_label_logits_are_gathered_and_their_gradient_is_one_at_the_label():
  np.testing.assert_array_equal(
    label_logits(LOGITS, LABELS), np.asarray(LOGITS)[np.arange(16), np.asarray(LABELS)]
  )
  gradient = jax.grad(lambda x: label_logits(x, LABELS).sum())(LOGITS)
  np.testing.assert_array_equal(gradient, jax.nn.one_hot(LABELS, 5))


@pytest.mark.parametrize('label', [-1, 5])
def test_a_label_that_is_none_gives_nan(label):
  labels = LABELS.at[3].set(label)
  losses = softmax_cross_entropy(LOGITS, labels)
  np.testing.assert_array_equal(np.isnan(losses), np.arange(16) == 3)


def test_labels_of_a_narrow_type_address_more_classes_than_it_counts():
  logits = jnp.arange(300.0)[None]
  assert float(label_logits(logits, jnp.array([44], jnp.uint8))[0]) == 44.0  # not 44 + 256 as well


# --- over_chunks


@pytest.mark.parametrize('size', [0, 1, 2, 4, 8])
def test_chunks_change_nothing(size):
  x = jax.random.normal(jax.random.key(2), (3, 8, 5))
  y = jnp.arange(24).reshape(3, 8)
  fn = lambda x, y: {'norm': jnp.sum(x * x, axis=-1) + y, 'x': jnp.sin(x)}
  total = lambda x, size: sum(leaf.sum() for leaf in jax.tree.leaves(over_chunks(fn, size, x, y)))
  chex.assert_trees_all_close(over_chunks(fn, size, x, y), fn(x, y), rtol=1e-6)
  np.testing.assert_allclose(jax.grad(total)(x, size), jax.grad(total)(x, 0), rtol=1e-5)


def test_logits_exist_for_one_chunk_at_a_time():
  w = jax.ShapeDtypeStruct((8, 50_000), jnp.float32)
  h = jax.ShapeDtypeStruct((1, 256, 8), jnp.float32)
  labels = jax.ShapeDtypeStruct((1, 256), jnp.int32)

  def temporaries(size):
    def loss(w, h, labels):
      return over_chunks(lambda h, y: softmax_cross_entropy(h @ w, y), size, h, labels).mean()

    compiled = jax.jit(jax.grad(loss)).lower(w, h, labels).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  logits = 4 * 256 * 50_000
  assert temporaries(0) >= logits
  assert temporaries(32) < logits / 2
