"""The Transformer in the layout of Hugging Face's `MarianMTModel`, both ways.

Of this kind are the translation models that Helsinki-NLP published as opus-mt. Their decoder starts
with `pad_id`, whose embedding is zero in the published files, and torch never trains it by what the
decoder reads; we do.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from zoo.interop import fields, layout
from zoo.models.transformer import Transformer, sinusoids
from zoo.types import PyTree

ENCODER_TABLE, DECODER_TABLE = (
  f'model.{side}.embed_tokens.weight' for side in ('encoder', 'decoder')
)
SHARED_TABLE, HEAD = 'model.shared.weight', 'lm_head.weight'
RULES = (
  (r'^(encoder|decoder)_(\d+)', r'model.\1.layers.\2'),
  (r'/attention/', '/self_attn/'),
  (r'/cross_attention/', '/encoder_attn/'),
  (r'/(q)uery/|/(k)ey/|/(v)alue/|/(out)/', r'/\1\2\3\4_proj/'),
  (r'/attention_norm', '/self_attn_layer_norm'),
  (r'/cross_norm', '/encoder_attn_layer_norm'),
  (r'/ffn_in', '/fc1'),
  (r'/ffn_out', '/fc2'),
  (r'/ffn_norm', '/final_layer_norm'),
  (r'/(kernel|scale)$', '/weight'),
  (r'/', '.'),
  (r'^logits_bias$', 'final_logits_bias'),
)
# Names of the tables, and second names that they may have too, by `share_embeddings`.
OWN_TABLES = (('^source_embedding$', ENCODER_TABLE), ('^embedding$', DECODER_TABLE))
TABLES = {
  'all': (('^embedding$', SHARED_TABLE),),
  'target': OWN_TABLES,
  'none': (*OWN_TABLES, ('^logits_embedding$', HEAD)),
}
TIED = {
  'all': dict.fromkeys((ENCODER_TABLE, DECODER_TABLE, HEAD), SHARED_TABLE),
  'target': {HEAD: DECODER_TABLE},
  'none': {},
}
SINUSOIDS = re.compile(r'model\.(encoder|decoder)\.embed_positions\.weight')


def from_hf(
  tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], **options: Any
) -> tuple[Transformer, PyTree]:
  """Makes a module and its parameters from a checkpoint.

  Args:
    tensors: arrays by their Hugging Face names.
    config: of config.json.
    **options: fields of `Transformer` that are a matter of taste: dropout, attention_dropout,
      activation_dropout, remat, dtype.

  Returns:
    The module, with a bias of the logits, and its parameters, float32.

  Raises:
    ValueError: a config that `Transformer` cannot do, or missing, unexpected or misshapen tensors.
  """
  for name in ('normalize_before', 'normalize_embedding', 'add_final_layer_norm'):
    fields.only(config, name, (False,), False)  # of the other models that share its first code
  fields.only(config, 'static_position_embeddings', (True,), True)
  heads, ffn_width = (
    fields.size(config, f'encoder_{name}') for name in ('attention_heads', 'ffn_dim')
  )
  fields.only(config, 'decoder_attention_heads', (heads,), heads)
  fields.only(config, 'decoder_ffn_dim', (ffn_width,), ffn_width)

  found = dict(tensors)
  for name in filter(SINUSOIDS.fullmatch, tensors):
    table = found.pop(name).astype(np.float32)
    if table.ndim != 2 or not np.allclose(table, sinusoids(*table.shape), atol=0.01):
      raise ValueError(f'{name} is not sinusoidal: learned positions are not supported')
  vocab_size = fields.size(config, 'vocab_size')
  shared = config.get('share_encoder_decoder_embeddings', True)
  share = 'all' if shared else 'target'
  if not config.get('tie_word_embeddings', True):
    share = 'none'
    found.pop(SHARED_TABLE, None)  # which then no part of the model reads
  layout.merge(found, TIED[share])
  if not shared and config.get('decoder_vocab_size') is not None:
    target_size = fields.size(config, 'decoder_vocab_size')
  else:
    target_size = vocab_size
  bias = found.pop('final_logits_bias', np.zeros((1, target_size)))
  if bias.shape != (1, target_size):
    raise ValueError(f'final_logits_bias is {list(bias.shape)}, not [1, {target_size}]')
  found['final_logits_bias'] = bias[0]

  pad_id = layout.token_id(config, 'pad_token_id', 58_100)
  given = {
    'vocab_size': target_size,
    'source_vocab_size': 0 if share == 'all' else vocab_size,
    'pad_id': pad_id,
    'bos_id': layout.token_id(config, 'decoder_start_token_id', pad_id),
    'eos_id': layout.token_id(config, 'eos_token_id', 0),
    'max_length': fields.size(config, 'max_position_embeddings'),
    'encoder_layers': layout.num_layers(config, 'encoder_layers', found),
    'decoder_layers': layout.num_layers(config, 'decoder_layers', found),
    'width': fields.size(config, 'd_model'),
    'num_heads': heads,
    'ffn_width': ffn_width,
    'activation': layout.activation(config, 'activation_function', 'gelu'),
    'share_embeddings': share,
    'scale_embedding': bool(config.get('scale_embedding', False)),
    'logits_bias': True,
    'dropout': fields.rate(config, 'dropout', 0.1),
    'attention_dropout': fields.rate(config, 'attention_dropout', 0.0),
    'activation_dropout': fields.rate(config, 'activation_dropout', 0.0),
  }
  module = Transformer(**given | options)
  return module, layout.to_params('Marian', found, shapes(module), (*TABLES[share], *RULES))


def to_hf(module: Transformer, params: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns tensors and config as `MarianMTModel` has them; the inverse of `from_hf`.

  A model without a bias of the logits gets one of zeros.

  Raises:
    ValueError: parameters that are not those of the module.
    NotImplementedError: a variant that Marian does not have.
  """
  if module.positions != 'sinusoidal' or module.pre_norm:
    raise NotImplementedError('Marian has sinusoidal positions, and norms behind the residuals')
  fields.shared_evenly(module.width, module.num_heads, module.head_dim)
  share = module.share_embeddings
  activation = layout.their_activation(module.activation)
  tensors = layout.to_tensors('Marian', params, shapes(module), (*TABLES[share], *RULES))
  bias = tensors.get('final_logits_bias', np.zeros(module.vocab_size, np.float32))
  tensors['final_logits_bias'] = bias[None]
  config = {
    'architectures': ['MarianMTModel'],
    'model_type': 'marian',
    'is_encoder_decoder': True,
    'vocab_size': module.source_vocab_size or module.vocab_size,
    'decoder_vocab_size': module.vocab_size,
    'share_encoder_decoder_embeddings': share == 'all',
    'tie_word_embeddings': share != 'none',
    'pad_token_id': module.pad_id,
    'bos_token_id': None,
    'eos_token_id': module.eos_id,
    'forced_eos_token_id': module.eos_id,
    'decoder_start_token_id': module.bos_id,
    'max_position_embeddings': module.max_length,
    'd_model': module.width,
    'activation_function': activation,
    'scale_embedding': module.scale_embedding,
    'dropout': module.dropout,
    'attention_dropout': module.attention_dropout,
    'activation_dropout': module.activation_dropout,
  }
  for side in ('encoder', 'decoder'):
    config[f'{side}_layers'] = getattr(module, f'{side}_layers')
    config[f'{side}_attention_heads'] = module.num_heads
    config[f'{side}_ffn_dim'] = module.ffn_width
  return tensors, config


def shapes(module: Transformer) -> PyTree:
  token = jnp.zeros((1, 1), jnp.int32)
  return layout.shapes_of(module, token, token)
