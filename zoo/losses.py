"""Losses where optax stops: smoothing of both kinds of labels, means with weights."""

import jax
import jax.numpy as jnp
import optax

from zoo.types import Array


def softmax_cross_entropy(logits: Array, labels: Array, label_smoothing: float = 0.0) -> Array:
  """The cross-entropy of each example, in nats.

  Args:
    logits: [..., C], computed with in float32.
    labels: integer [...], or distributions [..., C] of a floating type.
    label_smoothing: share a of the target spread evenly: (1 - a) * target + a / C.

  Returns:
    float32 [...]. It is NaN where an integer label is C or more.

  Raises:
    ValueError: labels whose shape does not fit the logits, or a smoothing outside [0, 1].

  References:
    Szegedy et al. 2016, Rethinking the Inception Architecture, section 7.
  """
  hard = jnp.issubdtype(labels.dtype, jnp.integer)
  expected = logits.shape[:-1] if hard else logits.shape
  if labels.shape != expected:
    raise ValueError(
      f'{labels.dtype} labels for logits {logits.shape} must be {expected}, not {labels.shape}'
    )
  if not 0 <= label_smoothing <= 1:
    raise ValueError(f'label_smoothing must be in [0, 1], not {label_smoothing}')
  logits = logits.astype(jnp.float32)
  if hard:
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  else:
    loss = optax.softmax_cross_entropy(logits, labels.astype(jnp.float32))
  if label_smoothing:
    # Cross-entropy is linear in the target, so integer labels need not become one-hot vectors.
    even = jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
    loss = (1 - label_smoothing) * loss + label_smoothing * even
  return loss


def weighted_mean(
  values: Array, weights: Array | None = None, axis_name: str | None = None
) -> Array:
  """sum(w * v) / sum(w) over all examples of all devices, as a term of a mean over the devices.

  Under pmap the training step takes the mean over n devices of losses and gradients. Since the sums
  of weights may differ between devices, this returns n * (local sum of w * v) / (global sum of w).
  Its mean over the devices is exactly the weighted mean of all, and so are its gradients.

  Args:
    values: float [...].
    weights: float, same shape; None for a plain mean (all devices then hold equally many values).
      Where a weight is 0 the value does not count even if it is not finite.
    axis_name: the mapped axis, under pmap.

  Returns:
    float []; 0 if all weights are 0.

  Raises:
    ValueError: weights of another shape.
  """
  if weights is None:
    return jnp.mean(values)
  if weights.shape != values.shape:
    raise ValueError(
      f'weights must have the shape {values.shape} of the values, not {weights.shape}'
    )
  numerator = jnp.sum(jnp.where(weights == 0, 0.0, weights * values))
  denominator = jnp.sum(weights)
  if axis_name is not None:
    numerator *= jax.lax.axis_size(axis_name)
    denominator = jax.lax.psum(denominator, axis_name)
  return numerator / jnp.where(denominator == 0, 1.0, denominator)
