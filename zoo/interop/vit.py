"""ViT in the layout of Hugging Face, both ways.

That is `ViTForImageClassification`, and `ViTModel` for a module without classes.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.interop import fields, layout
from zoo.models.vit import ViT
from zoo.types import PyTree

RULES = (
  (r'^class_token$', 'vit.embeddings.cls_token'),
  (r'^position_embedding$', 'vit.embeddings.position_embeddings'),
  (r'^patch_embedding', 'vit.embeddings.patch_embeddings.projection'),
  (r'^layer_(\d+)', r'vit.encoder.layer.\1'),
  (r'/attention/out', '/attention/output/dense'),
  (r'/attention/(query|key|value)', r'/attention/attention/\1'),
  (r'/attention_norm', '/layernorm_before'),
  (r'/ffn_norm', '/layernorm_after'),
  (r'/ffn_in', '/intermediate/dense'),
  (r'/ffn_out', '/output/dense'),
  (r'^final_norm', 'vit.layernorm'),
  (r'^head', 'classifier'),
  (r'/(kernel|scale)$', '/weight'),
  (r'/', '.'),
)
# A dense layer and a tanh behind the class token, which `ViTModel` may have and we do not.
LEFT_OUT = 'vit.pooler.'


def from_hf(
  tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], **options: Any
) -> tuple[ViT, PyTree]:
  """Makes a module and its parameters from a checkpoint.

  Args:
    tensors: arrays by their Hugging Face names. Without a classifier the module has no classes.
    config: of config.json. The norms' epsilon there is 1e-12, other than in the published code.
    **options: fields of `ViT` that are a matter of taste: stochastic_depth, dropout,
      attention_dropout, remat, dtype.

  Returns:
    The module and its parameters, float32.

  Raises:
    ValueError: a config that `ViT` cannot do, or missing, unexpected or misshapen tensors.
  """
  fields.only(config, 'qkv_bias', (True,), True)
  found = {normal_name(name): x for name, x in tensors.items()}
  found = {name: x for name, x in found.items() if not name.startswith(LEFT_OUT)}
  given = {
    'patch_size': fields.size(config, 'patch_size'),
    'num_layers': layout.num_layers(config, 'num_hidden_layers', found),
    'width': fields.size(config, 'hidden_size'),
    'num_heads': fields.size(config, 'num_attention_heads'),
    'ffn_width': fields.size(config, 'intermediate_size'),
    'activation': layout.activation(config, 'hidden_act', 'gelu'),
    'epsilon': fields.rate(config, 'layer_norm_eps', 1e-12),
    'dropout': fields.rate(config, 'hidden_dropout_prob', 0.0),
    'attention_dropout': fields.rate(config, 'attention_probs_dropout_prob', 0.0),
    'num_classes': found.get('classifier.weight', np.zeros(0)).shape[0],
  }
  module = ViT(**given | options)
  side, channels = fields.size(config, 'image_size'), fields.size(config, 'num_channels')
  shapes = shapes_of(module, side, channels)
  return module, layout.to_params('ViT', found, shapes, RULES)


def to_hf(module: ViT, params: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns tensors and config as Hugging Face has them; the inverse of `from_hf`.

  Raises:
    ValueError: parameters that are not those of the module.
    NotImplementedError: pooling, positions, heads or an activation that Hugging Face does not have,
      or positions of pictures that are not square.
  """
  fields.shared_evenly(module.width, module.num_heads, module.head_dim)
  for field, value in (('pooling', 'token'), ('positions', 'learned')):
    if getattr(module, field) != value:
      raise NotImplementedError(f'no published layout has {field} {getattr(module, field)!r}')
  tokens = params.get('position_embedding', np.zeros((1, 2, 0))).shape[1]
  grid = math.isqrt(tokens - 1)
  if grid**2 != tokens - 1:
    raise NotImplementedError(f'{tokens - 1} positions are of no square picture')
  kernel = params.get('patch_embedding', {}).get('kernel', np.zeros((1, 1, 3, 0)))
  side, channels = grid * module.patch_size, kernel.shape[2]
  tensors = layout.to_tensors('ViT', params, shapes_of(module, side, channels), RULES)
  config = {
    'model_type': 'vit',
    'image_size': side,
    'num_channels': channels,
    'patch_size': module.patch_size,
    'num_hidden_layers': module.num_layers,
    'hidden_size': module.width,
    'num_attention_heads': module.num_heads,
    'intermediate_size': module.ffn_width,
    'hidden_act': layout.their_activation(module.activation),
    'layer_norm_eps': module.epsilon,
    'hidden_dropout_prob': module.dropout,
    'attention_probs_dropout_prob': module.attention_dropout,
    'qkv_bias': True,
  }
  if module.num_classes:
    config |= fields.labels(module.num_classes)
    return tensors, config | {'architectures': ['ViTForImageClassification']}
  bare = {name.removeprefix('vit.'): x for name, x in tensors.items()}
  return bare, config | {'architectures': ['ViTModel']}


def normal_name(name: str) -> str:
  """The name that a tensor has in a checkpoint with a classifier."""
  parts = ('embeddings.', 'encoder.', 'layernorm.', 'pooler.')
  return f'vit.{name}' if name.startswith(parts) else name


def shapes_of(module: ViT, side: int, channels: int) -> PyTree:
  """Shapes of a module's parameters, for pictures side x side."""
  init = partial(module.init, train=False)
  return jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, side, side, channels)))['params']
