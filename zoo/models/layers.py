"""What models share: activations, normalisation and computation types, chosen by name."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.names import unknown
from zoo.types import Array

# Those of jax.nn that map each element by itself and need no further argument.
# fmt: off
ACTIVATIONS = (
  'celu', 'elu', 'gelu', 'hard_sigmoid', 'hard_silu', 'hard_swish', 'hard_tanh', 'identity',
  'leaky_relu', 'log_sigmoid', 'mish', 'relu', 'relu6', 'selu', 'sigmoid', 'silu', 'soft_sign',
  'softplus', 'sparse_plus', 'sparse_sigmoid', 'squareplus', 'swish', 'tanh',
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
  """Returns the elementwise activation of `jax.nn` that has this name.

  Raises:
    ValueError: an unknown name.
  """
  if name not in ACTIVATIONS:
    raise unknown('activation', name, ACTIVATIONS)
  return getattr(jax.nn, name)


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

  Raises:
    ValueError: an unknown kind.

  References:
    Ioffe and Szegedy 2015, Batch Normalization. Ba et al. 2016, Layer Normalization. Wu and He
    2018, Group Normalization, table 3: groups of 16 channels do nearly as well as 32 groups.
  """
  if kind == 'batch':
    norm = nn.BatchNorm(
      use_running_average=not train,
      momentum=momentum,
      epsilon=1e-5,
      dtype=jnp.float32,
      axis_name=axis_name,
    )
  elif kind == 'group':
    size = 16 if channels % 16 == 0 else channels
    norm = nn.GroupNorm(num_groups=None, group_size=size, epsilon=1e-5, dtype=jnp.float32)
  elif kind == 'layer':
    norm = nn.LayerNorm(epsilon=1e-5, dtype=jnp.float32)
  elif kind == 'none':
    return lambda x: x
  else:
    raise unknown('norm', kind, NORMS)
  return lambda x: norm(x.astype(jnp.float32)).astype(x.dtype)
