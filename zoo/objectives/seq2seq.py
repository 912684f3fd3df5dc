"""From one sequence to another: translation, and whatever looks like it."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.metrics import TokenMetrics
from zoo.objectives import tokens as of_tokens
from zoo.objectives.language_model import check_options
from zoo.types import Array, Batch, Objective, PyTree, Scalars


def seq2seq(
  module: nn.Module,
  *,
  pad_id: int,
  bos_id: int,
  eos_id: int,
  vocab_size: int = 0,
  label_smoothing: float = 0.0,
  z_loss: float = 0.0,
  loss_chunk: int = 0,
  exact_match: bool = True,
  axis_name: str | None = None,
) -> Objective:
  """Cross-entropy of each target token, given the source and the target tokens before it.

  A batch holds 'source', int32 [B, S], and 'target', int32 [B, T], each ended by `eos_id` and then
  filled with `pad_id`, and optionally 'weight', float32 [B], of whole pairs. The loss is the mean
  over all target tokens that are no padding, of all devices. `evaluate` returns
  `metrics.TokenMetrics`; `predict` the likeliest tokens one by one (greedy), int32 [B, T].

  Args:
    module: with methods `hidden(source, decoder_tokens, train)` -> [B, T, D] and `head(hidden)` ->
      logits [B, T, V]; `start(source, length)` -> cache and `decode(tokens, cache)` -> (logits,
      cache).
    pad_id: of padding.
    bos_id: what the decoder begins with.
    eos_id: what ends a sequence.
    vocab_size: how many of the V there are, the rest being padding; 0 for all.
    label_smoothing: see `losses.softmax_cross_entropy`; not in `evaluate`.
    z_loss: see `tokens.token_loss`.
    loss_chunk: positions whose logits exist at a time, a divisor of T; 0 for all.
    exact_match: whether `evaluate` decodes as well, greedily, and counts the targets it meets.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range.

  References:
    Vaswani et al. 2017, Attention Is All You Need, section 5.4, for the smoothing (0.1).
  """
  check_options(label_smoothing, z_loss, loss_chunk)

  def shifted(target: Array) -> Array:
    first = jnp.full_like(target[:, :1], bos_id)
    return jnp.concatenate([first, target[:, :-1]], axis=1)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    source, target = batch['source'][:1], batch['target'][:1]
    return module.init(key, source, target)['params'], {}

  def scores(params: PyTree, batch: Batch, smoothing: float, **options: Any) -> of_tokens.Scores:
    source, target = batch['source'], batch['target']
    return of_tokens.score_hidden(
      lambda h: of_tokens.apply(module, params, 'head', h),
      of_tokens.apply(module, params, 'hidden', source, shifted(target), **options),
      target,
      vocab_size=vocab_size,
      label_smoothing=smoothing,
      chunk=loss_chunk,
    )

  def counts(batch: Batch) -> Array:
    real = (batch['target'] != pad_id).astype(jnp.float32)
    weights = of_tokens.of_sequences(real, batch.get('weight'), real.shape)
    assert weights is not None
    return weights

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    found = scores(params, batch, label_smoothing, train=True, rngs={'dropout': key})
    value, scalars = of_tokens.token_loss(found, counts(batch), z_loss, axis_name)
    return value, (extras, scalars)

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    del extras
    B, T = batch['target'].shape
    cache = of_tokens.apply(module, params, 'start', batch['source'], T)

    def step(carry: tuple[PyTree, Array, Array], _: None) -> tuple[Any, Array]:
      cache, token, ended = carry
      logits, cache = of_tokens.apply(module, params, 'decode', token[:, None], cache)
      # Padding is no token of a target, and published weights were never taught to avoid it.
      logits = logits[:, 0].at[:, pad_id].set(-jnp.inf)
      token = jnp.argmax(logits, axis=-1).astype(jnp.int32)
      token = jnp.where(ended, pad_id, token)
      return (cache, token, ended | (token == eos_id)), token

    start = (cache, jnp.full(B, bos_id, jnp.int32), jnp.zeros(B, bool))
    _, tokens = jax.lax.scan(step, start, None, length=T)
    return tokens.T

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> TokenMetrics:
    del key
    sums = of_tokens.token_metrics(scores(params, batch, 0.0), batch['target'], counts(batch), None)
    if not exact_match:
      return sums
    alike = jnp.all(predict(params, extras, batch) == batch['target'], axis=1)
    real = batch['weight'] > 0 if 'weight' in batch else jnp.ones(alike.shape, bool)
    count = lambda x: jnp.sum(x.astype(jnp.int32))
    return dataclasses.replace(sums, exact=count(alike & real), sequences=count(real))

  return Objective(init, loss, evaluate, predict=predict)
