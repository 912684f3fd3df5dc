"""ViT: a Transformer that reads a picture as a row of patches."""

import flax.linen as nn
import jax.numpy as jnp

from zoo.models.layers import TransformerLayer, compute_dtype, layer_norm
from zoo.names import unknown
from zoo.types import Array

# Dosovitskiy et al. 2021, table 1; Ti and S are those of Touvron et al. 2021, table 1. Of 224 x 224
# pixels and 1000 classes they have 5,717,416, 22,050,664, 86,567,656 and 304,326,632 parameters.
SIZES = {
  'vit_ti16': {'num_layers': 12, 'width': 192, 'num_heads': 3, 'ffn_width': 768},
  'vit_s16': {'num_layers': 12, 'width': 384, 'num_heads': 6, 'ffn_width': 1536},
  'vit_b16': {'num_layers': 12, 'width': 768, 'num_heads': 12, 'ffn_width': 3072},
  'vit_l16': {'num_layers': 24, 'width': 1024, 'num_heads': 16, 'ffn_width': 4096},
}
POOLINGS = ('token', 'mean')
POSITIONS = ('learned', 'sincos', 'none')


class ViT(nn.Module):
  """Patches through one linear map, with positions; layers with norms before them; the logits.

  The patches start by LeCun et al. 1998, positions normal with deviation 0.02, layers by Glorot and
  Bengio 2010, the class token and the logits at zero.

  Attributes:
    patch_size: side of a patch; divides height and width.
    num_layers: of the encoder.
    width: D, of patches and of all that layers hand on.
    num_heads: of attention; divides the width if there is no `head_dim`.
    ffn_width: units between the two dense layers.
    pooling: 'token' (of one more token, which is learned and goes first) or 'mean' (over patches).
    positions: 'learned' (for one size of pictures), 'sincos' (fixed sines and cosines of row and
      column) or 'none' (the picture is a set of patches).
    activation: see `layers.activation`.
    epsilon: of the norms.
    stochastic_depth: rate at which the last layer is dropped; it grows linearly from the first.
    dropout: rate, of what is added to a residual, and of embedded patches.
    attention_dropout: rate, of attention weights.
    num_classes: logits, or 0 to return what they would be computed from.
    head_dim: channels of each head; None for width / num_heads.
    remat: whether layers are computed again for the gradient, to save memory.
    dtype: of the computation; parameters are float32, and norms compute in float32.

  References:
    Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, section 3.1. Beyer et al. 2022, Better
    Plain ViT Baselines for ImageNet-1k, for 'mean' with 'sincos'.
  """

  patch_size: int = 16
  num_layers: int = 12
  width: int = 768
  num_heads: int = 12
  ffn_width: int = 3072
  pooling: str = 'token'
  positions: str = 'learned'
  activation: str = 'gelu_exact'
  epsilon: float = 1e-6
  stochastic_depth: float = 0.0
  dropout: float = 0.0
  attention_dropout: float = 0.0
  num_classes: int = 1000
  head_dim: int | None = None
  remat: bool = False
  dtype: str = 'float32'

  def __call__(self, x: Array, *, train: bool) -> Array:
    """Returns the logits, float32 [B, num_classes], or features, of images [B, H, W, C].

    Raises:
      ValueError: an input of another rank, or of a size that does not fit patches or positions; an
        unknown name in a field.
    """
    outputs = self.features(x, train=train)
    return outputs['logits' if self.num_classes else 'pooled'].astype(jnp.float32)

  @nn.compact
  def features(self, x: Array, *, train: bool) -> dict[str, Array]:
    """Returns by name all that is computed on the way, in the type of the computation.

    'embedded' and 'layer_0', 'layer_1' ... are [B, T, D], where T counts the patches, row by row,
    behind the class token if there is one; 'pooled' is [B, D], and 'logits' is [B, num_classes] if
    there are classes.
    """
    if x.ndim != 4:
      raise ValueError(f'ViT takes images [batch, height, width, channels], not shape {x.shape}')
    for kind, value, known in (
      ('pooling', self.pooling, POOLINGS),
      ('positions', self.positions, POSITIONS),
    ):
      if value not in known:
        raise unknown(kind, value, known)
    B, H, W, _ = x.shape
    P, D, dtype = self.patch_size, self.width, compute_dtype(self.dtype)
    if H % P or W % P:
      raise ValueError(f'pictures of {H} x {W} cannot be cut into patches of {P} x {P}')

    x = nn.Conv(D, (P, P), (P, P), 'VALID', dtype=dtype, name='patch_embedding')(x.astype(dtype))
    x = x.reshape(B, -1, D)  # [B, N, D]
    if self.pooling == 'token':
      token = self.param('class_token', nn.initializers.zeros, (1, 1, D))
      x = jnp.concatenate([jnp.broadcast_to(token.astype(dtype), (B, 1, D)), x], axis=1)
    if self.positions == 'learned':
      x += self.learned_positions(x.shape[1]).astype(dtype)
    elif self.positions == 'sincos':
      table = sincos_positions(H // P, W // P, D)
      x += jnp.pad(table, ((x.shape[1] - len(table), 0), (0, 0))).astype(dtype)[None]
    x = nn.Dropout(self.dropout, deterministic=not train)(x)

    def run(layer: TransformerLayer, x: Array) -> Array:
      return layer(x, train=train)[0]

    run = nn.remat(run) if self.remat else run
    outputs = {'embedded': x}
    for i in range(self.num_layers):
      layer = TransformerLayer(
        D,
        self.num_heads,
        self.ffn_width,
        activation=self.activation,
        pre_norm=True,
        dropout=self.dropout,
        attention_dropout=self.attention_dropout,
        stochastic_depth=self.stochastic_depth * i / max(self.num_layers - 1, 1),
        epsilon=self.epsilon,
        dtype=self.dtype,
        head_dim=self.head_dim,
        name=f'layer_{i}',
      )
      x = outputs[f'layer_{i}'] = run(layer, x)

    x = layer_norm(self.epsilon, self.dtype, name='final_norm')(x)
    x = outputs['pooled'] = x[:, 0] if self.pooling == 'token' else x.mean(1)
    if self.num_classes:
      zeros = nn.initializers.zeros
      head = nn.Dense(self.num_classes, kernel_init=zeros, dtype=dtype, name='head')
      outputs['logits'] = head(x)
    return outputs

  def learned_positions(self, length: int) -> Array:
    """The table of positions, [1, T, D]."""
    name = 'position_embedding'
    if self.has_variable('params', name):
      known = jnp.shape(self.get_variable('params', name))[1]
      if known != length:
        raise ValueError(f'the picture makes {length} tokens, but {known} positions were learned')
    return self.param(name, nn.initializers.normal(0.02), (1, length, self.width))


def sincos_positions(height: int, width: int, channels: int) -> Array:
  """Sines and cosines of column and row at wavelengths from 2 pi to 10,000 times that.

  Args:
    height: rows of patches.
    width: columns of patches.
    channels: D, a multiple of 4.

  Returns:
    float32 [height * width, D].

  References:
    Chen et al. 2021, An Empirical Study of Training Self-Supervised Vision Transformers, section 5;
    after Vaswani et al. 2017, section 3.5.
  """
  if channels % 4:
    raise ValueError(f'positions of two axes need a width that is a multiple of 4, not {channels}')
  rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing='ij')
  rates = 10_000.0 ** -jnp.linspace(0, 1, channels // 4)
  angles = [place.reshape(-1, 1) * rates[None] for place in (columns, rows)]
  return jnp.concatenate([f(a) for a in angles for f in (jnp.sin, jnp.cos)], axis=1)
