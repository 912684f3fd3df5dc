"""The classification objective around small modules: by hand, and the same on eight devices."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import objectives
from zoo.losses import softmax_cross_entropy
from zoo.models import CNN, MLP
from zoo.objectives.classification import classification

KEY = jax.random.key(0)
C = 7
BATCH = {
  'image': jax.random.normal(jax.random.key(1), (16, 8, 8, 1)),
  'label': jnp.arange(16) % C,
}


class Identity(nn.Module):
  """Its input is its logits."""

  @nn.compact
  def __call__(self, x, *, train):
    return x + self.param('bias', nn.initializers.zeros, (x.shape[-1],))[None]


def rows(*probabilities):
  return jnp.log(jnp.array(probabilities))


LOGITS = rows([0.5, 0.25, 0.25], [0.1, 0.2, 0.7])  # labels 0, 1: costs log 2, log 5
SMALL = {'image': LOGITS, 'label': jnp.array([0, 1])}
ZERO = {'bias': jnp.zeros(3)}


def loss_of(batch, **options):
  value, (_, scalars) = classification(Identity(), num_classes=3, **options).loss(
    ZERO, {}, batch, KEY
  )
  return float(value), {k: float(v) for k, v in scalars.items()}


def cnn(axis_name=None, **options):
  module = CNN(widths=(4,), convs_per_block=1, num_classes=C, axis_name=axis_name)
  return classification(module, num_classes=C, axis_name=axis_name, **options)


def predict(objective):
  assert objective.predict is not None
  return jax.jit(objective.predict)


# --- the loss


def test_loss_and_accuracy_by_hand():
  value, scalars = loss_of(SMALL)
  assert value == pytest.approx((np.log(2) + np.log(5)) / 2)
  assert scalars == pytest.approx({'loss': value, 'accuracy': 0.5})


def test_weights_of_classes_and_of_examples_multiply():
  value, scalars = loss_of(SMALL, class_weights=(3.0, 1.0, 0.0))
  assert value == pytest.approx((3 * np.log(2) + np.log(5)) / 4)
  assert scalars['accuracy'] == pytest.approx(0.5)  # of examples, whatever their class
  weighted = {**SMALL, 'weight': jnp.array([1.0, 2.0])}
  value, scalars = loss_of(weighted, class_weights=(3.0, 1.0, 0.0))
  assert value == pytest.approx((3 * np.log(2) + 2 * np.log(5)) / 5)
  assert scalars['accuracy'] == pytest.approx(1 / 3)


def test_a_distribution_weighs_as_its_classes_do_on_average():
  soft = {**SMALL, 'label': jnp.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])}
  value, scalars = loss_of(soft, class_weights=(3.0, 1.0, 0.0))
  first = 0.5 * np.log(2) + 0.5 * np.log(4)
  assert value == pytest.approx((2 * first + 1 * np.log(5)) / 3)
  assert scalars['accuracy'] == pytest.approx(0.5)


@pytest.mark.parametrize(
  'options', [{}, {'label_smoothing': 0.2}, {'class_weights': (1.0, 5.0, 2.0)}]
)
def test_certain_distributions_are_integers(options):
  one_hot = {**SMALL, 'label': jax.nn.one_hot(SMALL['label'], 3)}
  chex.assert_trees_all_close(loss_of(one_hot, **options), loss_of(SMALL, **options), rtol=1e-6)


def test_smoothing_enters_the_loss_but_not_the_evaluation():
  smooth = classification(Identity(), num_classes=3, label_smoothing=0.3)
  value, _ = smooth.loss(ZERO, {}, SMALL, KEY)
  expected = softmax_cross_entropy(LOGITS, SMALL['label'], 0.3).mean()
  np.testing.assert_allclose(value, expected, rtol=1e-6)
  assert smooth.evaluate(ZERO, {}, SMALL, KEY).compute()['loss'] == pytest.approx(np.log(10) / 2)


def padded(batch, junk):
  more = {
    k: jnp.concatenate([v, jnp.full((5, *v.shape[1:]), junk, v.dtype)]) for k, v in batch.items()
  }
  n = len(batch['label'])
  return {**more, 'weight': (jnp.arange(n + 5) < n).astype(jnp.float32)}


@pytest.mark.parametrize('junk', [3, 100])
def test_padding_changes_neither_loss_gradient_nor_evaluation(junk):
  module = MLP(widths=(8,), num_classes=C)
  objective = classification(module, num_classes=C, class_weights=tuple(range(1, C + 1)))
  params, extras = jax.jit(objective.init)(KEY, BATCH)
  step = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
  evaluate = jax.jit(objective.evaluate)
  chex.assert_trees_all_close(
    step(params, extras, padded(BATCH, junk), KEY),
    step(params, extras, BATCH, KEY),
    rtol=1e-4,
    atol=1e-6,
  )
  chex.assert_trees_all_close(
    evaluate(params, extras, padded(BATCH, junk), KEY),
    evaluate(params, extras, BATCH, KEY),
    rtol=1e-5,
  )


# --- what the module holds beside parameters


def test_init_runs_on_shapes_alone_and_on_zeros():
  shapes = jax.eval_shape(cnn().init, KEY, BATCH)
  zeros = jax.jit(cnn().init)(KEY, jax.tree.map(jnp.zeros_like, BATCH))
  chex.assert_trees_all_equal_shapes_and_dtypes(shapes, zeros)
  drawn = jax.jit(cnn().init)(KEY, BATCH)
  chex.assert_trees_all_equal(zeros, drawn)  # they do not depend on data
  params, extras = zeros
  assert set(extras) == {'batch_stats'} and 'head' in params


def test_without_batch_statistics_extras_are_empty_and_stay_so():
  objective = classification(MLP(num_classes=C), num_classes=C)
  params, extras = jax.jit(objective.init)(KEY, BATCH)
  assert extras == {}
  assert objective.loss(params, extras, BATCH, KEY)[1][0] == {}


def test_the_loss_moves_batch_statistics_and_the_evaluation_uses_them():
  objective = cnn()
  params, before = jax.jit(objective.init)(KEY, BATCH)
  _, (after, _) = jax.jit(objective.loss)(params, before, BATCH, KEY)
  chex.assert_trees_all_equal_shapes_and_dtypes(before, after)
  mean = lambda extras: extras['batch_stats']['BatchNorm_0']['mean']
  assert (mean(before) == 0).all() and (mean(after) != 0).all()
  logits = [predict(objective)(params, extras, BATCH) for extras in (before, after)]
  assert jnp.abs(logits[0] - logits[1]).max() > 1e-3


def test_dropout_draws_from_the_key_in_training_alone():
  module = MLP(num_classes=C, dropout=0.5)
  objective = classification(module, num_classes=C)
  params, extras = jax.jit(objective.init)(KEY, BATCH)
  losses = [jax.jit(objective.loss)(params, extras, BATCH, jax.random.key(i))[0] for i in (1, 1, 2)]
  assert losses[0] == losses[1] != losses[2]
  sums = [objective.evaluate(params, extras, BATCH, jax.random.key(i)) for i in (1, 2)]
  chex.assert_trees_all_equal(*sums)


# --- eight devices


def test_gradients_statistics_and_metrics_are_the_same_on_eight_devices():
  options = {'class_weights': (1.0, 8.0, 0.0, 2.0, 5.0, 0.5, 3.0), 'label_smoothing': 0.1}
  batch = {**BATCH, 'weight': jnp.linspace(0, 2, 16)}
  params, extras = jax.jit(cnn().init)(KEY, batch)

  def step(objective, axis_name):
    def run(params, extras, batch):
      grad_fn = jax.value_and_grad(objective.loss, has_aux=True)
      (loss, (new, scalars)), grads = grad_fn(params, extras, batch, KEY)
      metrics = objective.evaluate(params, extras, batch, KEY)
      if axis_name:
        loss, scalars, grads = jax.lax.pmean((loss, scalars, grads), axis_name)
        metrics = jax.lax.psum(metrics, axis_name)
      return loss, scalars, grads, new, metrics

    return run

  whole = jax.jit(step(cnn(**options), None))(params, extras, batch)
  spread = jax.pmap(
    step(cnn('data', **options), 'data'), 'data', in_axes=(None, None, 0), out_axes=None
  )
  shares = jax.tree.map(lambda x: x.reshape(8, 2, *x.shape[1:]), batch)
  chex.assert_trees_all_close(spread(params, extras, shares), whole, rtol=1e-4, atol=1e-5)


# --- evaluation


def test_evaluation_agrees_with_the_predictions():
  objective = cnn()
  params, extras = jax.jit(objective.init)(KEY, BATCH)
  figures = objective.evaluate(params, extras, BATCH, KEY).compute()
  logits = predict(objective)(params, extras, BATCH)
  assert logits.shape == (16, C) and logits.dtype == jnp.float32
  assert figures['accuracy'] == pytest.approx(float(jnp.mean(logits.argmax(-1) == BATCH['label'])))
  expected = softmax_cross_entropy(logits, BATCH['label']).mean()
  assert figures['loss'] == pytest.approx(float(expected), rel=1e-5)


def test_gradient_descent_learns_a_batch_by_heart():
  objective = objectives.classification(MLP(widths=(64,), num_classes=C), num_classes=C)
  params, extras = jax.jit(objective.init)(KEY, BATCH)

  @jax.jit
  def step(params):
    (loss, _), grads = jax.value_and_grad(objective.loss, has_aux=True)(params, extras, BATCH, KEY)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

  losses = []
  for _ in range(100):
    params, loss = step(params)
    losses.append(float(loss))
  assert losses[-1] < 0.1 < 1.0 < losses[0]
  assert objective.evaluate(params, extras, BATCH, KEY).compute()['accuracy'] == 1.0


# --- what does not fit


@pytest.mark.parametrize(
  'options, message',
  [
    ({'label_smoothing': -0.1}, 'label_smoothing must be in'),
    ({'class_weights': (1.0, 2.0)}, 'class_weights must be 3 numbers, not 2'),
    ({'class_weights': (1.0, -2.0, 1.0)}, 'class_weights must be >= 0'),
    ({'class_weights': (0.0, 0.0, 0.0)}, 'class_weights must be >= 0 and not all 0'),
  ],
)
def test_options_out_of_range_are_refused_at_once(options, message):
  with pytest.raises(ValueError, match=message):
    classification(Identity(), num_classes=3, **options)


def test_a_module_with_another_number_of_classes_is_refused():
  objective = classification(Identity(), num_classes=4)
  with pytest.raises(ValueError, match=r'returns \(2, 3\), not logits of 4 classes'):
    jax.eval_shape(objective.loss, ZERO, {}, SMALL, KEY)


def test_a_batch_without_the_input_is_refused():
  objective = classification(Identity(), num_classes=3, input_key='imag')
  with pytest.raises(ValueError, match="unknown input of the batch 'imag'; did you mean 'image'"):
    objective.init(KEY, SMALL)
