"""GPT-2: a causal Transformer that predicts the next token, trained by windows, decoded by a cache.

Parameters: 'token_embedding' [V, D] (also the head), 'position_embedding' [context, D], 'blocks_0',
'blocks_1', ... and 'final_norm'. With `scan_layers` there is one 'blocks' instead, every leaf of
which has the layers as its leading axis; `stack_layers` and `unstack_layers` convert.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.models import residual
from zoo.models.attention import (
  Cache,
  attend,
  causal_mask,
  head_size,
  init_cache,
  key_mask,
  read_cache,
  segment_mask,
  update_cache,
)
from zoo.models.layers import compute_dtype, layer_norm
from zoo.models.products import dot_general, logits_by
from zoo.types import Array, PyTree

# Published; the small one has 124,439,808 parameters (Radford et al. 2019, table 2, counts others).
SIZES = {
  'gpt2': {'num_layers': 12, 'width': 768, 'num_heads': 12},
  'gpt2_medium': {'num_layers': 24, 'width': 1024, 'num_heads': 16},
  'gpt2_large': {'num_layers': 36, 'width': 1280, 'num_heads': 20},
  'gpt2_xl': {'num_layers': 48, 'width': 1600, 'num_heads': 25},
}


class Block(nn.Module):
  """x + attention(norm(x)), then x + mlp(norm(x)); fields as in `GPT2`."""

  num_layers: int
  num_heads: int
  head_dim: int | None
  dropout: float
  attention: str
  dtype: str

  @nn.compact
  def __call__(
    self,
    x: Array,
    mask: Array | None,
    train: bool,
    cache: Cache | None = None,
    index: Array | None = None,
  ) -> tuple[Array, Cache | None]:
    """Maps [B, T, D] to the same, and writes to the cache at `index` if there is one.

    Without a cache attention is causal, and `mask` hides more. With one `mask` says all.
    """
    (B, T, D), H = x.shape, self.num_heads
    N = head_size(D, H, self.head_dim)
    dtype = compute_dtype(self.dtype)
    normal = nn.initializers.normal(0.02)
    # Each of 2 * num_layers sums adds to the variance of x (Radford et al. 2019, section 2.3).
    to_residual = nn.initializers.normal(0.02 / (2 * self.num_layers) ** 0.5)
    drop = nn.Dropout(self.dropout, deterministic=not train)
    dropped = train and self.dropout > 0
    dense = functools.partial(nn.Dense, dtype=dtype, dot_general=dot_general)

    h = layer_norm(1e-5, self.dtype, name='norm_1')(x)
    h = dense(3 * H * N, kernel_init=normal, name='qkv')(h)
    q, k, v = jnp.moveaxis(h.reshape(B, T, 3, H, N), 2, 0)
    if cache is not None:
      cache = update_cache(cache, k, v, jnp.asarray(index))
      k, v = read_cache(cache)
    h = attend(
      *(q, k, v),
      mask=mask,
      causal=cache is None,
      dropout=self.dropout,
      key=self.make_rng('dropout') if dropped else None,
      implementation=self.attention,
    ).reshape(B, T, H * N)
    h = dense(D, kernel_init=to_residual, name='attention_out')(h)
    x = residual.add(x, drop(h))

    h = layer_norm(1e-5, self.dtype, name='norm_2')(x)
    h = dense(4 * D, kernel_init=normal, name='mlp_in')(h)
    h = nn.gelu(h, approximate=True)
    h = dense(D, kernel_init=to_residual, name='mlp_out')(h)
    return residual.add(x, drop(h)), cache


class GPT2(nn.Module):
  """Learned positions, pre-norm blocks, a head tied to the token embedding.

  Weights start from a normal distribution of deviation 0.02, those that end a residual branch from
  one of 0.02 / sqrt(2 * num_layers), biases at zero. `hidden` is what precedes the head.

  Attributes:
    vocab_size: tokens there are.
    vocab_multiple: the table is rounded up to a multiple of this (128 is kind to accelerators).
      The logits of what is added are -1e9: it weighs nothing in a loss, and is never sampled.
    context_length: the longest sequence.
    num_layers: blocks.
    width: D, of the residual stream; the hidden layers of the blocks have 4 * D units.
    num_heads: divides the width if there is no `head_dim`.
    dropout: rate, on embeddings, attention weights and the ends of residual branches.
    head_dim: channels of each head; None for width / num_heads.
    scan_layers: compile one block and loop over it: compiling takes as long for 48 layers as for 2.
      A step is slower on CPUs (1.1 times as long there), and such a model does not decode.
    remat: keep only the input of each block for the backward pass, and compute the rest again.
    attention: see `attention.attend`.
    dtype: of the computation; parameters, and logits, are float32.

  References:
    Radford et al. 2019, Language Models are Unsupervised Multitask Learners.
  """

  vocab_size: int = 50257
  vocab_multiple: int = 1
  context_length: int = 1024
  num_layers: int = 12
  width: int = 768
  num_heads: int = 12
  dropout: float = 0.1
  head_dim: int | None = None
  scan_layers: bool = False
  remat: bool = False
  attention: str = 'auto'
  dtype: str = 'float32'

  @property
  def padded_vocab_size(self) -> int:
    """V, the number of logits."""
    return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

  def setup(self) -> None:
    head_size(self.width, self.num_heads, self.head_dim)  # which refuses what does not fit
    normal = nn.initializers.normal(0.02)
    self.token_embedding = nn.Embed(self.padded_vocab_size, self.width, embedding_init=normal)
    self.position_embedding = nn.Embed(self.context_length, self.width, embedding_init=normal)
    self.embedding_dropout = nn.Dropout(self.dropout)
    self.final_norm = layer_norm(1e-5, self.dtype)

    block: Any = Block
    if self.remat:  # `train` is argument 3
      block = nn.remat(block, static_argnums=(3,), prevent_cse=not self.scan_layers)
    options = {
      name: getattr(self, name)
      for name in ('num_layers', 'num_heads', 'head_dim', 'dropout', 'attention', 'dtype')
    }
    if self.scan_layers:
      shared: Any = (nn.broadcast, nn.broadcast)  # mask and train
      block = nn.scan(
        block,
        variable_axes={'params': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=shared,
        length=self.num_layers,
      )
      self.blocks: Any = block(**options)
    else:
      self.blocks: Any = [block(**options) for _ in range(self.num_layers)]

  def __call__(self, tokens: Array, train: bool = False, segments: Array | None = None) -> Array:
    """Returns the logits of the token after each one: `head(hidden(...))`, float32 [B, T, V]."""
    return self.head(self.hidden(tokens, train, segments))

  def hidden(self, tokens: Array, train: bool = False, segments: Array | None = None) -> Array:
    """Returns what the head turns into logits, [B, T, D].

    Args:
      tokens: int32 [B, T].
      train: whether to drop out.
      segments: int32 [B, T]: documents packed into one row. Tokens see those of their own document
        alone, and positions start from 0 in each.

    Raises:
      ValueError: a sequence longer than the context.
    """
    T = tokens.shape[1]
    self.check_length(T)
    positions = jnp.arange(T)[None] if segments is None else positions_within(segments)
    mask = None if segments is None else segment_mask(segments)
    x = self.embedding_dropout(self.embed(tokens, positions), deterministic=not train)
    if self.scan_layers:
      x, _ = self.blocks(x, mask, train)
    else:
      for block in self.blocks:
        x, _ = block(x, mask, train)
    return self.final_norm(x)

  def head(self, hidden: Array) -> Array:
    """Returns logits, float32 [..., V], of [..., D]."""
    logits = logits_by(self.token_embedding.embedding, hidden)
    if self.padded_vocab_size == self.vocab_size:
      return logits
    entry = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    return jnp.where(entry < self.vocab_size, logits, -1e9)

  def start(self, batch_size: int, length: int, padding: Array | None = None) -> PyTree:
    """Returns an empty cache to `decode` with.

    It is a dict: 'index', int32 [], counts the tokens it holds; every other leaf has the batch
    as its leading axis. Needs no parameters.

    Args:
      batch_size: B.
      length: the most tokens it shall hold.
      padding: int32 [B]: how many tokens at the start of each row mean nothing. They are seen by
        none, and positions count from the first behind them.

    Raises:
      ValueError: a length beyond the context, or layers that are scanned.
    """
    if self.scan_layers:
      raise ValueError('scan_layers does not decode: unstack_layers(params), and scan_layers=False')
    self.check_length(length)
    if padding is None:
      padding = jnp.zeros(batch_size, jnp.int32)
    size = head_size(self.width, self.num_heads, self.head_dim)
    sizes = (batch_size, length, self.num_heads, size)
    blocks = {f'blocks_{i}': init_cache(*sizes, self.dtype) for i in range(self.num_layers)}
    return {'index': jnp.zeros((), jnp.int32), 'padding': padding, **blocks}

  def decode(self, tokens: Array, cache: PyTree) -> tuple[Array, PyTree]:
    """Reads the next T tokens of every row.

    Args:
      tokens: int32 [B, T].
      cache: of `start` or `decode`. No more than its length may be read in all.

    Returns:
      float32 [B, T, V], the logits of the token after each; and the cache with them in it.

    Raises:
      ValueError: more tokens than the cache has room for, as far as shapes tell.
    """
    T, length = tokens.shape[1], cache['blocks_0']['k'].shape[2]
    if length < T:
      raise ValueError(f'{T} tokens do not fit into a cache of {length}')
    index, padding = cache['index'], cache['padding']
    positions = jnp.maximum(index + jnp.arange(T)[None] - padding[:, None], 0)
    mask = causal_mask(T, length, index) & key_mask(padding[:, None] <= jnp.arange(length)[None])
    x = self.embed(tokens, positions)
    new = {'index': index + T, 'padding': padding}
    for i, block in enumerate(self.blocks):
      x, new[f'blocks_{i}'] = block(x, mask, False, cache[f'blocks_{i}'], index)
    return self.head(self.final_norm(x)), new

  def embed(self, tokens: Array, positions: Array) -> Array:
    """The sum of the embeddings of tokens, int [B, T], and positions, int [B or 1, T]."""
    x = self.token_embedding(tokens) + self.position_embedding(positions)
    return x.astype(compute_dtype(self.dtype))

  def check_length(self, length: int) -> None:
    """Refuses what is longer than the context."""
    if length > self.context_length:
      raise ValueError(f'{length} tokens are more than the context_length {self.context_length}')


def positions_within(segments: Array) -> Array:
  """Places counted from 0 within each run of equal segments: int [B, T] to int32 [B, T]."""
  places = jnp.broadcast_to(jnp.arange(segments.shape[1]), segments.shape)
  begins = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
  return places - jax.lax.cummax(jnp.where(begins, places, 0), axis=1)


def stack_layers(params: PyTree) -> PyTree:
  """Converts parameters of unrolled layers to those of `scan_layers`."""
  names = sorted((n for n in params if n.startswith('blocks_')), key=lambda n: int(n[7:]))
  blocks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[n] for n in names))
  return {n: leaf for n, leaf in params.items() if n not in names} | {'blocks': blocks}


def unstack_layers(params: PyTree) -> PyTree:
  """Converts parameters of `scan_layers` to those of unrolled layers."""
  blocks = params['blocks']
  layers = range(jax.tree.leaves(blocks)[0].shape[0])
  rest = {n: leaf for n, leaf in params.items() if n != 'blocks'}
  return rest | {f'blocks_{i}': jax.tree.map(lambda x, i=i: x[i], blocks) for i in layers}


def decodable(module: Any, params: PyTree) -> tuple[Any, PyTree]:
  """The same model with its layers unrolled if they were scanned; any other as it is."""
  if not getattr(module, 'scan_layers', False):
    return module, params
  return module.clone(scan_layers=False), unstack_layers(params)
