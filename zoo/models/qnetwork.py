"""Networks that value actions: a torso for the kind of observation, then a head for each action."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.models.conv import Conv
from zoo.models.layers import (
  activation,
  compute_dtype,
  hidden_init,
  normalization,
  output_init,
)
from zoo.names import unknown
from zoo.types import Array

NORMS = ('none', 'layer')
HEADS = ('scalar', 'c51', 'qr', 'iqn')
COSINES = 64


class QNetwork(nn.Module):
  """The value of every action, or its distribution, of observations.

  Attributes:
    num_actions: A.
    torso: 'mlp' (flattens), 'minatar' (one convolution; boards of 10 x 10), 'nature' (three;
      screens of 84 x 84) or 'impala' (three stages of residual blocks).
    scale: what observations are divided by, for each of their last axis; () for 1.
    widths: units of dense layers behind the torso. The last belongs to the head: of a dueling
      network each stream has its own.
    activation: of `jax.nn`.
    head: 'scalar': the expected return. 'c51': logits of `num_atoms` returns, evenly from `v_min`
      to `v_max`. 'qr': `num_quantiles` quantiles of the return. 'iqn': the quantiles asked for.
    num_atoms: of 'c51'.
    v_min: lowest return of 'c51'.
    v_max: highest.
    num_quantiles: of 'qr'; of 'iqn' those by which actions are valued.
    dueling: value and advantages have streams of their own; the mean advantage is taken away.
    noisy: the head's dense layers have noise with a scale that is learnt.
    noise_scale: where that scale begins, times the root of what a unit sums over.
    norm: 'none', or 'layer': layer normalisation before every activation, over channels.
    dtype: of the computation; parameters are float32.

  References:
    Mnih et al. 2015, Human-level control through deep reinforcement learning. Young and Tian 2019,
    MinAtar. Espeholt et al. 2018, IMPALA, figure 3. Wang et al. 2016, Dueling Network
    Architectures. Fortunato et al. 2018, Noisy Networks for Exploration. Bellemare et al. 2017, A
    Distributional Perspective (C51). Dabney et al. 2018, Distributional Reinforcement Learning with
    Quantile Regression (QR), and Implicit Quantile Networks (IQN).
  """

  num_actions: int = 2
  torso: str = 'mlp'
  scale: tuple[float, ...] = ()
  widths: tuple[int, ...] = (120, 84)
  activation: str = 'relu'
  head: str = 'scalar'
  num_atoms: int = 51
  v_min: float = -10.0
  v_max: float = 10.0
  num_quantiles: int = 32
  dueling: bool = False
  noisy: bool = False
  noise_scale: float = 0.5
  norm: str = 'none'
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: Array, *, train: bool, taus: Array | None = None) -> Array:
    """Values the actions.

    Args:
      x: observations [B, ...]; uint8 ones are divided by 255.
      train: nothing is different.
      taus: of 'iqn', float [B, N] in (0, 1): which quantiles; by default the middles of
        `num_quantiles` equal parts.

    With the random stream 'noise' a noisy network draws its noise, the same for the whole batch;
    without it there is none.

    Returns:
      float32 [B, A] of 'scalar', [B, A, K] of the others: logits of atoms, or quantiles.

    Raises:
      ValueError: an unknown name in a field, or observations that do not fit the torso.
    """
    if self.torso not in TORSOS:
      raise unknown('torso', self.torso, TORSOS)
    if self.head not in HEADS:
      raise unknown('head', self.head, HEADS)
    if not self.widths or self.v_min >= self.v_max:
      raise ValueError('a Q-network needs a width, and v_min below v_max')
    if self.norm not in NORMS:
      raise unknown('norm', self.norm, NORMS)
    plain, dtype = activation(self.activation), compute_dtype(self.dtype)
    act = lambda x: plain(normalization(self.norm, x.shape[-1], train=train)(x))
    x = x.astype(dtype) / (255 if x.dtype == jnp.uint8 else 1)
    if self.scale:
      if len(self.scale) not in (1, x.shape[-1]) or min(self.scale) <= 0:
        raise ValueError(f'scale must be {x.shape[-1]} numbers above 0, not {self.scale}')
      x = x / jnp.array(self.scale, dtype).reshape(*(1,) * (x.ndim - 1), -1)
    x = TORSOS[self.torso](x, act, dtype)
    x = x.reshape(x.shape[0], -1)
    for width in self.widths[:-1]:
      x = act(nn.Dense(width, kernel_init=hidden_init, dtype=dtype)(x))

    if self.head == 'iqn':
      if taus is None:
        middles = (jnp.arange(self.num_quantiles) + 0.5) / self.num_quantiles
        taus = jnp.broadcast_to(middles, (x.shape[0], self.num_quantiles))
      angles = jnp.pi * jnp.multiply.outer(taus, jnp.arange(COSINES))
      embed = nn.Dense(x.shape[-1], kernel_init=hidden_init, dtype=dtype, name='quantile')
      x = x[:, None] * act(embed(jnp.cos(angles)))  # [B, N, D]

    def stream(name: str, outputs: int) -> Array:
      dense = lambda width, init, name: (
        NoisyDense(width, self.noise_scale, dtype=dtype, name=name)
        if self.noisy
        else nn.Dense(width, kernel_init=init, dtype=dtype, name=name)
      )
      hidden = act(dense(self.widths[-1], hidden_init, f'{name}_hidden')(x))
      y = dense(outputs * K, output_init, name)(hidden)
      return y.reshape(*y.shape[:-1], outputs, K).astype(jnp.float32)

    K = {'c51': self.num_atoms, 'qr': self.num_quantiles}.get(self.head, 1)
    y = stream('advantage' if self.dueling else 'head', self.num_actions)  # [B, (N,) A, K]
    if self.dueling:
      y = stream('value', 1) + y - y.mean(-2, keepdims=True)
    if self.head == 'iqn':
      return jnp.swapaxes(y[..., 0], 1, 2)
    return y[..., 0] if self.head == 'scalar' else y


class NoisyDense(nn.Module):
  """y = x (W + S * noise) + b + s * noise, with factorised Gaussian noise.

  Attributes:
    features: units.
    scale: S and s begin at this over the root of the number of inputs.
    dtype: of the computation.

  References:
    Fortunato et al. 2018, Noisy Networks for Exploration, section 3.
  """

  features: int
  scale: float
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array) -> Array:
    inputs = x.shape[-1]
    bound = inputs**-0.5
    uniform = lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)
    start = nn.initializers.constant(self.scale * bound)
    kernel = self.param('kernel', uniform, (inputs, self.features))
    bias = self.param('bias', uniform, (self.features,))
    kernel_noise = self.param('kernel_noise', start, (inputs, self.features))
    bias_noise = self.param('bias_noise', start, (self.features,))
    if self.has_rng('noise'):
      keys = jax.random.split(self.make_rng('noise'))
      of_inputs, of_outputs = map(noise, keys, (inputs, self.features))
      kernel += kernel_noise * jnp.outer(of_inputs, of_outputs)
      bias += bias_noise * of_outputs
    return x @ kernel.astype(self.dtype) + jnp.broadcast_to(
      bias.astype(self.dtype), (*x.shape[:-1], self.features)
    )


def noise(key: Array, size: int) -> Array:
  """sign(e) sqrt(|e|) of standard normal e, float32 [size]."""
  e = jax.random.normal(key, (size,))
  return jnp.sign(e) * jnp.sqrt(jnp.abs(e))


Activation = Callable[[Array], Array]


def minatar(x: Array, act: Activation, dtype: jnp.dtype) -> Array:
  """One convolution of 3 x 3, on boards [B, H, W, C]."""
  require('minatar', x, 3)
  return act(Conv(16, (3, 3), padding='VALID', kernel_init=hidden_init, dtype=dtype)(x))


def nature(x: Array, act: Activation, dtype: jnp.dtype) -> Array:
  """Three convolutions, on screens [B, H, W, C]: 84 x 84 become 7 x 7."""
  require('nature', x, 36)
  for width, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
    conv = Conv(
      width, (size, size), (stride, stride), padding='VALID', kernel_init=hidden_init, dtype=dtype
    )
    x = act(conv(x))
  return x


def impala(x: Array, act: Activation, dtype: jnp.dtype) -> Array:
  """Three stages: a convolution, pooling by two, two residual blocks."""
  require('impala', x, 8)
  conv = lambda width: Conv(width, (3, 3), kernel_init=hidden_init, dtype=dtype)
  for width in (16, 32, 32):
    x = nn.max_pool(conv(width)(x), (3, 3), (2, 2), 'SAME')
    for _ in range(2):
      x = x + conv(width)(act(conv(width)(act(x))))
  return act(x)


def flat(x: Array, act: Activation, dtype: jnp.dtype) -> Array:
  """Observations as they are."""
  del act, dtype
  return x


def require(name: str, x: Array, side: int) -> None:
  """Refuses what is no picture, or one too small for a torso."""
  if x.ndim != 4 or min(x.shape[1:3]) < side:
    raise ValueError(
      f'the torso {name!r} takes observations [{side} or more, {side} or more, channels], '
      f"not {list(x.shape[1:])}; 'mlp' takes any"
    )


TORSOS = {'mlp': flat, 'minatar': minatar, 'nature': nature, 'impala': impala}

# By name: what is observed, and what sets a network apart from the defaults.
PUBLISHED = {
  'dqn_impala': (((84, 84, 4), 'uint8'), {'torso': 'impala', 'widths': (256,)}),
  'dqn_minatar': (((10, 10, 4), 'float32'), {'torso': 'minatar', 'widths': (128,)}),
  'dqn_mlp': (((4,), 'float32'), {}),
  'dqn_nature': (((84, 84, 4), 'uint8'), {'torso': 'nature', 'widths': (512,)}),
}
