"""Augmentations that mix examples, labels included: mixup and cutmix."""

import jax
import jax.numpy as jnp

from zoo.data.augment import Augmentation, float_images, lerp, random_boxes
from zoo.types import Array, Batch


def mixup(alpha: float = 0.2, num_classes: int = 0) -> Augmentation:
  """Replaces each example by a convex combination with another: lam * x_i + (1 - lam) * x_j.

  Args:
    alpha: lam ~ Beta(alpha, alpha), drawn for each pair.
    num_classes: C; needed where labels are integers [B]. They come out soft, float32 [B, C].

  Raises:
    ValueError: if alpha is not positive or, on tracing, if the labels do not fit `num_classes`.

  References:
    Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018, section 2.
  """
  _check_alpha('mixup', alpha)

  def apply(key: Array, batch: Batch) -> Batch:
    images = float_images('mixup', batch)
    labels = soft_labels('mixup', batch['label'], num_classes)
    lam = jax.random.beta(key, alpha, alpha, (images.shape[0],))
    images = lerp(_partner(images), images, lam[:, None, None, None].astype(images.dtype))
    labels = lerp(_partner(labels), labels, lam[:, None])
    return {**batch, 'image': images, 'label': labels}

  return apply


def cutmix(alpha: float = 1.0, num_classes: int = 0) -> Augmentation:
  """Pastes a box of another example into each; labels are mixed by the share of pixels.

  The box has the image's proportions and the share 1 - lam of its area. What lies over the border
  is cut off, and the labels follow the area that is left.

  Args:
    alpha: lam ~ Beta(alpha, alpha), drawn for each pair.
    num_classes: C; needed where labels are integers [B]. They come out soft, float32 [B, C].

  Raises:
    ValueError: if alpha is not positive or, on tracing, if the labels do not fit `num_classes`.

  References:
    Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers, 2019, section 3.1.
  """
  _check_alpha('cutmix', alpha)

  def apply(key: Array, batch: Batch) -> Batch:
    images = batch['image']
    labels = soft_labels('cutmix', batch['label'], num_classes)
    b, h, w, _ = images.shape
    lam_key, box_key = jax.random.split(key)
    side = jnp.sqrt(1.0 - jax.random.beta(lam_key, alpha, alpha, (b,)))
    heights, widths = (side * h).astype(jnp.int32), (side * w).astype(jnp.int32)
    inside = random_boxes(box_key, heights, widths, images.shape)
    pasted = jnp.mean(inside, axis=(1, 2, 3))  # [B], the share after clipping
    images = jnp.where(inside, _partner(images), images)
    labels = lerp(labels, _partner(labels), pasted[:, None])
    return {**batch, 'image': images, 'label': labels}

  return apply


def soft_labels(name: str, labels: Array, num_classes: int) -> Array:
  """Returns float32 [B, C] from integers [B] or from labels that are soft already."""
  if jnp.issubdtype(labels.dtype, jnp.integer):
    if num_classes < 1:
      raise ValueError(f'{name}: integer labels need num_classes, got {num_classes}')
    return jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
  if num_classes and labels.shape[-1] != num_classes:
    raise ValueError(
      f'{name}: labels have {labels.shape[-1]} classes, num_classes is {num_classes}'
    )
  return labels.astype(jnp.float32)


def _check_alpha(name: str, alpha: float) -> None:
  if not alpha > 0:
    raise ValueError(f'{name}: alpha must be positive, got {alpha}')


def _partner(x: Array) -> Array:
  # Batches arrive shuffled, so the next example is as random as any. Unlike a permutation this
  # never pairs an example with itself, and sharded examples move by one instead of being gathered.
  return jnp.roll(x, -1, axis=0)
