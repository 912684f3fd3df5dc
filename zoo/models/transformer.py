"""The encoder-decoder Transformer: one sequence of tokens into another, as in translation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.models.attention import (
  causal_mask,
  head_size,
  init_cache,
  key_mask,
  read_cache,
  update_cache,
)
from zoo.models.layers import TransformerLayer, compute_dtype, layer_norm
from zoo.models.products import logits_by
from zoo.names import unknown
from zoo.types import Array

Cache = dict[str, Any]

# Vaswani et al. 2017, table 3. With the 37,000 tokens of its English-German vocabulary they have
# 63,082,496 parameters (the table says 65 million) and 214,245,376 (213 million).
SIZES = {
  'base': {
    'encoder_layers': 6,
    'decoder_layers': 6,
    'width': 512,
    'num_heads': 8,
    'ffn_width': 2048,
    'dropout': 0.1,
  },
  'big': {
    'encoder_layers': 6,
    'decoder_layers': 6,
    'width': 1024,
    'num_heads': 16,
    'ffn_width': 4096,
    'dropout': 0.3,
  },
}
POSITIONS = ('sinusoidal', 'learned', 'none')
SHARING = ('all', 'target', 'none')


class Transformer(nn.Module):
  """Encodes a source; predicts each token of the target from it and from those before.

  Sources and targets are padded at the right with `pad_id`. What stands behind the end of either
  changes nothing before it. The decoder reads `bos_id` and then the target without its last token.

  Weights start by Glorot and Bengio 2010, biases at zero; embeddings have variance 1 / width,
  which `scale_embedding` brings to 1 and which gives logits of order 1.

  Attributes:
    vocab_size: tokens of the target.
    source_vocab_size: tokens of the source; 0 for those of the target.
    pad_id: what sources are padded with: no position sees it.
    bos_id: what the decoder starts with. (In Marian it is pad_id.)
    eos_id: what every sequence ends with; for those who decode.
    max_length: the most tokens of a source, or of a target.
    encoder_layers: number of layers.
    decoder_layers: number of layers.
    width: D, of embeddings and of all that layers hand on.
    num_heads: of every attention; divides the width if there is no `head_dim`.
    ffn_width: units between the two dense layers.
    activation: between them, see `layers.activation`.
    positions: 'sinusoidal' (`sinusoids`), 'learned' (a table for the encoder, one for the decoder)
      or 'none': then the encoder knows no order, the decoder only that of its causal mask.
    pre_norm: whether the input of each part of a layer is normalised (and the last output once
      more), or its sum with the residual, as in the paper.
    share_embeddings: 'all': source, target and logits have one table (section 3.4); 'target':
      target and logits have one, the source its own; 'none': all three have their own.
    scale_embedding: whether embeddings are multiplied by sqrt(width) (section 3.4).
    logits_bias: whether there is a bias for each logit.
    dropout: rate, of what is added to a residual and of embeddings (section 5.4).
    attention_dropout: rate, of attention weights.
    activation_dropout: rate, behind the activation.
    head_dim: channels of each head; None for width / num_heads.
    remat: whether layers are computed again for the gradient, to save memory.
    dtype: of the computation; parameters and logits are float32.

  References:
    Vaswani et al. 2017, Attention Is All You Need. Xiong et al. 2020, On Layer Normalization in the
    Transformer Architecture, for pre_norm. Junczys-Dowmunt et al. 2018, Marian.
  """

  vocab_size: int = 37_000
  source_vocab_size: int = 0
  pad_id: int = 0
  bos_id: int = 1
  eos_id: int = 2
  max_length: int = 512
  encoder_layers: int = 6
  decoder_layers: int = 6
  width: int = 512
  num_heads: int = 8
  ffn_width: int = 2048
  activation: str = 'relu'
  positions: str = 'sinusoidal'
  pre_norm: bool = False
  share_embeddings: str = 'all'
  scale_embedding: bool = True
  logits_bias: bool = False
  dropout: float = 0.1
  attention_dropout: float = 0.0
  activation_dropout: float = 0.0
  head_dim: int | None = None
  remat: bool = False
  dtype: str = 'float32'

  def setup(self):
    source_vocab_size = self.source_vocab_size or self.vocab_size
    if self.share_embeddings not in SHARING:
      raise unknown('share_embeddings', self.share_embeddings, SHARING)
    if self.positions not in POSITIONS:
      raise unknown('positions', self.positions, POSITIONS)
    if self.share_embeddings == 'all' and source_vocab_size != self.vocab_size:
      raise ValueError(
        f"share_embeddings 'all' needs one vocabulary, not {source_vocab_size} source tokens and "
        f'{self.vocab_size} target tokens'
      )
    init = nn.initializers.normal(self.width**-0.5)
    # Tables by what they serve; several names may mean the same one.
    target = self.param('embedding', init, (self.vocab_size, self.width))
    tables = {'source': target, 'target': target, 'logits': target}
    if self.share_embeddings != 'all':
      tables['source'] = self.param('source_embedding', init, (source_vocab_size, self.width))
    if self.share_embeddings == 'none':
      tables['logits'] = self.param('logits_embedding', init, (self.vocab_size, self.width))
    self.tables = tables
    if self.positions == 'learned':
      shape = (self.max_length, self.width)
      self.places = {
        side: self.param(f'{side}_positions', init, shape) for side in ('source', 'target')
      }
    if self.logits_bias:
      self.bias = self.param('logits_bias', nn.initializers.zeros, (self.vocab_size,))
    self.encoder = [self.make_layer(cross=False) for _ in range(self.encoder_layers)]
    self.decoder = [self.make_layer(cross=True) for _ in range(self.decoder_layers)]
    if self.pre_norm:
      self.encoder_norm = layer_norm(1e-5, self.dtype)
      self.decoder_norm = layer_norm(1e-5, self.dtype)
    self.drop = nn.Dropout(self.dropout)

  def make_layer(self, cross: bool) -> TransformerLayer:
    return TransformerLayer(
      self.width,
      self.num_heads,
      self.ffn_width,
      activation=self.activation,
      cross=cross,
      pre_norm=self.pre_norm,
      dropout=self.dropout,
      attention_dropout=self.attention_dropout,
      activation_dropout=self.activation_dropout,
      dtype=self.dtype,
      head_dim=self.head_dim,
    )

  def __call__(self, source: Array, decoder_tokens: Array, train: bool = False) -> Array:
    """Returns logits, float32 [B, T, V]: at t those of the token behind decoder_tokens[:, t].

    Args:
      source: int32 [B, S].
      decoder_tokens: int32 [B, T], the target shifted right by one behind `bos_id`.
      train: whether to drop, by the random stream 'dropout'.

    Raises:
      ValueError: more tokens than `max_length`, or a field that does not fit the others.
    """
    return self.head(self.hidden(source, decoder_tokens, train))

  def encode(self, source: Array, train: bool = False) -> Array:
    """Returns what the decoder reads of a source int32 [B, S]: [B, S, D]."""

    def run(layer: TransformerLayer, x: Array, mask: Array) -> Array:
      return layer(x, mask=mask, train=train)[0]

    if self.remat:
      run = nn.remat(run)
    x, mask = self.embed(source, 'source', train), key_mask(source != self.pad_id)
    for layer in self.encoder:
      x = run(layer, x, mask)
    return self.encoder_norm(x) if self.pre_norm else x

  def hidden(self, source: Array, decoder_tokens: Array, train: bool = False) -> Array:
    """Returns what `head` makes logits of: [B, T, D]. Arguments as in `__call__`."""

    def run(layer: TransformerLayer, x: Array, memory: Array, memory_mask: Array) -> Array:
      pair = layer.cross_attention.keys_values(memory)
      return layer(x, causal=True, memory=pair, memory_mask=memory_mask, train=train)[0]

    if self.remat:
      run = nn.remat(run)
    memory, memory_mask = self.encode(source, train), key_mask(source != self.pad_id)
    # Padding of the target needs no mask: it stands behind all that counts.
    x = self.embed(decoder_tokens, 'target', train)
    for layer in self.decoder:
      x = run(layer, x, memory, memory_mask)
    return self.decoder_norm(x) if self.pre_norm else x

  def head(self, hidden: Array) -> Array:
    """Returns logits, float32 [..., V], of [..., D]."""
    logits = logits_by(self.tables['logits'], hidden)
    return (
      logits + jnp.expand_dims(self.bias, range(hidden.ndim - 1)) if self.logits_bias else logits
    )

  def start(self, source: Array, length: int) -> Cache:
    """Encodes a source, int32 [B, S], for `decode`.

    Args:
      source: int32 [B, S].
      length: the most tokens to be decoded, `bos_id` among them.

    Returns:
      'index', int32 []: how many tokens were decoded; and, with the batch as leading axis,
      'source_mask', and for each layer keys and values, of the source in 'cross' and of the tokens
      so far in 'self'.

    Raises:
      ValueError: a length above `max_length`.
    """
    self.check_length(length)
    B, S = source.shape
    memory = self.encode(source)
    size = head_size(self.width, self.num_heads, self.head_dim)
    empty = lambda n: init_cache(B, n, self.num_heads, size, self.dtype)
    zero = jnp.zeros((), jnp.int32)
    return {
      'index': zero,
      'source_mask': source != self.pad_id,
      'cross': [
        update_cache(empty(S), *layer.cross_attention.keys_values(memory), zero)
        for layer in self.decoder
      ],
      'self': [empty(length) for _ in self.decoder],
    }

  def decode(self, tokens: Array, cache: Cache) -> tuple[Array, Cache]:
    """Decodes int32 [B, T] behind what is in the cache: logits [B, T, V] and the new cache.

    The caller sees to it that no more tokens are decoded than `start` made room for.
    """
    index, length = cache['index'], cache['self'][0]['k'].shape[2]
    x = self.embed(tokens, 'target', train=False, index=index, length=length)
    mask = causal_mask(tokens.shape[1], length, index)
    memory_mask = key_mask(cache['source_mask'])
    layers = []
    for layer, own, cross in zip(self.decoder, cache['self'], cache['cross'], strict=True):
      x, own = layer(
        x,
        mask=mask,
        memory=read_cache(cross),
        memory_mask=memory_mask,
        cache=own,
        index=index,
        train=False,
      )
      layers.append(own)
    x = self.decoder_norm(x) if self.pre_norm else x
    return self.head(x), {**cache, 'index': index + tokens.shape[1], 'self': layers}

  def embed(
    self,
    tokens: Array,
    side: str,
    train: bool,
    index: Array | int = 0,
    length: int | None = None,
  ) -> Array:
    """Embeds int [B, T] of the 'source' or 'target', the first of them at place `index` of L."""
    length = tokens.shape[1] if length is None else length
    self.check_length(length)
    x = self.tables[side][tokens]
    if self.scale_embedding:
      x *= self.width**0.5
    if self.positions != 'none':
      table = self.places[side] if self.positions == 'learned' else sinusoids(length, self.width)
      x += jax.lax.dynamic_slice_in_dim(jnp.asarray(table), index, tokens.shape[1])[None]
    return self.drop(x.astype(compute_dtype(self.dtype)), deterministic=not train)

  def check_length(self, length: int) -> None:
    if length > self.max_length:
      raise ValueError(f'{length} tokens are more than max_length {self.max_length}')


def sinusoids(length: int, width: int) -> np.ndarray:
  """Positions as waves, from 2 pi to nearly 10000 * 2 pi tokens long: float32 [length, width].

  The first half of the channels are the sines and the second the cosines, as in Marian and in the
  authors' own code. The paper takes them in turn: the same up to the order of channels.

  Raises:
    ValueError: an odd width.

  References:
    Vaswani et al. 2017, Attention Is All You Need, section 3.5.
  """
  if width % 2:
    raise ValueError(f'sinusoidal positions need an even width, not {width}')
  rates = 10_000.0 ** -(np.arange(0, width, 2) / width)
  angles = np.arange(length)[:, None] * rates  # float64, for angles of thousands of turns
  return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
