"""DCGAN: a generator and a discriminator of strided convolutions, in one module."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.models.conv import Conv, ConvTranspose
from zoo.models.layers import compute_dtype, hidden_init, normalization, output_init
from zoo.names import unknown
from zoo.types import Array

CONDITIONS = ('none', 'projection', 'concat')


class DCGAN(nn.Module):
  """Two networks that are trained against each other, with pictures in [0, 1] between them.

  A map of base x base places is doubled by strided convolutions until it has `resolution` x
  `resolution`, and halved again on the way back. Channels are `width` next to the picture and twice
  as many at each halving. Windows are 4 x 4, a multiple of the stride, so that all places of a
  doubled map are sums of equally many terms (Odena et al. 2016, Deconvolution and Checkerboard
  Artifacts). Weights start by fan-in (`layers.hidden_init`, `layers.output_init`), not with the
  paper's deviation of 0.02, at which a narrow network without norms scores all pictures 0.

  Parameters, and whatever else there is, are kept under 'generator' and 'discriminator'.

  Attributes:
    resolution: side of the pictures: `base` times a power of two, at least 2.
    channels: of the pictures.
    latent_size: numbers that a picture is made from.
    base: side of the smallest map.
    width: channels of the largest map but the picture itself.
    condition: 'none'; or the class of a picture is given to both: the generator appends an
      embedding of it to the latent numbers, and the discriminator adds the product of another and
      its features to its score ('projection', Miyato and Koyama 2018, equation 4, on features that
      are not pooled) or sees it as further channels of the picture, one for each class ('concat',
      Mirza and Osindero 2014).
    num_classes: of these conditions.
    generator_norm: 'batch', 'group', 'layer' or 'none', see `layers.normalization`.
    discriminator_norm: the same; the first convolution has none. A gradient penalty is meant for
      a discriminator that scores each picture by itself, so not for 'batch'.
    spectral_norm: divides each weight of the discriminator by its greatest singular value, which
      one power iteration a call follows (Miyato et al. 2018).
    momentum: of batch statistics.
    dtype: of the computation; parameters are float32.
    axis_name: the axis of pmap, over which batch statistics are shared.

  References:
    Radford et al. 2016, Unsupervised Representation Learning with Deep Convolutional Generative
    Adversarial Networks: figure 1 is the generator with resolution 64 and width 128.
  """

  resolution: int = 64
  channels: int = 3
  latent_size: int = 100
  base: int = 4
  width: int = 64
  condition: str = 'none'
  num_classes: int = 10
  generator_norm: str = 'batch'
  discriminator_norm: str = 'batch'
  spectral_norm: bool = False
  momentum: float = 0.9
  dtype: str = 'float32'
  axis_name: str | None = None

  def setup(self):
    if self.condition not in CONDITIONS:
      raise unknown('condition', self.condition, CONDITIONS)
    for name in ('channels', 'latent_size', 'base', 'width', 'num_classes'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name} must be at least 1, not {getattr(self, name)}')
    widths = stage_widths(self.resolution, self.base, self.width)
    classes = self.num_classes if self.conditional else 0
    common = {'classes': classes, 'dtype': self.dtype, 'axis_name': self.axis_name}
    common['momentum'] = self.momentum
    self.generator = Generator(
      widths[::-1], self.base, self.channels, self.latent_size, self.generator_norm, **common
    )
    self.discriminator = Discriminator(
      widths,
      (self.resolution, self.resolution, self.channels),
      self.condition,
      self.discriminator_norm,
      self.spectral_norm,
      **common,
    )

  @property
  def conditional(self) -> bool:
    """Whether a picture is of a class that is asked for."""
    return self.condition != 'none'

  def generate(self, z: Array, label: Array | None = None, *, train: bool = False) -> Array:
    """Makes pictures, float32 [B, resolution, resolution, channels] in [0, 1].

    Args:
      z: [B, latent_size], standard normal.
      label: integer [B], the classes asked for; unused without a condition.
      train: whether batch statistics are measured and averaged, or the averages are used.

    Raises:
      ValueError: latents of another size, or no labels where there is a condition.
    """
    return self.generator(z, label, train)

  def discriminate(self, x: Array, label: Array | None = None, *, train: bool = False) -> Array:
    """Scores pictures, float32 [B]: the logit of being real (of `label`), not fake.

    Args:
      x: [B, resolution, resolution, channels], in [0, 1].
      label: as in `generate`.
      train: as in `generate`; and whether singular vectors are followed.

    Raises:
      ValueError: pictures of another shape, or no labels where there is a condition.
    """
    return self.discriminator(x, label, train)

  def __call__(self, z: Array, label: Array | None = None, *, train: bool = False) -> Array:
    """The scores of what is made from latents: all parameters take part."""
    return self.discriminate(self.generate(z, label, train=train), label, train=train)


class Generator(nn.Module):
  """From latents to pictures; see `DCGAN`."""

  widths: tuple[int, ...]
  base: int
  channels: int
  latent_size: int
  norm: str
  classes: int
  momentum: float
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(self, z: Array, label: Array | None, train: bool) -> Array:
    if z.shape[1:] != (self.latent_size,):
      raise ValueError(f'the generator takes latents [batch, {self.latent_size}], not {z.shape}')
    dtype = compute_dtype(self.dtype)
    z = z.astype(dtype)
    if self.classes:
      embed = nn.Embed(self.classes, self.latent_size, dtype=dtype, name='embed')
      z = jnp.concatenate([z, embed(needed(label))], axis=-1)

    def norm_act(x: Array) -> Array:
      options = {'train': train, 'momentum': self.momentum, 'axis_name': self.axis_name}
      return nn.relu(normalization(self.norm, x.shape[-1], **options)(x))

    bias = self.norm == 'none'  # a norm has its own
    options = {'kernel_init': hidden_init, 'dtype': dtype}
    x = nn.Dense(self.base**2 * self.widths[0], use_bias=bias, **options)(z)
    x = norm_act(x.reshape(-1, self.base, self.base, self.widths[0]))
    for width in self.widths[1:]:
      x = norm_act(ConvTranspose(width, (4, 4), (2, 2), use_bias=bias, **options)(x))
    last = {'kernel_init': output_init, 'dtype': dtype, 'name': 'picture'}
    x = ConvTranspose(self.channels, (4, 4), (2, 2), **last)(x)
    return nn.sigmoid(2 * x.astype(jnp.float32))  # tanh, brought from [-1, 1] to [0, 1]


class Discriminator(nn.Module):
  """From pictures to scores; see `DCGAN`."""

  widths: tuple[int, ...]
  shape: tuple[int, int, int]
  condition: str
  norm: str
  spectral_norm: bool
  classes: int
  momentum: float
  dtype: str
  axis_name: str | None

  @nn.compact
  def __call__(self, x: Array, label: Array | None, train: bool) -> Array:
    if x.shape[1:] != self.shape:
      raise ValueError(f'the discriminator takes pictures of {self.shape}, not {x.shape[1:]}')
    dtype = compute_dtype(self.dtype)
    x = (2 * x - 1).astype(dtype)
    if self.condition == 'concat':
      planes = jax.nn.one_hot(needed(label), self.classes, dtype=dtype)[:, None, None]
      x = jnp.concatenate([x, jnp.broadcast_to(planes, (*x.shape[:3], self.classes))], axis=-1)

    def layer(module: nn.Module) -> Callable[[Array], Array]:
      if not self.spectral_norm:
        return module
      normalized = nn.SpectralNorm(module, collection_name='singular')
      return lambda x: normalized(x, update_stats=train)

    options = {'kernel_init': hidden_init, 'dtype': dtype}
    for i, width in enumerate(self.widths):
      norm = self.norm if i else 'none'
      bias, name = norm == 'none', f'conv_{i}'
      x = layer(Conv(width, (4, 4), (2, 2), use_bias=bias, **options, name=name))(x)
      batch_stats = {'train': train, 'momentum': self.momentum, 'axis_name': self.axis_name}
      x = nn.leaky_relu(normalization(norm, width, **batch_stats)(x), 0.2)

    x = x.reshape(x.shape[0], -1)
    score = layer(nn.Dense(1, kernel_init=output_init, dtype=dtype, name='score'))(x)[:, 0].astype(
      jnp.float32
    )
    if self.condition == 'projection':
      embed = layer(nn.Embed(self.classes, x.shape[-1], dtype=dtype, name='embed'))
      score += jnp.sum((embed(needed(label)) * x).astype(jnp.float32), axis=-1)
    return score


def stage_widths(resolution: int, base: int, width: int) -> tuple[int, ...]:
  """Channels of every halving of a picture, the largest map first.

  Raises:
    ValueError: a resolution that is not `base` times a power of two.
  """
  stages = max(resolution // base, 1).bit_length() - 1
  if stages < 1 or base << stages != resolution:
    below = base << max(stages, 1)
    raise ValueError(
      f'resolution={resolution} is not base={base} times a power of two; '
      f'the nearest are {below} and {2 * below}'
    )
  return tuple(width << i for i in range(stages))


def needed(label: Array | None) -> Array:
  """The labels, which a condition cannot do without, and which must be classes."""
  if label is None:
    raise ValueError('a network that is conditional by class needs labels, and there are none')
  if not jnp.issubdtype(label.dtype, jnp.integer):
    raise ValueError(
      f'labels must be whole numbers, not {label.dtype}: augmentations that mix examples do not fit'
    )
  return label
