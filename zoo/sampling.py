"""Which token comes next: pure functions of logits, float32 [B, V], and their composition `choose`.

A logit of -1e9, as models give to entries that are no tokens, or of -inf, is never sampled.
"""

import jax
import jax.numpy as jnp

from zoo.types import Array

NO_TOKEN = -1e8  # what lies below is no logit, but the mark of an entry that is no token
LARGEST = 0xFFFFFFFF


def choose(
  logits: Array, keys: Array, settings: dict[str, Array], seen: Array | None = None
) -> Array:
  """Chooses a token for every row.

  In this order: repetition penalty, temperature, top-k, top-p, a draw. Each is left out where
  `settings` does not name it; without a temperature the token of the greatest logit is chosen.

  Args:
    logits: float32 [B, V].
    keys: typed keys [B].
    settings: scalars, of 'repetition_penalty', 'temperature', 'top_k' and 'top_p'.
    seen: bool [B, V], for the repetition penalty.

  Returns:
    int32 [B].
  """
  if 'repetition_penalty' in settings and seen is not None:
    logits = repetition_penalty(logits, seen, settings['repetition_penalty'])
  if 'temperature' not in settings:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
  logits = temperature(logits, settings['temperature'])
  if 'top_k' in settings:
    logits = top_k(logits, settings['top_k'])
  if 'top_p' in settings:
    logits = top_p(logits, settings['top_p'])
  return sample(logits, keys)


def repetition_penalty(logits: Array, seen: Array, penalty: Array | float) -> Array:
  """Makes tokens that were seen less likely: divides their logit by the penalty.

  A negative logit is multiplied by it: to divide would make it likelier.

  Args:
    logits: float32 [B, V].
    seen: bool [B, V].
    penalty: > 0; 1 changes nothing, more than 1 discourages.

  References:
    Keskar et al. 2019, CTRL, section 4.1.
  """
  return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def temperature(logits: Array, value: Array | float) -> Array:
  """Divides logits by a temperature > 0; what is no token becomes -inf, at any temperature."""
  return jnp.where(logits > NO_TOKEN, logits / value, -jnp.inf)


def top_k(logits: Array, k: Array | int) -> Array:
  """Keeps the k greatest logits of a row and what equals the least of them; the rest is -inf."""
  weights = jnp.ones_like(logits)
  return jnp.where(greatest(logits, weights, k), logits, -jnp.inf)


def top_p(logits: Array, p: Array | float) -> Array:
  """Keeps the smallest set of the likeliest tokens with a probability of at least p in all.

  So at least one, and what is as likely as the least of the set belongs to it. The rest is -inf.

  References:
    Holtzman et al. 2020, The Curious Case of Neural Text Degeneration, section 3.1 (nucleus).
  """
  return jnp.where(greatest(logits, jax.nn.softmax(logits, axis=-1), p), logits, -jnp.inf)


def greatest(values: Array, weights: Array, goal: Array | float) -> Array:
  """Marks the entries from the greatest threshold on that leaves weights of at least `goal`.

  The threshold is found bit by bit in 32 passes. To sort a row of 50,257 took a CPU 9 ms, this
  0.3 ms.

  Args:
    values: float32 [B, V], what the threshold is compared with.
    weights: float32 [B, V], >= 0.
    goal: [].

  Returns:
    bool [B, V]; a whole row if its weights do not reach the goal.
  """
  # As unsigned integers in the same order: negative numbers grow with falling bits.
  bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
  order = jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))

  def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
    low, high = bounds
    middle = low + (high - low) // 2
    reached = jnp.where(order >= middle[:, None], weights, 0).sum(-1) >= goal
    return jnp.where(reached, middle, low), jnp.where(reached, high, middle)

  low = jnp.zeros(values.shape[0], jnp.uint32)
  low, _ = jax.lax.fori_loop(0, 32, halve, (low, jnp.full_like(low, LARGEST)))
  return order >= low[:, None]


def sample(logits: Array, keys: Array) -> Array:
  """Draws a token for every row with the probabilities softmax(logits).

  By one uniform number a row and the cumulative distribution: what is drawn does not depend on how
  far the vocabulary is padded, and a row of 50,257 takes a CPU 0.2 ms, a Gumbel number for every
  token 2 ms.

  Args:
    logits: float32 [B, V], not all -inf.
    keys: typed keys [B]: a row depends on its own alone.

  Returns:
    int32 [B].
  """
  chances = jax.nn.softmax(logits, axis=-1)
  uniform = jax.vmap(jax.random.uniform)(keys)
  # Its sums are rounded, in what order the compiler likes: a token without a chance might be hit.
  cumulative = jnp.where(chances > 0, jnp.cumsum(chances, axis=-1), 0)
  level = uniform * cumulative.max(-1)
  places = jnp.arange(logits.shape[-1])[None]
  hit = cumulative > level[:, None]
  return jnp.where(hit, places, logits.shape[-1]).min(-1).astype(jnp.int32)
