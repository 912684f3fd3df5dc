"""Classification: a batch of inputs, and for each a class or a distribution over classes."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from zoo.losses import softmax_cross_entropy, weighted_mean
from zoo.metrics import ClassificationMetrics
from zoo.names import unknown
from zoo.types import Array, Batch, Objective, PyTree, Scalars, parted


def classification(
  module: nn.Module,
  *,
  num_classes: int,
  input_key: str = 'image',
  label_smoothing: float = 0.0,
  class_weights: tuple[float, ...] = (),
  axis_name: str | None = None,
) -> Objective:
  """Softmax cross-entropy.

  A batch holds the input [B, ...], 'label' (integer [B], or float [B, C], whose greatest entry then
  is the class that accuracy asks for) and optionally 'weight', float [B].

  The loss is a mean over examples, weighted by batch['weight'] times the weight of the class (of a
  distribution: the mean weight under it). The scalars are 'loss' and 'accuracy'; smoothing and
  class weights enter the former alone. They do not enter `evaluate`: its loss is the plain
  cross-entropy, comparable between runs. Its sums are those of one device, for the caller to add.
  `predict` returns logits, float32 [B, C].

  Args:
    module: takes (x, train) and returns logits [B, C]. What it holds beside parameters goes
      into extras ({} if nothing); 'dropout' is the random stream it may use in training.
    num_classes: C.
    input_key: the leaf of the batch that the module takes.
    label_smoothing: in [0, 1], see `losses.softmax_cross_entropy`.
    class_weights: C of them, >= 0, or () for all alike.
    axis_name: the mapped axis, under pmap. The module must have been given the same, so
      that devices agree on its batch statistics.

  Raises:
    ValueError: an option out of its range; when called, a batch or a module that does not fit.
  """
  if not 0 <= label_smoothing <= 1:
    raise ValueError(f'label_smoothing must be in [0, 1], not {label_smoothing}')
  if class_weights and len(class_weights) != num_classes:
    raise ValueError(f'class_weights must be {num_classes} numbers, not {len(class_weights)}')
  if any(w < 0 for w in class_weights) or (class_weights and not any(class_weights)):
    raise ValueError(f'class_weights must be >= 0 and not all 0, not {class_weights}')

  def check(outputs: Any) -> Array:
    if outputs.shape[1:] != (num_classes,):
      raise ValueError(f'the module returns {outputs.shape}, not logits of {num_classes} classes')
    return outputs.astype(jnp.float32)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    # Shapes do not depend on the number of examples, so one is enough.
    variables = module.init(key, read_input(batch, input_key)[:1], train=False)
    return parted(variables)

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    logits, extras = module.apply(
      {'params': params, **extras},
      read_input(batch, input_key),
      train=True,
      rngs={'dropout': key},
      mutable=list(extras),
    )
    logits = check(logits)
    labels, weights = batch['label'], batch.get('weight')
    losses = softmax_cross_entropy(logits, labels, label_smoothing)
    value = weighted_mean(losses, class_weighted(labels, weights), axis_name)
    correct = (jnp.argmax(logits, axis=-1) == true_class(labels)).astype(jnp.float32)
    accuracy = weighted_mean(correct, weights, axis_name)
    return value, (extras, {'loss': value, 'accuracy': accuracy})

  def class_weighted(labels: Array, weights: Array | None) -> Array | None:
    if not class_weights:
      return weights
    of_class = jnp.asarray(class_weights, jnp.float32)
    hard = jnp.issubdtype(labels.dtype, jnp.integer)
    of_example = of_class[labels] if hard else labels.astype(jnp.float32) @ of_class
    return of_example if weights is None else weights * of_example

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    variables = {'params': params, **extras}
    return check(module.apply(variables, read_input(batch, input_key), train=False))

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> ClassificationMetrics:
    del key
    logits, labels = predict(params, extras, batch), batch['label']
    losses = softmax_cross_entropy(logits, labels)
    return ClassificationMetrics.from_logits(
      logits, true_class(labels), losses, batch.get('weight')
    )

  return Objective(init, loss, evaluate, predict=predict)


def true_class(labels: Array) -> Array:
  """The class of each example, integer [B]; of a distribution, where it is greatest."""
  return labels if jnp.issubdtype(labels.dtype, jnp.integer) else jnp.argmax(labels, axis=-1)


def read_input(batch: Batch, input_key: str) -> Array:
  """The leaf of the batch that the module takes."""
  if input_key not in batch:
    raise unknown('input of the batch', input_key, batch)
  return batch[input_key]
