"""ResNet in the layout of Hugging Face, both ways, batch statistics included.

That is `ResNetForImageClassification`, and `ResNetModel` for a module without classes.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.interop import fields, layout
from zoo.models.resnet import ResNet
from zoo.types import PyTree

RULES = (
  (r'^(params|batch_stats)/', ''),
  (r'^stem_', 'resnet.embedder.embedder.'),
  (r'^stage_(\d+)_block_(\d+)/', r'resnet.encoder.stages.\1.layers.\2.'),
  (r'\.shortcut_', '.shortcut.'),
  (r'\.(conv|norm)_(\d+)/', r'.layer.\2.\1/'),
  (r'\.conv/', '.convolution/'),
  (r'\.norm/', '.normalization/'),
  (r'/(mean|var)$', r'/running_\1'),
  (r'^head', 'classifier.1'),
  (r'/(kernel|scale)$', '/weight'),
  (r'/', '.'),
)
# How many batches torch has averaged over; it uses that for no momentum that we know.
COUNTER = '.num_batches_tracked'
LAYER_TYPES = {'basic': False, 'bottleneck': True}


def from_hf(
  tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], **options: Any
) -> tuple[ResNet, PyTree]:
  """Makes a module and its variables from a checkpoint.

  Args:
    tensors: arrays by their Hugging Face names. Without a classifier the module has no classes.
    config: of config.json.
    **options: fields of `ResNet` that are a matter of taste: momentum, sync_batch_norm,
      stochastic_depth, dropout, dtype.

  Returns:
    The module and {'params', 'batch_stats'}, float32.

  Raises:
    ValueError: a config that `ResNet` cannot do, or missing, unexpected or misshapen tensors.
  """
  fields.only(config, 'downsample_in_first_stage', (False,), False)
  fields.only(config, 'downsample_in_bottleneck', (False,), False)  # version 1
  fields.only(config, 'layer_type', tuple(LAYER_TYPES), 'bottleneck')
  found = {normal_name(name): x for name, x in tensors.items() if not name.endswith(COUNTER)}
  stage_sizes, width = fields.sizes(config, 'depths'), fields.size(config, 'embedding_size')
  if sum(stage_sizes) > len(found):
    raise ValueError(f'config.json: depths = {stage_sizes}, but there are {len(found)} tensors')
  bottleneck = LAYER_TYPES[config.get('layer_type', 'bottleneck')]
  channels = stage_channels(width, len(stage_sizes), bottleneck)
  fields.only(config, 'hidden_sizes', (channels,), None)
  given = {
    'stage_sizes': stage_sizes,
    'width': width,
    'bottleneck': bottleneck,
    'activation': layout.activation(config, 'hidden_act', 'relu'),
    'num_classes': found.get('classifier.1.weight', np.zeros(0)).shape[0],
  }
  module = ResNet(**given | options)
  shapes = shapes_of(module, fields.size(config, 'num_channels'))
  return module, layout.to_params('ResNet', found, shapes, RULES)


def to_hf(module: ResNet, variables: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns tensors and config as Hugging Face has them; the inverse of `from_hf`.

  Raises:
    ValueError: variables that are not those of the module.
    NotImplementedError: a stem, norm or activation that Hugging Face does not have.
  """
  for field, value in (('stem', 'imagenet'), ('norm', 'batch')):
    if getattr(module, field) != value:
      raise NotImplementedError(f'no published layout has {field} {getattr(module, field)!r}')
  stem = variables['params'].get('stem_conv', {}).get('kernel', np.zeros((7, 7, 3, 0)))
  shapes = shapes_of(module, stem.shape[2])
  tensors = layout.to_tensors('ResNet', variables, shapes, RULES)
  for name in [name for name in tensors if name.endswith('.running_var')]:
    tensors[name.removesuffix('.running_var') + COUNTER] = np.zeros((), np.int64)
  config = {
    'model_type': 'resnet',
    'num_channels': stem.shape[2],
    'embedding_size': module.width,
    'hidden_sizes': stage_channels(module.width, len(module.stage_sizes), module.bottleneck),
    'depths': list(module.stage_sizes),
    'layer_type': 'bottleneck' if module.bottleneck else 'basic',
    'hidden_act': layout.their_activation(module.activation),
    'downsample_in_first_stage': False,
    'downsample_in_bottleneck': False,
  }
  if module.num_classes:
    config |= fields.labels(module.num_classes)
    return tensors, config | {'architectures': ['ResNetForImageClassification']}
  bare = {name.removeprefix('resnet.'): x for name, x in tensors.items()}
  return bare, config | {'architectures': ['ResNetModel']}


def normal_name(name: str) -> str:
  """The name that a tensor has in a checkpoint with a classifier."""
  return f'resnet.{name}' if name.startswith(('embedder.', 'encoder.')) else name


def stage_channels(width: int, num_stages: int, bottleneck: bool) -> list[int]:
  """The channels that each stage hands on."""
  return [width * 2**i * (4 if bottleneck else 1) for i in range(num_stages)]


def shapes_of(module: ResNet, channels: int) -> PyTree:
  """Shapes of a module's variables."""
  init = partial(module.init, train=False)
  return jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
