"""Losses where optax stops: smoothing of both kinds of labels, means with weights, chunks."""

from collections.abc import Callable
from typing import Any

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
    float32 [...]. It is NaN where an integer label is not in [0, C).

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
  normalizer = jax.nn.logsumexp(logits, axis=-1)
  if hard:
    loss = normalizer - label_logits(logits, labels)
  else:
    loss = optax.softmax_cross_entropy(logits, labels.astype(jnp.float32))
  if label_smoothing:
    # Cross-entropy is linear in the target, so integer labels need not become one-hot vectors.
    even = normalizer - jnp.mean(logits, axis=-1)
    loss = (1 - label_smoothing) * loss + label_smoothing * even
  return loss


def label_logits(logits: Array, labels: Array) -> Array:
  """The logit of each label, [...], of logits [..., C] and integer labels [...]; NaN if outside.

  A masked sum, not a gather: the gradient of a gather is a scatter into zeros of the size of the
  logits, which for a vocabulary is most of the loss's time on a CPU; this one fuses with the rest.
  Where the classes are spread over devices it needs no exchange of logits either.
  """
  C, labels = logits.shape[-1], labels.astype(jnp.int32)
  classes = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
  at_label = classes == labels[..., None]
  found = jnp.sum(jnp.where(at_label, logits, 0), axis=-1)
  return jnp.where((labels >= 0) & (labels < C), found, jnp.nan)


def over_chunks(fn: Callable[..., Any], size: int, *arrays: Array) -> Any:
  """fn(*arrays) for a `fn` that treats each position alike, in chunks along axis 1.

  What `fn` makes inside exists for one chunk at a time, in the backward pass too, where it is
  computed again: with a vocabulary of 50k the logits are most of a step's memory. The batch axis
  stays whole, so that it may be spread over devices.

  Args:
    fn: ([B, size, ...], ...) -> a tree of arrays [B, size, ...].
    size: positions in a chunk; 0 for all at once.
    *arrays: [B, T, ...] each.

  Raises:
    ValueError: a size that does not divide T.
  """
  T = arrays[0].shape[1]
  if size in (0, T):
    return fn(*arrays)
  if T % size:
    raise ValueError(f'chunks of {size} positions do not divide a sequence of {T}')
  split = lambda x: jnp.moveaxis(x.reshape(x.shape[0], T // size, size, *x.shape[2:]), 1, 0)
  join = lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], T, *x.shape[3:])
  chunks = jax.lax.map(lambda x: jax.checkpoint(fn)(*x), tuple(map(split, arrays)))
  return jax.tree.map(join, chunks)


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


def non_saturating(real: Array, fake: Array) -> tuple[Array, Array]:
  """The losses of discriminator and generator, as of their logits, [B] each.

  References:
    Goodfellow et al. 2014, Generative Adversarial Networks, section 3.
  """
  return jax.nn.softplus(-real) + jax.nn.softplus(fake), jax.nn.softplus(-fake)


def hinge(real: Array, fake: Array) -> tuple[Array, Array]:
  """The same with a margin of 1.

  References:
    Lim and Ye 2017, Geometric GAN, section 3. Miyato et al. 2018, equations 16 and 17.
  """
  return jax.nn.relu(1 - real) + jax.nn.relu(1 + fake), -fake


def wasserstein(real: Array, fake: Array) -> tuple[Array, Array]:
  """The same for a critic, whose scores are no logits; it needs a gradient penalty.

  References:
    Arjovsky et al. 2017, Wasserstein Generative Adversarial Networks.
  """
  return fake - real, -fake


ADVERSARIAL = {'non_saturating': non_saturating, 'hinge': hinge, 'wasserstein': wasserstein}


def squared_gradient_norms(score: Callable[[Array], Array], x: Array) -> Array:
  """|d score_b / d x_b|^2 of every example, float32 [B], for scores [B] of inputs [B, ...].

  Of a `score` that looks at each example by itself: what one owes to another is added to it.
  """
  slopes = jax.grad(lambda x: jnp.sum(score(x)))(x).astype(jnp.float32)
  return jnp.sum(jnp.square(slopes), axis=tuple(range(1, x.ndim)))


def slope_penalty(squares: Array) -> Array:
  """(|gradient| - 1)^2, [B], of squared norms [B].

  References:
    Gulrajani et al. 2017, Improved Training of Wasserstein GANs, equation 3.
  """
  # The root's own slope has no bound at 0.
  return jnp.square(jnp.sqrt(squares + 1e-12) - 1)
