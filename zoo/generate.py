"""Continues token sequences with a language model: prefill, then one compiled loop with a cache.

The module has a cache as in decoding_cache.py. It is static and donated: a step writes to it in
place. When it is full one twice as long takes its place, so that a short sequence does not pay for
the longest.

Goals: few programs (for each module, batch size and cache length one, whatever the options' values)
and few dispatches; and tokens that depend on a prompt and its number alone, not on other prompts,
on padding, or on how many steps are made in one dispatch.

Non-goals: text longer than the context of the module, more devices than one, beam search (beam.py).
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo import sampling
from zoo.decoding_cache import apply, grow, grows, map_rows, num_logits, prefill, repeat
from zoo.types import Array, PyTree

SHORTEST_PROMPT = 16  # prompts are padded to this times a power of 2
SHORTEST_CACHE = 128  # likewise caches
STEPS = 256  # at most in one dispatch
STREAMED_STEPS = 8  # likewise, where somebody waits for the tokens
NO_EOS = -1

OnTokens = Callable[[int, int, list[int]], object]


class State(NamedTuple):
  """What the loop changes.

  Attributes:
    cache: holds all tokens but the last.
    token: int32 [B], the last.
    done: int32 [], steps made.
    ended: bool [B].
    seen: bool [B, V], tokens of the prompt and generated; None without a repetition penalty.
  """

  cache: PyTree
  token: Array
  done: Array
  ended: Array
  seen: Array | None


def generate(
  module: nn.Module,
  params: PyTree,
  prompts: Sequence[Sequence[int]],
  *,
  max_new_tokens: int,
  temperature: float = 1.0,
  top_k: int = 0,
  top_p: float = 1.0,
  repetition_penalty: float = 1.0,
  num_samples: int = 1,
  eos_id: int | None = None,
  key: Array | None = None,
  on_tokens: OnTokens | None = None,
) -> list[list[list[int]]]:
  """Continues prompts of any lengths, in one batch.

  The i-th prompt draws from a key of its own, folded from `key`, i and the number of the sample.

  Args:
    module: see above.
    params: of the module.
    prompts: tokens of each, at least one.
    max_new_tokens: the most to generate for each.
    temperature: logits are divided by it; 0 takes the likeliest token (greedy).
    top_k: draw among this many likeliest tokens; 0 for all.
    top_p: draw among the likeliest tokens that have this probability together, in (0, 1].
    repetition_penalty: of tokens in the prompt or generated, see `sampling.repetition_penalty`.
    num_samples: continuations of each prompt.
    eos_id: the token that ends a sequence; it is the last of those returned.
    key: typed key; that of seed 0 if None.
    on_tokens: called as (number of the prompt, of the sample, new tokens) as tokens come, at most
      STREAMED_STEPS at a time. Together they are what is returned.

  Returns:
    For each prompt, for each sample, the new tokens.

  Raises:
    ValueError: an empty prompt, one too long for the context, an option out of its range, or
      logits that are not finite.
  """
  counts = {'max_new_tokens': max_new_tokens, 'num_samples': num_samples, 'top_k': top_k}
  check_options(top_p, repetition_penalty, temperature=temperature, **counts)
  check_prompts(module, prompts, max_new_tokens)
  if not prompts:
    return []
  params = jax.tree.map(jnp.asarray, params)  # once, not in every call
  settings = {}
  if temperature > 0:
    settings['temperature'] = jnp.float32(temperature)
    settings |= {'top_k': jnp.int32(top_k)} if top_k else {}
    settings |= {'top_p': jnp.float32(top_p)} if top_p < 1 else {}
  if repetition_penalty != 1:
    settings['repetition_penalty'] = jnp.float32(repetition_penalty)
  keys = row_keys(jax.random.key(0) if key is None else key, len(prompts), num_samples)
  eos = NO_EOS if eos_id is None else eos_id
  steps = STREAMED_STEPS if on_tokens else STEPS

  rows = Rows(len(keys), num_samples, eos, num_logits(module, params), on_tokens)
  chunks = decode(module, params, prompts, max_new_tokens, settings, keys, eos, steps)
  # The device works on the next chunk while the host hands out the one before.
  for (new, count), _ in itertools.pairwise(itertools.chain(chunks, [(None, 0)])):
    rows.add(np.asarray(new)[:, :count])
    if all(rows.ended):
      break
  return [rows.tokens[i : i + num_samples] for i in range(0, len(rows.tokens), num_samples)]


def decode(
  module: nn.Module,
  params: PyTree,
  prompts: Sequence[Sequence[int]],
  max_new_tokens: int,
  settings: dict[str, Array],
  keys: Array,
  eos: int,
  most: int,
) -> Iterator[tuple[Array, int]]:
  """Yields new tokens, int32 [rows, STEPS], and how many of them there are in a row.

  What follows an eos means nothing.

  Args:
    module: see above.
    params: of the module.
    prompts: as in `generate`.
    max_new_tokens: steps in all, unless all rows end before.
    settings: of `sampling.choose`.
    keys: typed keys [rows], where rows is a multiple of the number of prompts.
    eos: the token that ends a row.
    most: steps in one dispatch, at most STEPS.
  """
  rows, context = len(keys), getattr(module, 'context_length', math.inf)
  repeats = rows // len(prompts)
  tokens, padding = pad_left(prompts, context - max_new_tokens + 1)
  used = tokens.shape[1] - 1
  needed = used + max_new_tokens
  length = bucket(used + min(max_new_tokens, SHORTEST_PROMPT), SHORTEST_CACHE, context)
  room = length if grows(module, params) else needed

  cache = prefill(module, params, tokens[:, :-1], padding, length)
  state = State(
    cache=repeat(cache, repeats) if repeats > 1 else cache,
    token=jnp.asarray(np.repeat(tokens[:, -1], repeats)),
    done=jnp.zeros((), jnp.int32),
    ended=jnp.zeros(rows, bool),
    seen=None,
  )
  if 'repetition_penalty' in settings:
    state = state._replace(seen=seen_in(prompts, repeats, num_logits(module, params)))
  while used < needed:
    if used == room:
      if state.ended.all():
        return
      longer = bucket(room + 1, SHORTEST_CACHE, context)
      cache = grow(module, params, state.cache, rows, room, longer)
      state, room = state._replace(cache=cache), longer
    steps = min(most, room - used, needed - used)
    state, new = advance(module, params, state, keys, settings, eos, steps)
    used += steps
    yield new, steps


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def advance(
  module: nn.Module,
  params: PyTree,
  state: State,
  keys: Array,
  settings: dict[str, Array],
  eos: Array,
  steps: Array,
) -> tuple[State, Array]:
  """Makes steps, at most STEPS of them and none once all rows have ended.

  Returns:
    The state and the new tokens, int32 [B, STEPS]; what follows the end of a row is `eos`.
  """
  before, one = state.done, len(keys) == 1
  # XLA for CPUs writes in place only where nothing changes the shape of the cache in between, as
  # products of one row do: they leave out the axis of the batch. Copies took half of a step of
  # GPT-2 with a cache of 1024 tokens.
  pack = functools.partial(map_rows, lambda leaf: leaf[0]) if one else lambda cache: cache
  unpack = functools.partial(map_rows, lambda leaf: leaf[None]) if one else lambda cache: cache

  def step(carry: tuple[State, Array]) -> tuple[State, Array]:
    state, new = carry
    logits, cache = apply(module, params, state.token[:, None], unpack(state.cache))
    step_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, state.done)
    token = sampling.choose(logits[:, 0], step_keys, settings, state.seen)
    token = jnp.where(state.ended, eos, token)
    seen = None if state.seen is None else state.seen.at[jnp.arange(len(token)), token].set(True)
    new = jax.lax.dynamic_update_slice_in_dim(new, token[:, None], state.done - before, axis=1)
    ended = state.ended | (token == eos)
    return State(pack(cache), token, state.done + 1, ended, seen), new

  def goes_on(carry: tuple[State, Array]) -> Array:
    return (carry[0].done - before < steps) & ~carry[0].ended.all()

  new = jnp.full((len(keys), STEPS), eos, jnp.int32)
  packed = state._replace(cache=pack(state.cache))
  state, new = jax.lax.while_loop(goes_on, step, (packed, new))
  return state._replace(cache=unpack(state.cache)), new


def bucket(least: int, shortest: int, most: float) -> int:
  """`shortest` times the first power of 2 that gives at least so much, but not above `most`."""
  power = math.ceil(math.log2(max(1, least / shortest)))
  return int(min(shortest * 2**power, most))


@functools.partial(jax.jit, static_argnums=(1, 2))
def row_keys(key: Array, prompts: int, samples: int) -> Array:
  """Typed keys [prompts * samples]; each depends on its two numbers alone."""
  fold = jax.vmap(jax.random.fold_in, (0, None))
  of_prompts = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(prompts))
  return jax.vmap(fold, (None, 0), 1)(of_prompts, jnp.arange(samples)).reshape(-1)


def pad_left(prompts: Sequence[Sequence[int]], most: float) -> tuple[np.ndarray, np.ndarray]:
  """Prompts as int32 [B, T], and int32 [B], how many tokens of padding stand before each.

  T - 1 is one of few lengths, but T is at most `most`: it is to fit into the context.
  """
  longest = max(len(prompt) for prompt in prompts)
  width = 1 + (bucket(longest - 1, SHORTEST_PROMPT, most - 1) if longest > 1 else 0)
  tokens = np.zeros((len(prompts), width), np.int32)
  for row, prompt in zip(tokens, prompts, strict=True):
    row[width - len(prompt) :] = prompt
  return tokens, np.array([width - len(prompt) for prompt in prompts], np.int32)


def seen_in(prompts: Sequence[Sequence[int]], repeats: int, size: int) -> Array:
  """Which tokens each prompt has, every row `repeats` times: bool [rows, size]."""
  seen = np.zeros((len(prompts), size), bool)
  for row, prompt in zip(seen, prompts, strict=True):
    row[list(prompt)] = True
  return jnp.asarray(np.repeat(seen, repeats, axis=0))


class Rows:
  """The tokens of all rows so far, handed out as they come.

  Attributes:
    tokens: list [rows] of lists.
    ended: list [rows] of bool.
  """

  def __init__(
    self, rows: int, samples: int, eos: int, vocab_size: int, on_tokens: OnTokens | None
  ):
    self.tokens: list[list[int]] = [[] for _ in range(rows)]
    self.ended = [False] * rows
    self._samples, self._eos, self._vocab_size = samples, eos, vocab_size
    self._on_tokens = on_tokens

  def add(self, chunk: np.ndarray) -> None:
    """Adds int32 [rows, steps], to each row up to its end.

    Raises:
      ValueError: the logits were not finite, which shows in a token beyond the vocabulary.
    """
    if chunk.max(initial=0) >= self._vocab_size:
      raise ValueError('the logits are not finite (a temperature too low, or broken weights)')
    for i, new in enumerate(chunk.tolist()):
      if self.ended[i]:
        continue
      if self._eos in new:
        new = new[: new.index(self._eos) + 1]
        self.ended[i] = True
      self.tokens[i] += new
      if self._on_tokens is not None:
        self._on_tokens(*divmod(i, self._samples), new)


def check_options(top_p: float, repetition_penalty: float, **others: float) -> None:
  """Raises ValueError for an option of `generate` that is out of its range."""
  for name, value in others.items():
    least = int(name in ('max_new_tokens', 'num_samples'))
    if not least <= value < math.inf:
      raise ValueError(f'{name} must be at least {least}, not {value}')
  if not 0 < top_p <= 1:
    raise ValueError(f'top_p must be in (0, 1], not {top_p}')
  if not 0 < repetition_penalty < math.inf:
    raise ValueError(f'repetition_penalty must be above 0, not {repetition_penalty}')


def check_prompts(module: nn.Module, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
  """Raises ValueError for a prompt that the module cannot continue."""
  context = getattr(module, 'context_length', math.inf)
  vocab_size = getattr(module, 'vocab_size', math.inf)
  for i, prompt in enumerate(prompts):
    length = len(prompt)
    if not length:
      raise ValueError(f'prompt {i} is empty')
    if length > context:
      raise ValueError(f'prompt {i} has {length} tokens, more than the context of {context}')
    if length + max_new_tokens > context:
      raise ValueError(
        f'prompt {i} has {length} tokens: with {max_new_tokens} new ones it is longer than the '
        f'context of {context}'
      )
    for token in prompt:
      if not 0 <= token < vocab_size:
        raise ValueError(f'prompt {i} has the token {token}, the vocabulary only {vocab_size}')
