"""GPT-2 in the layout of Hugging Face's `GPT2LMHeadModel`, both ways.

Its kernels are [in, out] as ours are, so that nothing is transposed. Query, key and value are one
matrix in both, in this order.
"""

import re
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from zoo import paths
from zoo.interop import fields
from zoo.interop.names import check_names
from zoo.models.gpt2 import GPT2
from zoo.types import PyTree

OUTER = {
  'token_embedding/embedding': 'wte.weight',
  'position_embedding/embedding': 'wpe.weight',
  'final_norm/scale': 'ln_f.weight',
  'final_norm/bias': 'ln_f.bias',
}
BLOCK = {
  'norm_1/scale': 'ln_1.weight',
  'norm_1/bias': 'ln_1.bias',
  'qkv/kernel': 'attn.c_attn.weight',
  'qkv/bias': 'attn.c_attn.bias',
  'attention_out/kernel': 'attn.c_proj.weight',
  'attention_out/bias': 'attn.c_proj.bias',
  'norm_2/scale': 'ln_2.weight',
  'norm_2/bias': 'ln_2.bias',
  'mlp_in/kernel': 'mlp.c_fc.weight',
  'mlp_in/bias': 'mlp.c_fc.bias',
  'mlp_out/kernel': 'mlp.c_proj.weight',
  'mlp_out/bias': 'mlp.c_proj.bias',
}
# Causal masks that old files hold beside the parameters.
BUFFERS = re.compile(r'h\.\d+\.attn\.(masked_)?bias')


def from_hf(
  tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], **options: Any
) -> tuple[GPT2, PyTree]:
  """Makes a module and its parameters from a checkpoint.

  Args:
    tensors: arrays by their Hugging Face names, with or without the prefix 'transformer.', and with
      or without the head, which is the token embedding.
    config: of config.json. The rate `resid_pdrop` becomes the module's one dropout rate.
    **options: fields of `GPT2` that are a matter of taste: dropout, vocab_multiple (what is added
      to the table is zero), scan_layers, remat, attention, dtype.

  Returns:
    The module and its parameters, float32.

  Raises:
    ValueError: a config that `GPT2` cannot do, or missing, unexpected or misshapen tensors.
  """
  width = fields.size(config, 'n_embd')
  fields.only(config, 'activation_function', ('gelu_new', 'gelu_pytorch_tanh'), 'gelu_new')
  fields.only(config, 'layer_norm_epsilon', (1e-5,), 1e-5)
  fields.only(config, 'n_inner', (None, 4 * width), None)
  fields.only(config, 'scale_attn_weights', (True,), True)
  fields.only(config, 'scale_attn_by_inverse_layer_idx', (False,), False)
  fields.only(config, 'add_cross_attention', (False,), False)
  fields.only(config, 'tie_word_embeddings', (True,), True)
  num_layers = fields.size(config, 'n_layer')
  if num_layers > len(tensors):
    raise ValueError(f'config.json: n_layer = {num_layers}, but there are {len(tensors)} tensors')
  given = {
    'vocab_size': fields.size(config, 'vocab_size'),
    'context_length': fields.size(config, 'n_positions'),
    'num_layers': num_layers,
    'width': width,
    'num_heads': fields.size(config, 'n_head'),
    'dropout': fields.rate(config, 'resid_pdrop', 0.1),
  }
  module = GPT2(**given | options)

  found = {name.removeprefix('transformer.'): x for name, x in tensors.items()}
  found = {name: x for name, x in found.items() if not BUFFERS.fullmatch(name)}
  head = found.pop('lm_head.weight', None)
  if head is not None and not np.array_equal(head, found.get('wte.weight', head)):
    raise ValueError('lm_head.weight is not wte.weight: only tied heads are supported')
  expected = dict(layout(module).values())
  check_names('GPT-2 tensors', {name: x.shape for name, x in found.items()}, expected)

  flat = {path: found[name].astype(np.float32) for path, (name, _) in layout(module).items()}
  table = flat['token_embedding/embedding']
  added = module.padded_vocab_size - module.vocab_size
  flat['token_embedding/embedding'] = np.pad(table, ((0, added), (0, 0)))
  if module.scan_layers:
    layers = range(num_layers)
    stacked = {f'blocks/{p}': np.stack([flat[f'blocks_{i}/{p}'] for i in layers]) for p in BLOCK}
    flat = {path: flat[path] for path in OUTER} | stacked
  return module, jax.tree.map(jnp.asarray, flax.traverse_util.unflatten_dict(flat, sep='/'))


def to_hf(module: GPT2, params: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns tensors and config as `GPT2LMHeadModel` has them; the inverse of `from_hf`.

  Parameters of either layout are taken. What pads the vocabulary is left out. Of the config,
  `bos_token_id` and `eos_token_id` are null: a tokenizer knows them.

  Raises:
    ValueError: parameters that are not those of the module.
    NotImplementedError: heads that are not even shares of the width.
  """
  fields.shared_evenly(module.width, module.num_heads, module.head_dim)
  flat = {path: np.asarray(x, np.float32) for path, x in paths.named_leaves(params)}
  for path in BLOCK:
    stacked = flat.pop(f'blocks/{path}', ())
    flat |= {f'blocks_{i}/{path}': x for i, x in enumerate(stacked)}
  table = flat.get('token_embedding/embedding')
  if table is not None and len(table) == module.padded_vocab_size:
    flat['token_embedding/embedding'] = table[: module.vocab_size]
  names = layout(module)
  expected = {path: shape for path, (_, shape) in names.items()}
  check_names('GPT-2 parameters', {path: x.shape for path, x in flat.items()}, expected)
  config = {
    'architectures': ['GPT2LMHeadModel'],
    'model_type': 'gpt2',
    'vocab_size': module.vocab_size,
    'n_positions': module.context_length,
    'n_layer': module.num_layers,
    'n_embd': module.width,
    'n_head': module.num_heads,
    'n_inner': None,
    'activation_function': 'gelu_new',
    'layer_norm_epsilon': 1e-5,
    'resid_pdrop': module.dropout,
    'embd_pdrop': module.dropout,
    'attn_pdrop': module.dropout,
    'tie_word_embeddings': True,
    'bos_token_id': None,
    'eos_token_id': None,
  }
  return {f'transformer.{name}': flat[path] for path, (name, _) in names.items()}, config


def layout(module: GPT2) -> dict[str, tuple[str, tuple[int, ...]]]:
  """Hugging Face's name, without prefix, and shape of every parameter, by its unrolled path."""
  one = module.clone(scan_layers=True, vocab_multiple=1)  # traced once, however many layers
  variables = jax.eval_shape(one.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
  shapes = {path: x.shape for path, x in paths.named_leaves(variables['params'])}
  outer = {path: (name, shapes[path]) for path, name in OUTER.items()}
  blocks = {
    f'blocks_{i}/{path}': (f'h.{i}.{name}', shapes[f'blocks/{path}'][1:])
    for i in range(module.num_layers)
    for path, name in BLOCK.items()
  }
  return outer | blocks
