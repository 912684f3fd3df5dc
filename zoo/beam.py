"""Beam search with a length penalty, for modules that turn a source into a target.

The module has `start(source, length) -> cache` and `decode(tokens [B, T], cache) -> (logits [B, T,
V], cache)`, with a cache as in decoding_cache.py, and the fields `bos_id`, `eos_id` and `pad_id`.

A beam has K places. A hypothesis that ends keeps its place, and the search goes on with the others:
so K hypotheses come out, and with K = 1 the greedy one.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.decoding_cache import repeat
from zoo.types import Array, PyTree


class Beam(NamedTuple):
  """The hypotheses of B sources, K for each.

  Attributes:
    tokens: int32 [B, K, T], `pad_id` where nothing was generated.
    log_prob: float32 [B, K], of all tokens of a hypothesis; -inf in a place that is empty.
    length: int32 [B, K], tokens of a hypothesis, eos among them.
    ended: bool [B, K], whether it ends with eos.
    last: int32 [B, K], the token to decode next.
    cache: of the module, for B * K rows.
    step: int32 [].
  """

  tokens: Array
  log_prob: Array
  length: Array
  ended: Array
  last: Array
  cache: PyTree
  step: Array


def beam_search(
  module: nn.Module,
  params: PyTree,
  source: Array,
  *,
  beam_size: int,
  length_penalty: float,
  max_length: int,
) -> tuple[Array, Array]:
  """Finds the targets that a module thinks most of.

  A target of n tokens (eos counts) has the score log p(target | source) / ((5 + n) / 6)^alpha. What
  is dropped on the way has less log p than what is kept. The search of a source ends when no
  hypothesis can come to a better score than the best that has ended: exactly, since log p can only
  fall, and the divisor is at most that of max_length. Others may be cut short then, and have the
  score of what there is of them. `pad_id` is no token of a target.

  Args:
    module: see above.
    params: of the module.
    source: int32 [B, S].
    beam_size: K, 1 for greedy search.
    length_penalty: alpha >= 0; 0 prefers short targets, 0.6 to 1 is usual.
    max_length: T, the most tokens of a target, eos among them. One of so many tokens is returned
      without eos, if it came to none.

  Returns:
    Tokens, int32 [B, K, T], padded with `pad_id` behind eos, and scores, float32 [B, K]; the best
    first. Where there are fewer than K possible targets, the rest has the score -inf.

  Raises:
    ValueError: an option out of its range.

  References:
    Wu et al. 2016, Google's Neural Machine Translation System, section 7 (the penalty). Sutskever
    et al. 2014, Sequence to Sequence Learning with Neural Networks, section 3.2 (what has ended
    leaves the beam).
  """
  if beam_size < 1:
    raise ValueError(f'beam_size must be at least 1, not {beam_size}')
  if not length_penalty >= 0:
    raise ValueError(f'length_penalty must be at least 0, not {length_penalty}')
  if max_length < 1:
    raise ValueError(f'max_length must be at least 1, not {max_length}')
  return search(module, params, source, length_penalty, beam_size, max_length)


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def search(
  module: nn.Module, params: PyTree, source: Array, alpha: Array, beam_size: int, max_length: int
) -> tuple[Array, Array]:
  """See `beam_search`."""
  cache = module.apply({'params': params}, source, max_length, method='start')
  B, K, T = source.shape[0], beam_size, max_length
  penalty = lambda length: ((5 + length) / 6) ** alpha
  score = lambda beam: beam.log_prob / penalty(jnp.maximum(beam.length, 1))

  def settled(beam: Beam) -> Array:
    """Whether no hypothesis that goes on can beat the best that has ended, bool [B]."""
    best = jnp.where(beam.ended, score(beam), -jnp.inf).max(-1)
    hope = jnp.where(beam.ended, -jnp.inf, beam.log_prob).max(-1) / penalty(T)
    return best >= hope

  def goes_on(beam: Beam) -> Array:
    return (beam.step < T) & ~settled(beam).all()

  def step(beam: Beam) -> Beam:
    stays = beam.ended | settled(beam)[:, None]
    tokens = beam.last.reshape(B * K, 1)
    logits, cache = module.apply({'params': params}, tokens, beam.cache, method='decode')
    logits = logits[:, 0]
    if module.pad_id != module.eos_id:
      logits = logits.at[:, module.pad_id].set(-jnp.inf)

    # The K best continuations of each hypothesis, then of all of them; best first.
    values, tokens = jax.lax.top_k(logits, min(K, logits.shape[-1]))
    values = (values - jax.nn.logsumexp(logits, axis=-1, keepdims=True)).reshape(B, K, -1)
    values += jnp.where(stays, -jnp.inf, beam.log_prob)[:, :, None]
    n = values.shape[-1]
    values, chosen = jax.lax.top_k(values.reshape(B, K * n), K)
    parent, token = chosen // n, at(tokens.reshape(B, K * n), chosen)

    # First those that stay, then as many of the continuations as there are places left.
    count = stays.sum(-1, keepdims=True)
    place = jnp.arange(K)[None]
    old, rank = place < count, jnp.maximum(place - count, 0)
    parent = jnp.where(old, jnp.argsort(~stays, axis=-1, stable=True), at(parent, rank))
    token = jnp.where(old, module.pad_id, at(token, rank))
    tokens = at(beam.tokens, parent[:, :, None])
    now = (jnp.arange(T) == beam.step)[None, None] & ~old[:, :, None]
    tokens = jnp.where(now, token[:, :, None], tokens)
    rows = (jnp.arange(B)[:, None] * K + parent).reshape(-1)
    return Beam(
      tokens=tokens,
      log_prob=jnp.where(old, at(beam.log_prob, parent), at(values, rank)),
      length=at(beam.length, parent) + ~old,
      ended=jnp.where(old, at(beam.ended, parent), token == module.eos_id),
      last=token,
      cache=reorder(beam.cache, cache, rows),
      step=beam.step + 1,
    )

  # One empty hypothesis a source: from K of them all places would find the same.
  first = jnp.zeros((B, K)).at[:, 1:].set(-jnp.inf)
  beam = Beam(
    tokens=jnp.full((B, K, T), module.pad_id, jnp.int32),
    log_prob=first,
    length=jnp.zeros((B, K), jnp.int32),
    ended=jnp.zeros((B, K), bool),
    last=jnp.full((B, K), module.bos_id, jnp.int32),
    cache=repeat(cache, K) if K > 1 else cache,
    step=jnp.zeros((), jnp.int32),
  )
  beam = jax.lax.while_loop(goes_on, step, beam)
  scores, order = jax.lax.top_k(score(beam), K)
  return at(beam.tokens, order[:, :, None]), scores


def at(x: Array, places: Array) -> Array:
  """Takes places of the second axis, in every row others."""
  return jnp.take_along_axis(x, places, axis=1)


def reorder(before: PyTree, after: PyTree, rows: Array) -> PyTree:
  """Takes rows of a cache.

  A leaf that `decode` handed on as it was is alike in all hypotheses of a source, as the keys and
  values of the source are: it is not copied.
  """
  take = lambda old, new: new if new is old or not new.ndim else new[rows]
  return jax.tree.map(take, before, after)
