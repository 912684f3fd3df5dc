"""What the objectives over tokens share: how the tokens of a batch are scored and counted."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.losses import label_logits, over_chunks, softmax_cross_entropy, weighted_mean
from zoo.metrics import TokenMetrics
from zoo.types import Array, PyTree, Scalars


class Scores(NamedTuple):
  """Of each token: its cross-entropy in nats, whether it was the likeliest, and log Z."""

  losses: Array
  correct: Array
  log_z: Array


def apply(module: nn.Module, params: PyTree, method: str, *args: Any, **options: Any) -> Any:
  """Calls a method of a module that has parameters and nothing else."""
  return module.apply({'params': params}, *args, method=method, **options)


def score(logits: Array, targets: Array, vocab_size: int, label_smoothing: float = 0.0) -> Scores:
  """Scores tokens.

  Args:
    logits: [..., V]. Entries from `vocab_size` on are padding, and -1e9.
    targets: integer [...].
    vocab_size: how many of the V there really are; 0 for all.
    label_smoothing: see `losses.softmax_cross_entropy`; over the real vocabulary.

  Returns:
    [...] each. Where several tokens are likeliest, each of them is.
  """
  if label_smoothing and vocab_size:
    logits = logits[..., :vocab_size]
  logits = logits.astype(jnp.float32)
  losses = softmax_cross_entropy(logits, targets, label_smoothing)
  log_z = jax.nn.logsumexp(logits, axis=-1)
  # The loss needs both the label's logit and the greatest; an argmax would be one pass more.
  return Scores(losses, label_logits(logits, targets) >= jnp.max(logits, axis=-1), log_z)


def score_hidden(
  head: Callable[[Array], Array],
  hidden: Array,
  targets: Array,
  *,
  vocab_size: int,
  label_smoothing: float = 0.0,
  chunk: int = 0,
) -> Scores:
  """Scores tokens by what the module's head makes of [B, T, D], `chunk` positions at a time."""

  def fn(hidden: Array, targets: Array) -> Scores:
    return score(head(hidden), targets, vocab_size, label_smoothing)

  return over_chunks(fn, chunk, hidden, targets)


def token_loss(
  scores: Scores, counts: Array | None, z_loss: float, axis_name: str | None
) -> tuple[Array, Scalars]:
  """The mean over the tokens that count, over all devices, and what the log says of it.

  Args:
    scores: [B, T].
    counts: float32 [B, T], the weights of tokens; None for all alike.
    z_loss: weight of the mean of (log Z)^2, which keeps logits from drifting.
    axis_name: the mapped axis, under pmap.

  References:
    Chowdhery et al. 2022, PaLM, section 5: z_loss = 1e-4.
  """
  loss = weighted_mean(scores.losses, counts, axis_name)
  accuracy = weighted_mean(scores.correct.astype(jnp.float32), counts, axis_name)
  scalars = {'loss': loss, 'accuracy': accuracy}
  if z_loss:
    loss += z_loss * weighted_mean(jnp.square(scores.log_z), counts, axis_name)
  return loss, scalars


def token_metrics(
  scores: Scores, targets: Array, counts: Array | None, token_bytes: np.ndarray | None
) -> TokenMetrics:
  """Sums over the tokens that count.

  Args:
    scores: [B, T], without label smoothing.
    targets: integer [B, T].
    counts: float32 [B, T]; 0 does not count. None for all.
    token_bytes: integer [V], UTF-8 bytes that each token stands for.
  """
  counts = jnp.ones(targets.shape, bool) if counts is None else counts > 0
  num_bytes = None if token_bytes is None else jnp.asarray(token_bytes, jnp.int32)[targets]
  return TokenMetrics.from_losses(scores.losses, scores.correct, counts, num_bytes)


def of_sequences(mask: Array | None, weight: Array | None, shape: tuple[int, ...]) -> Array | None:
  """Weights of tokens [B, T] from those of tokens and of whole examples [B]; None if neither."""
  if weight is None:
    return mask
  mask = jnp.ones(shape, jnp.float32) if mask is None else mask
  return mask * weight[:, None]
