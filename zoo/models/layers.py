"""What models share: activations, norms and computation types by name; layers of Transformers."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from zoo.models import residual
from zoo.models.attention import Cache, attend, head_size, read_cache, update_cache
from zoo.models.products import dot_general
from zoo.names import unknown
from zoo.types import Array

# Those of jax.nn that map each element by itself and need no further argument, and `gelu_exact`.
# fmt: off
ACTIVATIONS = (
  'celu', 'elu', 'gelu', 'gelu_exact', 'hard_sigmoid', 'hard_silu', 'hard_swish', 'hard_tanh',
  'identity', 'leaky_relu', 'log_sigmoid', 'mish', 'relu', 'relu6', 'selu', 'sigmoid', 'silu',
  'soft_sign', 'softplus', 'sparse_plus', 'sparse_sigmoid', 'squareplus', 'swish', 'tanh',
)
# fmt: on
NORMS = ('batch', 'group', 'layer', 'none')
DTYPES = ('bfloat16', 'float16', 'float32')

# Keeps the size of the signal through a rectifier (He et al. 2015, Delving Deep into Rectifiers,
# eq. 10). For other activations the factor 2 is not exact; normalisation makes up for that.
hidden_init = nn.initializers.he_normal()
# Variance 1 / fan_in, for a layer that nothing follows: logits start of order one (LeCun et al.
# 1998, Efficient BackProp, section 4.6).
output_init = nn.initializers.lecun_normal()


def activation(name: str) -> Callable[[Array], Array]:
  """Returns the elementwise activation of `jax.nn` that has this name, or `gelu_exact`.

  Raises:
    ValueError: an unknown name.
  """
  if name not in ACTIVATIONS:
    raise unknown('activation', name, ACTIVATIONS)
  return gelu_exact if name == 'gelu_exact' else getattr(jax.nn, name)


def gelu_exact(x: Array) -> Array:
  """The product of x and the normal distribution function of x; 'gelu' approximates it by a tanh.

  References:
    Hendrycks and Gimpel 2016, Gaussian Error Linear Units.
  """
  return jax.nn.gelu(x, approximate=False)


def compute_dtype(name: str) -> jnp.dtype:
  """Returns the floating type that activations are computed in.

  Raises:
    ValueError: an unknown name.
  """
  if name not in DTYPES:
    raise unknown('dtype', name, DTYPES)
  return jnp.dtype(name)


def normalization(
  kind: str,
  channels: int,
  *,
  train: bool,
  momentum: float = 0.9,
  axis_name: str | None = None,
  synchronise: bool = True,
  scale_init: Initializer = nn.initializers.ones,
  name: str | None = None,
) -> Callable[[Array], Array]:
  """Makes a normalisation inside a compact method: 'BatchNorm_0' and so on among the parameters.

  It computes in float32 and returns the type it was given. All have a learned scale and bias.

  Args:
    kind: 'batch' (per channel, over the whole batch), 'group' (per example, over places and groups
      of 16 channels, or all channels in one group where 16 does not divide them), 'layer' (per
      example and place, over channels) or 'none'.
    channels: size of the last axis.
    train: whether batch statistics are measured and averaged, or the averages are used.
    momentum: of those averages. 0.9 forgets the initial values within 50 steps; 0.99 takes 500.
    axis_name: the mapped axis over which batch statistics are shared. Without it each device of a
      pmap would have statistics of its own.
    synchronise: whether devices normalise by the statistics of all examples, or each by those of
      its own; the running averages are then the mean over devices.
    scale_init: how the scale starts.
    name: among the parameters, in place of 'BatchNorm_0'.

  Raises:
    ValueError: an unknown kind.

  References:
    Ioffe and Szegedy 2015, Batch Normalization. Ba et al. 2016, Layer Normalization. Wu and He
    2018, Group Normalization, table 3: groups of 16 channels do nearly as well as 32 groups.
  """
  options: dict[str, Any] = {'epsilon': 1e-5, 'dtype': jnp.float32, 'scale_init': scale_init}
  options['name'] = name
  if kind == 'batch':
    options |= {'use_running_average': not train, 'momentum': momentum}
    norm = BatchNorm(**{'axis_name' if synchronise else 'averaged_over': axis_name}, **options)
  elif kind == 'group':
    size = 16 if channels % 16 == 0 else channels
    norm = nn.GroupNorm(num_groups=None, group_size=size, **options)
  elif kind == 'layer':
    norm = nn.LayerNorm(**options)
  elif kind == 'none':
    return lambda x: x
  else:
    raise unknown('norm', kind, NORMS)
  return lambda x: norm(x.astype(jnp.float32)).astype(x.dtype)


class BatchNorm(nn.BatchNorm):
  """That of Flax, whose running averages devices may share though they share no statistics.

  Attributes:
    averaged_over: the mapped axis over which the running averages, and nothing else, are averaged,
      so that they are alike on all devices. That of the variance is then of examples on one device:
      it leaves out how the means of devices differ.

  References:
    Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.3, for statistics per device.
  """

  averaged_over: str | None = None

  def __call__(self, x: Array, *args: Any, **kwargs: Any) -> Array:
    y = super().__call__(x, *args, **kwargs)
    if self.averaged_over and not (self.use_running_average or self.is_initializing()):
      for name in ('mean', 'var'):
        average = jax.lax.pmean(self.get_variable('batch_stats', name), self.averaged_over)
        self.put_variable('batch_stats', name, average)
    return y


def stochastic_depth(rate: float, ndim: int) -> nn.Dropout:
  """Drops the whole of a residual branch, [B, ...] of `ndim` axes, for some examples.

  It is a dropout: that of the other examples is scaled by 1 / (1 - rate).

  References:
    Huang et al. 2016, Deep Networks with Stochastic Depth, section 3.
  """
  return nn.Dropout(rate, broadcast_dims=tuple(range(1, ndim)))


def layer_norm(epsilon: float, dtype: str, name: str | None = None) -> nn.LayerNorm:
  """A layer norm that computes in float32 and returns `dtype`.

  By the mean of squared deviations: the difference of two means that Flax takes by default loses
  digits where the mean is large.

  References:
    Ba et al. 2016, Layer Normalization.
  """
  return nn.LayerNorm(epsilon, dtype=compute_dtype(dtype), use_fast_variance=False, name=name)


class MultiHeadAttention(nn.Module):
  """Attention between linear maps of its inputs, in several heads.

  Attributes:
    width: D, of inputs and results.
    num_heads: H.
    dropout: rate, of the attention weights.
    kernel_init: how weights start; biases start at zero.
    dtype: of the computation; parameters are float32.
    head_dim: N, the channels of each head; None for D / H.

  References:
    Vaswani et al. 2017, Attention Is All You Need, section 3.2.2.
  """

  width: int
  num_heads: int
  dropout: float = 0.0
  kernel_init: Initializer = nn.initializers.xavier_uniform()
  dtype: str = 'float32'
  head_dim: int | None = None

  def setup(self):
    inner = self.num_heads * head_size(self.width, self.num_heads, self.head_dim)
    options = {'kernel_init': self.kernel_init, 'dtype': compute_dtype(self.dtype)}
    dense = functools.partial(nn.Dense, dot_general=dot_general, **options)
    self.query, self.key, self.value = dense(inner), dense(inner), dense(inner)
    self.out = dense(self.width)

  def keys_values(self, x: Array) -> tuple[Array, Array]:
    """Returns the keys and the values of [B, T, D], each [B, T, H, N]."""
    return self.split(self.key(x)), self.split(self.value(x))

  def __call__(
    self,
    x: Array,
    keys: Array,
    values: Array,
    *,
    train: bool,
    mask: Array | None = None,
    causal: bool = False,
  ) -> Array:
    """Returns what the queries [B, Tq, D] find, [B, Tq, D]; masks as in `attention.attend`."""
    found = attend(
      self.split(self.query(x)),
      keys,
      values,
      mask=mask,
      causal=causal,
      dropout=self.dropout,
      key=self.make_rng('dropout') if train and self.dropout else None,
    )
    return self.out(found.reshape(*x.shape[:2], -1))

  def split(self, x: Array) -> Array:
    return x.reshape(*x.shape[:2], self.num_heads, -1)


class TransformerLayer(nn.Module):
  """Self-attention, attention to a memory if `cross`, then two dense layers, each with a residual.

  Attributes:
    width: D, of inputs and results.
    num_heads: of both attentions.
    ffn_width: units between the two dense layers.
    activation: between them, see `activation`.
    cross: whether there is a memory to attend to.
    pre_norm: whether the input of each part is normalised, or its sum with the residual.
    dropout: rate, of what is added to a residual.
    attention_dropout: rate, of attention weights.
    activation_dropout: rate, behind the activation.
    stochastic_depth: rate at which an example goes without all that is added to a residual.
    epsilon: of the norms.
    kernel_init: how weights start; biases start at zero.
    dtype: of the computation; parameters are float32.
    head_dim: channels of each head; None for width / num_heads.

  References:
    Vaswani et al. 2017, Attention Is All You Need, section 3.1. Xiong et al. 2020, On Layer
    Normalization in the Transformer Architecture, figure 1.
  """

  width: int
  num_heads: int
  ffn_width: int
  activation: str = 'relu'
  cross: bool = False
  pre_norm: bool = False
  dropout: float = 0.0
  attention_dropout: float = 0.0
  activation_dropout: float = 0.0
  stochastic_depth: float = 0.0
  epsilon: float = 1e-5
  kernel_init: Initializer = nn.initializers.xavier_uniform()
  dtype: str = 'float32'
  head_dim: int | None = None

  def setup(self):
    attention = functools.partial(
      MultiHeadAttention,
      self.width,
      self.num_heads,
      self.attention_dropout,
      self.kernel_init,
      self.dtype,
      self.head_dim,
    )
    options = {'kernel_init': self.kernel_init, 'dtype': compute_dtype(self.dtype)}
    dense = functools.partial(nn.Dense, dot_general=dot_general, **options)
    norm = functools.partial(layer_norm, self.epsilon, self.dtype)
    self.attention, self.attention_norm = attention(), norm()
    if self.cross:
      self.cross_attention, self.cross_norm = attention(), norm()
    self.ffn_in, self.ffn_out, self.ffn_norm = dense(self.ffn_width), dense(self.width), norm()
    self.drop, self.drop_activation = nn.Dropout(self.dropout), nn.Dropout(self.activation_dropout)
    self.drop_branch = stochastic_depth(self.stochastic_depth, 3)

  def __call__(
    self,
    x: Array,
    *,
    train: bool,
    mask: Array | None = None,
    causal: bool = False,
    memory: tuple[Array, Array] | None = None,
    memory_mask: Array | None = None,
    cache: Cache | None = None,
    index: Array | int = 0,
  ) -> tuple[Array, Cache | None]:
    """Maps [B, T, D] to [B, T, D].

    Args:
      x: the input, of the computation's type.
      train: whether to drop.
      mask: of self-attention, over T keys, or over those of the cache; see `attention.attend`.
      causal: whether position i sees only those up to i.
      memory: keys and values of what `cross_attention` reads, by its `keys_values`.
      memory_mask: of its keys.
      cache: of self-attention. The keys and values of x are written to it from `index` on, and
        attention is to all of it.
      index: int32 [].

    Returns:
      The output and the cache.
    """
    y = self.attention_norm(x) if self.pre_norm else x
    keys, values = self.attention.keys_values(y)
    if cache is not None:
      cache = update_cache(cache, keys, values, jnp.asarray(index))
      keys, values = read_cache(cache)
    y = self.attention(y, keys, values, mask=mask, causal=causal, train=train)
    x = self.add(x, y, self.attention_norm, train)

    if self.cross:
      if memory is None:
        raise ValueError('a Transformer layer with cross-attention needs a memory')
      y = self.cross_norm(x) if self.pre_norm else x
      y = self.cross_attention(y, *memory, mask=memory_mask, train=train)
      x = self.add(x, y, self.cross_norm, train)

    y = self.ffn_norm(x) if self.pre_norm else x
    y = activation(self.activation)(self.ffn_in(y))
    y = self.ffn_out(self.drop_activation(y, deterministic=not train))
    return self.add(x, y, self.ffn_norm, train), cache

  def add(self, x: Array, y: Array, norm: Callable[[Array], Array], train: bool) -> Array:
    y = self.drop_branch(self.drop(y, deterministic=not train), deterministic=not train)
    x = residual.add(x, y)
    return x if self.pre_norm else norm(x)
