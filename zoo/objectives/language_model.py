"""Language modelling: of each token, given those before it; or of tokens that were masked."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.metrics import TokenMetrics
from zoo.objectives import tokens as of_tokens
from zoo.types import Array, Batch, Objective, PyTree, Scalars


def language_model(
  module: nn.Module,
  *,
  vocab_size: int = 0,
  token_bytes: np.ndarray | None = None,
  label_smoothing: float = 0.0,
  z_loss: float = 0.0,
  loss_chunk: int = 0,
  axis_name: str | None = None,
) -> Objective:
  """Cross-entropy of the next token.

  A batch holds 'tokens' and 'targets', int32 [B, T], and optionally 'mask' (float32 [B, T], 0 for a
  target that does not count), 'segments' (int32 [B, T], documents packed into one sequence) and
  'weight' (float32 [B], of whole sequences). The loss is the mean over all tokens that count, of
  all devices. `evaluate` returns `metrics.TokenMetrics`; `predict` logits, float32 [B, T, V].

  Args:
    module: with methods `hidden(tokens, train, segments)` -> [B, T, D] (without `segments` if
      batches have none) and `head(hidden)` -> logits [B, T, V].
    vocab_size: how many of the V there are, the rest being padding; 0 for all.
    token_bytes: integer [V], UTF-8 bytes of each token, for bits per byte.
    label_smoothing: see `losses.softmax_cross_entropy`; not in `evaluate`.
    z_loss: see `tokens.token_loss`.
    loss_chunk: positions whose logits exist at a time, a divisor of T; 0 for all. Saves memory,
      costs the head's matmul once more.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range.
  """
  check_options(label_smoothing, z_loss, loss_chunk)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    return module.init(key, batch['tokens'][:1])['params'], {}

  def scores(params: PyTree, batch: Batch, smoothing: float, **options: Any) -> of_tokens.Scores:
    if 'segments' in batch:
      options['segments'] = batch['segments']
    return of_tokens.score_hidden(
      lambda h: of_tokens.apply(module, params, 'head', h),
      of_tokens.apply(module, params, 'hidden', batch['tokens'], **options),
      batch['targets'],
      vocab_size=vocab_size,
      label_smoothing=smoothing,
      chunk=loss_chunk,
    )

  def counts(batch: Batch) -> Array | None:
    return of_tokens.of_sequences(batch.get('mask'), batch.get('weight'), batch['targets'].shape)

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    found = scores(params, batch, label_smoothing, train=True, rngs={'dropout': key})
    value, scalars = of_tokens.token_loss(found, counts(batch), z_loss, axis_name)
    return value, (extras, scalars)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> TokenMetrics:
    del extras, key
    found = scores(params, batch, 0.0)
    return of_tokens.token_metrics(found, batch['targets'], counts(batch), token_bytes)

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    del extras
    options = {'segments': batch['segments']} if 'segments' in batch else {}
    logits = of_tokens.apply(module, params, '__call__', batch['tokens'], **options)
    return logits.astype(jnp.float32)

  return Objective(init, loss, evaluate, predict=predict)


def masked_lm(
  module: nn.Module,
  *,
  mask_id: int,
  pad_id: int,
  vocab_size: int,
  special_ids: tuple[int, ...] = (),
  mask_rate: float = 0.15,
  loss_chunk: int = 0,
  axis_name: str | None = None,
) -> Objective:
  """Cross-entropy of tokens that were hidden, given those on both sides.

  A batch holds 'tokens', int32 [B, T], padded with `pad_id`, and optionally 'mask', float32 [B, T],
  0 for tokens that another row shows too, and 'weight', float32 [B]. Rows are seen as wholes:
  documents that are packed into one ('segments') are refused.
  Of the real tokens a random share is chosen anew whenever a sequence is seen; of those, 80% are
  replaced by `mask_id`, 10% by a random token, and 10% stay. `evaluate` chooses by a key of the
  run, so that its figures can be compared between steps.

  Args:
    module: with methods `hidden(tokens, train)` -> [B, T, D] and `head(hidden)` -> logits.
    mask_id: of the token that hides another.
    pad_id: of padding.
    vocab_size: of the tokens.
    special_ids: of further tokens that are never chosen: the first, the separators.
    mask_rate: the share that is chosen, in (0, 1].
    loss_chunk: as in `language_model`.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range.

  References:
    Devlin et al. 2019, BERT, section 3.1. Liu et al. 2019, RoBERTa, section 4.1 (dynamic masking).
  """
  if not 0 < mask_rate <= 1:
    raise ValueError(f'mask_rate must be in (0, 1], not {mask_rate}')
  check_options(0.0, 0.0, loss_chunk)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    return module.init(key, batch['tokens'][:1])['params'], {}

  def hide(batch: Batch, key: Array) -> tuple[Array, Array]:
    if 'segments' in batch:
      raise ValueError('masked_lm cannot tell packed documents apart: data.packing must be False')
    tokens = batch['tokens']
    chosen_key, how_key, other_key = jax.random.split(key, 3)
    real = tokens != pad_id
    if 'mask' in batch:
      real &= batch['mask'] > 0
    for special in special_ids:
      real &= tokens != special
    chosen = real & (jax.random.uniform(chosen_key, tokens.shape) < mask_rate)
    how = jax.random.uniform(how_key, tokens.shape)
    other = jax.random.randint(other_key, tokens.shape, 0, vocab_size, tokens.dtype)
    changed = jnp.where(how < 0.8, mask_id, jnp.where(how < 0.9, other, tokens))
    return jnp.where(chosen, changed, tokens), chosen.astype(jnp.float32)

  def scores(params: PyTree, tokens: Array, targets: Array, **options: Any) -> of_tokens.Scores:
    return of_tokens.score_hidden(
      lambda h: of_tokens.apply(module, params, 'head', h),
      of_tokens.apply(module, params, 'hidden', tokens, **options),
      targets,
      vocab_size=vocab_size,
      chunk=loss_chunk,
    )

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    hide_key, dropout_key = jax.random.split(key)
    targets = batch['tokens']
    hidden, chosen = hide(batch, hide_key)
    found = scores(params, hidden, targets, train=True, rngs={'dropout': dropout_key})
    counts = of_tokens.of_sequences(chosen, batch.get('weight'), targets.shape)
    value, scalars = of_tokens.token_loss(found, counts, 0.0, axis_name)
    return value, (extras, scalars)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> TokenMetrics:
    del extras
    targets = batch['tokens']
    hidden, chosen = hide(batch, key)
    counts = of_tokens.of_sequences(chosen, batch.get('weight'), targets.shape)
    return of_tokens.token_metrics(scores(params, hidden, targets), targets, counts, None)

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    del extras
    return of_tokens.apply(module, params, '__call__', batch['tokens']).astype(jnp.float32)

  return Objective(init, loss, evaluate, predict=predict)


def check_options(label_smoothing: float, z_loss: float, loss_chunk: int) -> None:
  """Refuses options of a loss over tokens that are out of their ranges."""
  if not 0 <= label_smoothing <= 1:
    raise ValueError(f'label_smoothing must be in [0, 1], not {label_smoothing}')
  if z_loss < 0:
    raise ValueError(f'z_loss must be >= 0, not {z_loss}')
  if loss_chunk < 0:
    raise ValueError(f'loss_chunk must be >= 0, not {loss_chunk}')
