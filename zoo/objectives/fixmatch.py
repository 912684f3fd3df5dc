"""FixMatch: learning from a few labels, and from confident predictions on the rest."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.losses import softmax_cross_entropy, weighted_mean
from zoo.metrics import ClassificationMetrics
from zoo.objectives.classification import classification, read_input, true_class
from zoo.types import Array, Batch, Objective, PyTree, Scalars, as_variables


def fixmatch(
  module: nn.Module,
  *,
  num_classes: int,
  input_key: str = 'image',
  threshold: float = 0.95,
  lambda_u: float = 1.0,
  label_smoothing: float = 0.0,
  teacher_decay: float = 0.0,
  alignment_decay: float = 0.0,
  joint: bool = False,
  axis_name: str | None = None,
) -> Objective:
  """Cross-entropy of labels, and of pseudo-labels where the model is sure of them.

  The batches of the loss are {'labeled', 'weak', 'strong'}: labelled examples, and two views of the
  same unlabelled ones (`data.views.weak_and_strong`). The class that is likeliest given the weak
  view is the pseudo-label of the strong one, if its probability reaches the threshold. The
  loss is the mean over labelled examples plus lambda_u times the mean over *all* unlabelled ones,
  in which those without a pseudo-label count as 0. Batches of `init` have the parts 'labeled' and
  'unlabeled'; those of `evaluate` and `predict` have none, as in `classification`.

  Pseudo-labels are predictions as in evaluation: without dropout and by running statistics. The
  other two views pass through the module together, so that batch statistics are of both. With
  `joint` all three pass at once, as published: pseudo-labels are predictions as in training, by the
  statistics of this very batch, which no running average lags behind. Batch norm needs that; other
  norms do not, and it takes longer: the weak view, from whose logits no gradient comes, is carried
  through the backward pass too.

  The scalars are 'loss', 'supervised_loss', 'unsupervised_loss', 'accuracy' (of the labelled
  batch), 'mask_rate' (the share of unlabelled examples with a pseudo-label) and, where those have a
  'label', 'pseudo_label_accuracy' (of these; the labels are used for nothing else).

  Extras are {'model': the module's collections} with 'teacher' and 'alignment', if asked for.

  Args:
    module: as in `classification`.
    num_classes: C.
    input_key: the leaf that the module takes.
    threshold: of the probability; above 1 there are no pseudo-labels.
    lambda_u: weight of the unlabelled examples.
    label_smoothing: of the labelled ones alone.
    teacher_decay: of an average of the parameters that makes the pseudo-labels, and is what is
      evaluated and used; 0 for none. To have it evaluate alone, as published, wrap `with_ema`.
    alignment_decay: of the running averages of labels and predictions, before this batch, that
      predictions are aligned by, see `align`; 0 for no alignment.
    joint: whether the weak view passes through the module with the others, in training.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range; when called, a batch that does not fit.

  References:
    Sohn et al. 2020, FixMatch: Simplifying Semi-Supervised Learning with Consistency and
    Confidence, section 2 and (alignment) 2.5. Tarvainen and Valpola 2017, Mean teachers are better
    role models.
  """
  if threshold < 0 or lambda_u < 0:
    raise ValueError(f'threshold and lambda_u must be >= 0, not {threshold} and {lambda_u}')
  for name, decay in (('teacher_decay', teacher_decay), ('alignment_decay', alignment_decay)):
    if not 0 <= decay < 1:
      raise ValueError(f'{name} must be in [0, 1), not {decay}')
  if joint and teacher_decay:
    raise ValueError('joint has the trained model make the pseudo-labels, teacher_decay an average')
  supervised = classification(module, num_classes=num_classes, input_key=input_key)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    if 'labeled' not in batch or 'unlabeled' not in batch:
      raise ValueError(
        "fixmatch needs batches with the parts 'labeled' and 'unlabeled', as "
        "config.data.loader='semi_supervised' makes them"
      )
    params, collections = supervised.init(key, batch['labeled'])
    extras = {'model': collections}
    if teacher_decay:
      extras['teacher'] = jax.tree.map(jnp.copy, params)
    if alignment_decay:
      even = jnp.full((num_classes,), 1 / num_classes)
      extras['alignment'] = {'labels': even, 'predictions': jnp.copy(even)}
    return params, extras

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    labeled, weak, strong = (batch[part] for part in ('labeled', 'weak', 'strong'))
    views = [
      read_input(x, input_key) for x in ((labeled, weak, strong) if joint else (labeled, strong))
    ]
    logits, model = module.apply(
      {'params': params, **extras['model']},
      jnp.concatenate(views),
      train=True,
      rngs={'dropout': key},
      mutable=list(extras['model']),
    )
    frozen = jax.lax.stop_gradient(params)
    ends = [len(view) for view in views[:-1]]
    of_labels, *of_weak, of_strong = jnp.split(logits.astype(jnp.float32), np.cumsum(ends))
    of_weak = of_weak[0] if joint else predict(frozen, extras, weak)
    guesses = jax.nn.softmax(jax.lax.stop_gradient(of_weak))
    extras = extras | {'model': model}
    if alignment_decay:
      averages = extras['alignment']
      extras['alignment'] = track(averages, labeled['label'], guesses)
      guesses = align(guesses, averages['labels'], averages['predictions'])
    pseudo_labels, mask = confident(guesses, threshold)

    weights = labeled.get('weight')
    losses = softmax_cross_entropy(of_labels, labeled['label'], label_smoothing)
    supervised_loss = weighted_mean(losses, weights, axis_name)
    unsupervised_loss = jnp.mean(mask * softmax_cross_entropy(of_strong, pseudo_labels))
    value = supervised_loss + lambda_u * unsupervised_loss

    correct = jnp.argmax(of_labels, axis=-1) == true_class(labeled['label'])
    scalars = {
      'loss': value,
      'supervised_loss': supervised_loss,
      'unsupervised_loss': unsupervised_loss,
      'accuracy': weighted_mean(correct.astype(jnp.float32), weights, axis_name),
      'mask_rate': jnp.mean(mask),
    }
    if 'label' in weak:
      right = (pseudo_labels == true_class(weak['label'])).astype(jnp.float32)
      scalars['pseudo_label_accuracy'] = weighted_mean(right, mask, axis_name)
    return value, (extras, scalars)

  def track(averages: PyTree, labels: Array, guesses: Array) -> PyTree:
    hard = jnp.issubdtype(labels.dtype, jnp.integer)
    labels = jax.nn.one_hot(labels, num_classes) if hard else labels.astype(jnp.float32)
    means = {'labels': jnp.mean(labels, axis=0), 'predictions': jnp.mean(guesses, axis=0)}
    if axis_name is not None:
      means = jax.lax.pmean(means, axis_name)
    return optax.incremental_update(means, averages, 1 - alignment_decay)

  def refresh(extras: PyTree, params: PyTree, step: Array) -> PyTree:
    del step
    if not teacher_decay:
      return extras
    return extras | {
      'teacher': optax.incremental_update(params, extras['teacher'], 1 - teacher_decay)
    }

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    assert supervised.predict is not None
    return supervised.predict(extras.get('teacher', params), extras['model'], batch)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> ClassificationMetrics:
    sums = supervised.evaluate(extras.get('teacher', params), extras['model'], batch, key)
    assert isinstance(sums, ClassificationMetrics)
    return sums

  def variables(params: PyTree, extras: PyTree) -> PyTree:
    return {'params': extras.get('teacher', params), **extras['model']}

  def adopt(params: PyTree, extras: PyTree, variables: PyTree) -> tuple[PyTree, PyTree]:
    params, model = as_variables(params, extras['model'], variables)
    copied = {'teacher': jax.tree.map(jnp.copy, params)} if teacher_decay else {}
    return params, extras | copied | {'model': model}

  return Objective(init, loss, evaluate, refresh, predict, variables, adopt)


def confident(probabilities: Array, threshold: float) -> tuple[Array, Array]:
  """The likeliest class of each example, integer [B], and whether it is taken, float32 [B]."""
  taken = jnp.max(probabilities, axis=-1) >= threshold
  return jnp.argmax(probabilities, axis=-1), taken.astype(jnp.float32)


def align(probabilities: Array, wanted: Array, seen: Array) -> Array:
  """Distributions [B, C] times wanted / seen, each normalised again.

  If `seen` is the mean of all, those that come out have about the mean `wanted`: without it,
  classes that are predicted often at first would be predicted ever more often.

  Args:
    probabilities: [B, C].
    wanted: [C], how frequent the classes are.
    seen: [C], how probable they were on average.

  References:
    Berthelot et al. 2020, ReMixMatch, section 3.1.
  """
  scaled = probabilities * (wanted / seen)[None, :]
  return scaled / jnp.sum(scaled, axis=-1, keepdims=True)
