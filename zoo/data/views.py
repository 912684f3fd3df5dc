"""Views: copies of the same examples, each augmented in its own way, that an objective compares."""

import jax

from zoo.data.augment import Augmentation
from zoo.types import Array, Batch


def weak_and_strong(augment: Augmentation, strong: Augmentation) -> Augmentation:
  """Of {'labeled', 'unlabeled'} makes {'labeled', 'weak', 'strong'}: two views of the unlabelled.

  The labelled examples are augmented weakly. A batch without parts, as in evaluation, stays as it
  is.

  Args:
    augment: weak; for what predictions are taken from.
    strong: for what is to be predicted alike.
  """

  def apply(key: Array, batch: Batch) -> Batch:
    if 'unlabeled' not in batch:
      return batch
    keys = jax.random.split(key, 3)
    return {
      'labeled': augment(keys[0], batch['labeled']),
      'weak': augment(keys[1], batch['unlabeled']),
      'strong': strong(keys[2], batch['unlabeled']),
    }

  return apply


def original_and_copy(augment: Augmentation) -> Augmentation:
  """Of a batch makes {'first', 'second'}: the examples as they are, and augmented."""

  def apply(key: Array, batch: Batch) -> Batch:
    return {'first': batch, 'second': augment(key, batch)}

  return apply


def two(augment: Augmentation) -> Augmentation:
  """Of a batch makes {'first', 'second'}: the same examples, augmented twice."""

  def apply(key: Array, batch: Batch) -> Batch:
    keys = jax.random.split(key)
    return {'first': augment(keys[0], batch), 'second': augment(keys[1], batch)}

  return apply
