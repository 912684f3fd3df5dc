"""Distillation: nothing but classification at alpha 0, and by hand beyond it."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import MLP
from zoo.objectives.classification import classification
from zoo.objectives.distillation import distillation, softened_divergence

KEY = jax.random.key(0)
BATCH = {
  'image': jax.random.normal(jax.random.key(1), (6, 4)),
  'label': jnp.array([0, 1, 2, 0, 1, 2]),
  'weight': jnp.array([1.0, 1, 1, 1, 0, 0.5]),
}
STUDENT, TEACHER = MLP(widths=(3,), num_classes=3), MLP(widths=(5,), norm='batch', num_classes=3)


def test_divergence_by_hand():
  teacher, student = jnp.log(jnp.array([[9.0, 1.0]])), jnp.zeros((1, 2))
  # At T = 2 the teacher says softmax(log 3, 0) = (3/4, 1/4), the student (1/2, 1/2).
  expected = 4 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5))
  np.testing.assert_allclose(softened_divergence(teacher, student, 2.0), [expected], rtol=1e-5)
  np.testing.assert_allclose(softened_divergence(teacher, teacher + 5, 2.0), [0.0], atol=1e-6)


def objective_and_gradient(alpha):
  objective = distillation(STUDENT, num_classes=3, teacher=TEACHER, alpha=alpha)
  params, extras = jax.jit(objective.init)(KEY, BATCH)
  gradient = jax.jit(jax.grad(objective.loss, has_aux=True))
  return (params, extras), *gradient(params, extras, BATCH, KEY)


def test_alpha_0_is_classification():
  (params, _), gradient, (_, scalars) = objective_and_gradient(0.0)
  plain = classification(STUDENT, num_classes=3)
  expected = jax.jit(jax.grad(plain.loss, has_aux=True))
  want, (_, want_scalars) = expected(params, {}, BATCH, KEY)
  chex.assert_trees_all_close(gradient, want, rtol=1e-5, atol=1e-7)
  for name, value in want_scalars.items():
    assert scalars[name] == pytest.approx(float(value), rel=1e-5)


def test_at_alpha_1_labels_teach_nothing_and_the_teacher_does_not_learn():
  (_, extras), gradient, (after, scalars) = objective_and_gradient(1.0)
  objective = distillation(STUDENT, num_classes=3, teacher=TEACHER, alpha=1.0)
  params, _ = jax.jit(objective.init)(KEY, BATCH)
  other = {**BATCH, 'label': (BATCH['label'] + 1) % 3}
  again, _ = jax.jit(jax.grad(objective.loss, has_aux=True))(params, extras, other, KEY)
  chex.assert_trees_all_equal(gradient, again)
  assert norm(gradient) > 1e-3
  chex.assert_trees_all_equal(after['teacher'], extras['teacher'])  # batch statistics too
  assert set(extras['teacher']) == {'params', 'batch_stats'}
  assert scalars['loss'] == scalars['teacher_loss']
  assert set(objective.variables(params, extras)) == {'params'}  # the student's alone


def norm(tree):
  return float(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree))) ** 0.5


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'alpha': 1.5}, r'alpha in \[0, 1\]'),
    ({'temperature': 0.0}, 'temperature must be > 0'),
    ({'teacher': None}, 'config.train.teacher, the directory of a run'),
  ],
)
def test_options_that_make_no_sense(options, message):
  with pytest.raises(ValueError, match=message):
    distillation(STUDENT, **{'num_classes': 3, 'teacher': TEACHER, **options})


def test_a_teacher_of_other_classes_is_refused():
  objective = distillation(STUDENT, num_classes=3, teacher=Wide())
  with pytest.raises(ValueError, match='not logits of 3 classes'):
    objective.init(KEY, BATCH)


class Wide(nn.Module):
  @nn.compact
  def __call__(self, x, *, train):
    return nn.Dense(4)(x)
