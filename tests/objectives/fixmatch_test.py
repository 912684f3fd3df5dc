"""FixMatch around small modules: pseudo-labels, averages and gradients by hand."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import MLP
from zoo.objectives.classification import classification
from zoo.objectives.fixmatch import align, confident, fixmatch

KEY = jax.random.key(0)


class Identity(nn.Module):
  """Its input is its logits."""

  @nn.compact
  def __call__(self, x, *, train):
    return x + self.param('bias', nn.initializers.zeros, (x.shape[-1],))[None]


def rows(*probabilities):
  return jnp.log(jnp.array(probabilities))


ZERO = {'bias': jnp.zeros(3)}
LABELED = {'image': rows([0.5, 0.25, 0.25], [0.1, 0.2, 0.7]), 'label': jnp.array([0, 1])}
WEAK = {
  'image': rows([0.9, 0.05, 0.05], [0.3, 0.4, 0.3], [0.05, 0.0, 0.95]),
  'label': jnp.array([0, 1, 1]),
}
STRONG = {'image': rows([0.25, 0.5, 0.25], [0.2, 0.6, 0.2], [0.5, 0.25, 0.25])}
VIEWS = {'labeled': LABELED, 'weak': WEAK, 'strong': STRONG}
JOINT = {'labeled': LABELED, 'unlabeled': WEAK}


def test_the_loss_by_hand():
  objective = fixmatch(Identity(), num_classes=3, threshold=0.9, lambda_u=2.0)
  params, extras = objective.init(KEY, JOINT)
  value, (after, scalars) = objective.loss(params, extras, VIEWS, KEY)
  supervised = (np.log(2) + np.log(5)) / 2
  # The first and last are sure, of 0 (which the strong view makes 0.25) and 2 (0.25).
  unsupervised = (np.log(4) + np.log(4)) / 3
  assert value == pytest.approx(supervised + 2 * unsupervised, rel=1e-6)
  assert scalars['supervised_loss'] == pytest.approx(supervised, rel=1e-6)
  assert scalars['unsupervised_loss'] == pytest.approx(unsupervised, rel=1e-6)
  assert scalars['accuracy'] == 0.5
  assert scalars['mask_rate'] == pytest.approx(2 / 3)
  assert scalars['pseudo_label_accuracy'] == 0.5  # of the two that are taken
  assert after == extras == {'model': {}}


def test_the_labels_of_unlabeled_examples_are_for_the_log_alone():
  objective = fixmatch(Identity(), num_classes=3, threshold=0.9)
  _, extras = objective.init(KEY, JOINT)
  without = {**VIEWS, 'weak': {'image': WEAK['image']}}
  grads = [
    jax.grad(lambda p, b=b: objective.loss(p, extras, b, KEY)[0])(ZERO) for b in (VIEWS, without)
  ]
  chex.assert_trees_all_equal(*grads)
  assert 'pseudo_label_accuracy' not in objective.loss(ZERO, extras, without, KEY)[1][1]


@pytest.mark.parametrize('threshold', [0.9, 0.90001])
def test_the_mask_is_exact_at_the_threshold(threshold):
  probabilities = jnp.array([[0.9, 0.1], [0.5, 0.5], [0.05, 0.95]], jnp.float32)
  classes, taken = confident(probabilities, threshold)
  assert classes.tolist() == [0, 0, 1]
  assert taken.tolist() == [float(threshold == 0.9), 0.0, 1.0]


def test_no_gradient_passes_through_the_weak_view():
  objective = fixmatch(Identity(), num_classes=3, threshold=0.0)
  _, extras = objective.init(KEY, JOINT)
  value = lambda image: objective.loss(ZERO, extras, {**VIEWS, 'weak': {'image': image}}, KEY)[0]
  assert not np.any(jax.grad(value)(WEAK['image'][:1].repeat(3, 0)))


def data(key, size):
  image_key, label_key = jax.random.split(key)
  return {
    'image': jax.random.normal(image_key, (size, 4)),
    'label': jax.random.randint(label_key, (size,), 0, 3),
  }


def test_above_threshold_1_the_gradient_is_the_supervised_one():
  module = MLP(widths=(5,), num_classes=3, norm='layer')
  labeled, unlabeled, strong = (data(jax.random.key(i), n) for i, n in enumerate((6, 8, 8)))
  batch = {'labeled': labeled, 'weak': unlabeled, 'strong': strong}
  plain = classification(module, num_classes=3, label_smoothing=0.1)
  params, collections = jax.jit(plain.init)(KEY, labeled)
  gradient_of = lambda objective: jax.jit(jax.grad(objective.loss, has_aux=True))
  expected = gradient_of(plain)(params, collections, labeled, KEY)[0]

  def gradient(threshold):
    objective = fixmatch(module, num_classes=3, threshold=threshold, label_smoothing=0.1)
    extras = {'model': collections}
    return gradient_of(objective)(params, extras, batch, KEY)[0]

  chex.assert_trees_all_close(gradient(1.01), expected, rtol=1e-5, atol=1e-7)
  differs = jax.tree.map(lambda a, b: bool(jnp.any(jnp.abs(a - b) > 1e-3)), gradient(0.4), expected)
  assert any(jax.tree.leaves(differs))


def test_alignment_by_hand():
  probabilities = jnp.array([[0.5, 0.5], [0.9, 0.1]])
  aligned = align(probabilities, jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2]))
  # Times (5/8, 5/2): (0.3125, 1.25) and (0.5625, 0.25), normalised.
  np.testing.assert_allclose(aligned, [[0.2, 0.8], [9 / 13, 4 / 13]], rtol=1e-6)
  wanted = jnp.array([0.3, 0.7])
  np.testing.assert_allclose(align(wanted[None], wanted, wanted), wanted[None], rtol=1e-6)


def test_alignment_follows_running_averages_of_labels_and_predictions():
  objective = fixmatch(Identity(), num_classes=3, threshold=0.9, alignment_decay=0.5)
  params, extras = objective.init(KEY, JOINT)
  np.testing.assert_allclose(extras['alignment']['labels'], [1 / 3] * 3)
  _, (after, scalars) = objective.loss(params, extras, VIEWS, KEY)
  labels, predictions = np.array([0.5, 0.5, 0]), np.mean(np.exp(WEAK['image']), axis=0)
  labels, predictions = 1 / 6 + labels / 2, 1 / 6 + predictions / 2
  np.testing.assert_allclose(after['alignment']['labels'], labels, rtol=1e-5)
  np.testing.assert_allclose(after['alignment']['predictions'], predictions, rtol=1e-5)
  assert scalars['mask_rate'] == pytest.approx(2 / 3)  # by the averages before this batch
  # The class 2 becomes rare among labels, so that 0.95 of it is no longer certain.
  of_last = np.array([0.05, 0, 0.95]) * labels / predictions
  assert of_last[2] / of_last.sum() < 0.9
  _, (_, scalars) = objective.loss(params, after, VIEWS, KEY)
  assert scalars['mask_rate'] == pytest.approx(1 / 3)


def test_the_teacher_averages_makes_the_pseudo_labels_and_is_what_is_used():
  objective = fixmatch(Identity(), num_classes=3, threshold=0.9, teacher_decay=0.75)
  params, extras = objective.init(KEY, JOINT)
  new = {'bias': jnp.array([4.0, 0.0, 0.0])}
  extras = objective.refresh(extras, new, jnp.int32(1))
  np.testing.assert_allclose(extras['teacher']['bias'], [1.0, 0, 0])
  chex.assert_trees_all_equal(objective.variables(params, extras)['params'], extras['teacher'])
  assert objective.predict is not None
  logits = objective.predict(params, extras, LABELED)
  np.testing.assert_allclose(logits, LABELED['image'] + jnp.array([[1.0, 0, 0]]), rtol=1e-6)
  # e * 0.05 of the last weak view is 0.125 of its whole: no longer sure.
  assert objective.loss(params, extras, VIEWS, KEY)[1][1]['mask_rate'] == pytest.approx(1 / 3)
  adopted = objective.adopt(params, extras, {'params': new})
  chex.assert_trees_all_equal(objective.variables(*adopted)['params'], new)


class Normed(nn.Module):
  """Logits without a mean: that of the batch is taken away, or one that was measured long ago."""

  @nn.compact
  def __call__(self, x, *, train):
    x = x + self.param('bias', nn.initializers.zeros, (x.shape[-1],))[None]
    average = self.variable('batch_stats', 'mean', jnp.zeros, x.shape[-1:])
    mean = jnp.mean(x, axis=0)
    if train and not self.is_initializing():
      average.value = 0.9 * average.value + 0.1 * mean
    return x - (mean if train else average.value)[None]


@pytest.mark.parametrize('joint', [False, True])
def test_joint_pseudo_labels_are_by_the_statistics_of_the_batch(joint):
  far = lambda part: {**part, 'image': part['image'] + jnp.array([[7.0, 0.0, 0.0]])}
  batch = {
    'labeled': LABELED,
    'weak': {**WEAK, 'image': rows([0.9, 0.05, 0.05], [0.3, 0.4, 0.3], [0.05, 0.05, 0.9])},
    'strong': STRONG,
  }
  objective = fixmatch(Normed(), num_classes=3, threshold=0.9, joint=joint)
  params, extras = objective.init(KEY, JOINT)
  value, (after, scalars) = objective.loss(params, extras, batch, KEY)
  moved, (_, moved_scalars) = objective.loss(
    params, extras, jax.tree.map(far, batch, is_leaf=is_part), KEY
  )
  # Of all eight examples, or of the five that are learnt from.
  views = ('labeled', 'weak', 'strong') if joint else ('labeled', 'strong')
  mean = jnp.concatenate([batch[part]['image'] for part in views]).mean(0)
  np.testing.assert_allclose(after['model']['batch_stats']['mean'], 0.1 * mean, rtol=1e-5)
  guesses = jax.nn.softmax(batch['weak']['image'] - (mean[None] if joint else 0.0))
  assert scalars['mask_rate'] == pytest.approx(np.mean(guesses.max(-1) >= 0.9))
  # What all examples have in common, batch norm takes away; running averages do not know it yet.
  assert (float(moved) == pytest.approx(float(value), rel=1e-4)) == joint
  assert (moved_scalars['mask_rate'] == scalars['mask_rate']) == joint


def is_part(x):
  return 'image' in x


def test_joint_takes_no_gradient_from_pseudo_labels():
  objective = fixmatch(Identity(), num_classes=3, threshold=0.9)
  joint = fixmatch(Identity(), num_classes=3, threshold=0.9, joint=True)
  _, extras = objective.init(KEY, JOINT)
  grads = [
    jax.grad(lambda p, o=o: o.loss(p, extras, VIEWS, KEY)[0])(ZERO) for o in (objective, joint)
  ]
  chex.assert_trees_all_close(*grads, rtol=1e-6)  # without batch norm it is all the same


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'threshold': -0.1}, 'threshold and lambda_u must be >= 0'),
    ({'teacher_decay': 1.0}, r'teacher_decay must be in \[0, 1\)'),
    ({'joint': True, 'teacher_decay': 0.9}, 'joint has the trained model make the pseudo-labels'),
    ({'alignment_decay': -0.5}, r'alignment_decay must be in \[0, 1\)'),
  ],
)
def test_options_out_of_range(options, message):
  with pytest.raises(ValueError, match=message):
    fixmatch(Identity(), num_classes=3, **options)


def test_a_batch_without_parts_is_refused_with_what_makes_them():
  with pytest.raises(ValueError, match="loader='semi_supervised'"):
    fixmatch(Identity(), num_classes=3).init(KEY, LABELED)
