"""BERT: an encoder that reads in both directions, for masked language models and classification."""

import flax.linen as nn
import jax.numpy as jnp

from zoo.models.attention import key_mask
from zoo.models.layers import TransformerLayer, activation, compute_dtype, layer_norm
from zoo.models.products import logits_by
from zoo.types import Array

# Devlin et al. 2019, section 3. With the 30,522 tokens of the uncased vocabulary, an encoder and
# its pooler have 109,482,240 and 335,141,888 parameters.
SIZES = {
  'base': {'num_layers': 12, 'width': 768, 'num_heads': 12, 'ffn_width': 3072},
  'large': {'num_layers': 24, 'width': 1024, 'num_heads': 16, 'ffn_width': 4096},
}
INIT = nn.initializers.truncated_normal(0.02)


class BERT(nn.Module):
  """Embeddings of tokens, places and token types; layers with norms behind them; one of two heads.

  With `num_classes` = 0 it is a masked language model: bert-base-uncased has 109,514,298 parameters
  then. Otherwise it classifies by its pooler: of two classes, 109,483,778. The pooler alone comes
  with `method='pooled'`: 109,482,240.

  Weights start normal with deviation 0.02, cut off at two deviations; biases at zero.

  Attributes:
    vocab_size: V.
    pad_id: what tokens are padded with: no position sees it.
    max_length: the most tokens.
    num_layers: of the encoder.
    width: D, of embeddings and of all that layers hand on.
    num_heads: of attention; divides the width if there is no `head_dim`.
    ffn_width: units between the two dense layers.
    num_types: token types: which of two sentences a token is in.
    activation: see `layers.activation`.
    epsilon: of the norms.
    num_classes: C, or 0 for a masked language model.
    dropout: rate, of what is added to a residual, and of embeddings.
    attention_dropout: rate, of attention weights.
    classifier_dropout: rate, of what the class logits are computed from.
    head_dim: channels of each head; None for width / num_heads.
    remat: whether layers are computed again for the gradient, to save memory.
    dtype: of the computation; parameters and logits are float32.

  References:
    Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers.
  """

  vocab_size: int = 30_522
  pad_id: int = 0
  max_length: int = 512
  num_layers: int = 12
  width: int = 768
  num_heads: int = 12
  ffn_width: int = 3072
  num_types: int = 2
  activation: str = 'gelu_exact'
  epsilon: float = 1e-12
  num_classes: int = 0
  dropout: float = 0.1
  attention_dropout: float = 0.1
  classifier_dropout: float = 0.1
  head_dim: int | None = None
  remat: bool = False
  dtype: str = 'float32'

  def setup(self):
    table = lambda name, rows: self.param(f'{name}_embedding', INIT, (rows, self.width))
    self.token_table = table('token', self.vocab_size)
    self.position_table = table('position', self.max_length)
    self.type_table = table('type', self.num_types)
    self.embedding_norm = layer_norm(self.epsilon, self.dtype)
    self.layer = [
      TransformerLayer(
        self.width,
        self.num_heads,
        self.ffn_width,
        activation=self.activation,
        dropout=self.dropout,
        attention_dropout=self.attention_dropout,
        epsilon=self.epsilon,
        kernel_init=INIT,
        dtype=self.dtype,
        head_dim=self.head_dim,
      )
      for _ in range(self.num_layers)
    ]
    self.masked_lm = MaskedLMHead(self.activation, self.epsilon, self.dtype)
    dtype = compute_dtype(self.dtype)
    self.pooler = nn.Dense(self.width, kernel_init=INIT, dtype=dtype)
    self.classifier = nn.Dense(self.num_classes, kernel_init=INIT, dtype=dtype)
    self.drop, self.drop_pooled = nn.Dropout(self.dropout), nn.Dropout(self.classifier_dropout)

  def __call__(self, tokens: Array, train: bool = False, token_types: Array | None = None) -> Array:
    """Returns logits: float32 [B, T, V] of tokens, or [B, C] of classes if there are any.

    Args:
      tokens: int32 [B, T]; for classes the first of them is the one that is read ([CLS]).
      train: whether to drop, by the random stream 'dropout'.
      token_types: int32 [B, T]; None for all 0.

    Raises:
      ValueError: more tokens than `max_length`.
    """
    if not self.num_classes:
      return self.head(self.hidden(tokens, train, token_types))
    pooled = self.drop_pooled(self.pooled(tokens, train, token_types), deterministic=not train)
    return self.classifier(pooled).astype(jnp.float32)

  def hidden(self, tokens: Array, train: bool = False, token_types: Array | None = None) -> Array:
    """Returns the last layer's output, [B, T, D]. Arguments as in `__call__`."""

    def run(layer: TransformerLayer, x: Array, mask: Array) -> Array:
      return layer(x, mask=mask, train=train)[0]

    if self.remat:
      run = nn.remat(run)
    length = tokens.shape[1]
    if length > self.max_length:
      raise ValueError(f'{length} tokens are more than max_length {self.max_length}')
    if token_types is None:
      token_types = jnp.zeros_like(tokens)
    x = self.token_table[tokens] + self.type_table[token_types] + self.position_table[None, :length]
    x = self.drop(self.embedding_norm(x), deterministic=not train)
    mask = key_mask(tokens != self.pad_id)
    for layer in self.layer:
      x = run(layer, x, mask)
    return x

  def pooled(self, tokens: Array, train: bool = False, token_types: Array | None = None) -> Array:
    """Returns [B, D], read from the first token, for the classifier. Arguments as in `__call__`."""
    return jnp.tanh(self.pooler(self.hidden(tokens, train, token_types)[:, 0]))

  def head(self, hidden: Array) -> Array:
    """Returns the logits of tokens, float32 [..., V], of [..., D]."""
    return self.masked_lm(hidden, self.token_table)


class MaskedLMHead(nn.Module):
  """One more dense layer, then the products with the embeddings of all tokens, and a bias."""

  activation: str
  epsilon: float
  dtype: str

  @nn.compact
  def __call__(self, hidden: Array, table: Array) -> Array:
    width, dtype = hidden.shape[-1], compute_dtype(self.dtype)
    x = nn.Dense(width, kernel_init=INIT, dtype=dtype, name='dense')(hidden)
    x = layer_norm(self.epsilon, self.dtype, name='norm')(activation(self.activation)(x))
    logits = logits_by(table, x)
    bias = self.param('bias', nn.initializers.zeros, table.shape[:1])
    return logits + jnp.expand_dims(bias, range(logits.ndim - 1))
