"""BERT in the layout of Hugging Face, both ways.

That is `BertModel`, `BertForMaskedLM` and `BertForSequenceClassification`.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from zoo.interop import fields, layout
from zoo.models.bert import BERT
from zoo.types import Array, PyTree

RULES = (
  (r'^(token|position|type)_embedding$', r'bert.embeddings.\1_embeddings.weight'),
  (r'\.token_', '.word_'),
  (r'\.type_', '.token_type_'),
  (r'^embedding_norm', 'bert.embeddings.LayerNorm'),
  (r'^layer_(\d+)', r'bert.encoder.layer.\1'),
  (r'/attention/out', '/attention/output/dense'),
  (r'/attention/(query|key|value)', r'/attention/self/\1'),
  (r'/attention_norm', '/attention/output/LayerNorm'),
  (r'/ffn_in', '/intermediate/dense'),
  (r'/ffn_out', '/output/dense'),
  (r'/ffn_norm', '/output/LayerNorm'),
  (r'^pooler', 'bert.pooler.dense'),
  (r'^masked_lm/dense', 'cls.predictions.transform.dense'),
  (r'^masked_lm/norm', 'cls.predictions.transform.LayerNorm'),
  (r'^masked_lm', 'cls.predictions'),
  (r'/(kernel|scale)$', '/weight'),
  (r'/', '.'),
)
# What stands behind the encoder, by the first name of a parameter's path and of a tensor's name.
HEADS = {'masked_lm': 'cls.predictions.', 'pooler': 'bert.pooler.', 'classifier': 'classifier.'}
TIED = {
  'cls.predictions.decoder.weight': 'bert.embeddings.word_embeddings.weight',
  'cls.predictions.decoder.bias': 'cls.predictions.bias',
}
# Counted places, which old files hold; and the head that tells whether two sentences follow each
# other, which we do not have.
LEFT_OUT = re.compile(r'bert\.embeddings\.position_ids|cls\.seq_relationship\..*')


def from_hf(
  tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], **options: Any
) -> tuple[BERT, PyTree]:
  """Makes a module and its parameters from a checkpoint.

  What tensors there are says what the module does: classify if there is a classifier, else be a
  masked language model. There are parameters for what was in the checkpoint: of a bare `BertModel`
  those of `hidden` and `pooled` alone.

  Args:
    tensors: arrays by their Hugging Face names, also the older ones (LayerNorm.gamma, .beta).
    config: of config.json.
    **options: fields of `BERT` that are a matter of taste: dropout, attention_dropout,
      classifier_dropout, remat, dtype.

  Returns:
    The module and its parameters, float32.

  Raises:
    ValueError: a config that `BERT` cannot do, or missing, unexpected or misshapen tensors.
  """
  fields.only(config, 'position_embedding_type', ('absolute',), 'absolute')
  fields.only(config, 'is_decoder', (False,), False)
  fields.only(config, 'tie_word_embeddings', (True,), True)
  found = {normal_name(name): x for name, x in tensors.items()}
  found = {name: x for name, x in found.items() if not LEFT_OUT.fullmatch(name)}
  layout.merge(found, TIED)
  heads = {head for head, name in HEADS.items() if any(n.startswith(name) for n in found)}
  classes = found.get('classifier.weight', np.zeros(0)).shape[0]
  if classes:
    heads.add('pooler')  # of which it reads; without it this is a classifier of tokens
  dropout = fields.rate(config, 'hidden_dropout_prob', 0.1)
  classifier_dropout = config.get('classifier_dropout')
  given = {
    'vocab_size': fields.size(config, 'vocab_size'),
    'pad_id': layout.token_id(config, 'pad_token_id', 0),
    'max_length': fields.size(config, 'max_position_embeddings'),
    'num_layers': layout.num_layers(config, 'num_hidden_layers', found),
    'width': fields.size(config, 'hidden_size'),
    'num_heads': fields.size(config, 'num_attention_heads'),
    'ffn_width': fields.size(config, 'intermediate_size'),
    'num_types': fields.size(config, 'type_vocab_size'),
    'activation': layout.activation(config, 'hidden_act', 'gelu'),
    'epsilon': fields.rate(config, 'layer_norm_eps', 1e-12),
    'num_classes': classes,
    'dropout': dropout,
    'attention_dropout': fields.rate(config, 'attention_probs_dropout_prob', 0.1),
    'classifier_dropout': dropout if classifier_dropout is None else classifier_dropout,
  }
  module = BERT(**given | options)
  return module, layout.to_params('BERT', found, shapes(module, heads), RULES)


def to_hf(module: BERT, params: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns tensors and config as Hugging Face has them; the inverse of `from_hf`.

  Raises:
    ValueError: parameters that are not those of the module.
    NotImplementedError: heads or an activation that Hugging Face does not have.
  """
  fields.shared_evenly(module.width, module.num_heads, module.head_dim)
  heads = HEADS.keys() & params.keys()
  tensors = layout.to_tensors('BERT', params, shapes(module, heads), RULES)
  config = {
    'model_type': 'bert',
    'vocab_size': module.vocab_size,
    'pad_token_id': module.pad_id,
    'max_position_embeddings': module.max_length,
    'num_hidden_layers': module.num_layers,
    'hidden_size': module.width,
    'num_attention_heads': module.num_heads,
    'intermediate_size': module.ffn_width,
    'type_vocab_size': module.num_types,
    'hidden_act': layout.their_activation(module.activation),
    'layer_norm_eps': module.epsilon,
    'hidden_dropout_prob': module.dropout,
    'attention_probs_dropout_prob': module.attention_dropout,
    'classifier_dropout': module.classifier_dropout,
    'tie_word_embeddings': True,
  }
  if 'classifier' in heads:
    config |= fields.labels(module.num_classes)
    return tensors, config | {'architectures': ['BertForSequenceClassification']}
  if 'masked_lm' in heads:
    return tensors, config | {'architectures': ['BertForMaskedLM']}
  bare = {name.removeprefix('bert.'): x for name, x in tensors.items()}
  return bare, config | {'architectures': ['BertModel']}


def normal_name(name: str) -> str:
  """The name that a tensor has in a newer checkpoint of a model with a head."""
  name = re.sub(r'LayerNorm\.gamma$', 'LayerNorm.weight', name)
  name = re.sub(r'LayerNorm\.beta$', 'LayerNorm.bias', name)
  return f'bert.{name}' if name.startswith(('embeddings.', 'encoder.', 'pooler.')) else name


def shapes(module: BERT, heads: Collection[str]) -> PyTree:
  """Shapes of the parameters of the encoder and of some heads."""

  def touch(module: BERT, tokens: Array) -> None:
    x = module.hidden(tokens)
    if 'masked_lm' in heads:
      module.head(x)
    if 'pooler' in heads:
      module.pooler(x[:, 0])
    if 'classifier' in heads:
      module.classifier(x[:, 0])

  return layout.shapes_of(module, jnp.zeros((1, 1), jnp.int32), method=touch)
