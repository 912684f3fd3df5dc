"""ViT in the layout of Hugging Face: there and back, what is refused, what torch computed."""

import json
import pathlib
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.interop import vit
from zoo.models.vit import ViT

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'vit.npz'
TINY = ViT(
  patch_size=4, num_layers=2, width=8, num_heads=2, ffn_width=12, num_classes=3, epsilon=1e-12
)
MODULES = {'classifier': TINY, 'backbone': TINY.clone(num_classes=0)}


def params_of(module) -> Any:
  rng = np.random.default_rng(0)
  random = lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32)
  return jax.tree.map(random, vit.shapes_of(module, 8, 3))


def exported(module=TINY):
  return vit.to_hf(module, params_of(module))


@pytest.mark.parametrize('kind', MODULES)
def test_there_and_back_is_the_identity(kind):
  tensors, config = exported(MODULES[kind])
  assert config['image_size'] == 8
  module, params = vit.from_hf(tensors, json.loads(json.dumps(config)))
  assert module == MODULES[kind]
  chex.assert_trees_all_equal(params, params_of(MODULES[kind]))
  pooler = {'pooler.dense.weight': np.zeros((8, 8)), 'pooler.dense.bias': np.zeros(8)}
  if kind == 'backbone':  # as published
    chex.assert_trees_all_equal(vit.from_hf(tensors | pooler, config)[1], params)


def test_matrices_are_transposed_and_tables_are_not():
  tensors, _ = exported()
  params = params_of(TINY)
  name = 'vit.encoder.layer.1.intermediate.dense.weight'
  np.testing.assert_array_equal(tensors[name], params['layer_1']['ffn_in']['kernel'].T)
  table = tensors['vit.embeddings.position_embeddings']
  np.testing.assert_array_equal(table, params['position_embedding'])
  patch = tensors['vit.embeddings.patch_embeddings.projection.weight']
  assert patch.shape == (8, 3, 4, 4)
  assert patch[5, 2, 1, 3] == params['patch_embedding']['kernel'][1, 3, 2, 5]


def test_options_change_what_is_a_matter_of_taste():
  tensors, config = exported()
  module, _ = vit.from_hf(tensors, config, dtype='bfloat16', stochastic_depth=0.1, remat=True)
  assert module == TINY.clone(dtype='bfloat16', stochastic_depth=0.1, remat=True)


def renamed(tensors, config):
  tensors['vit.encoder.layer.0.attention.query.bias'] = tensors.pop(
    'vit.encoder.layer.0.attention.attention.query.bias'
  )


def transposed(tensors, config):
  name = 'vit.encoder.layer.1.output.dense.weight'
  tensors[name] = tensors[name].T


def field(**values):
  return lambda tensors, config: config.update(values)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (renamed, 'missing vit.encoder.layer.0.attention.attention.query.bias (nearest: vit.encoder.l'),
    (transposed, 'wrong shape: vit.encoder.layer.1.output.dense.weight is [12, 8], not [8, 12]'),
    (field(image_size=16), 'vit.embeddings.position_embeddings is [1, 5, 8], not [1, 17, 8]'),
    (field(image_size=9), 'pictures of 9 x 9 cannot be cut into patches of 4 x 4'),
    (field(num_hidden_layers=3), 'missing vit.encoder.layer.2.'),
    (field(num_hidden_layers=10**9), 'num_hidden_layers = 1000000000, but there are'),
    (field(hidden_size=None), 'hidden_size must be a whole number above 0, not None'),
    (field(hidden_act='quick_gelu'), "hidden_act = 'quick_gelu' is not supported"),
    (field(qkv_bias=False), 'qkv_bias = False is not supported, only True'),
    (field(num_attention_heads=3), 'width 8 is not a multiple of num_heads 3'),
  ],
)
def test_what_does_not_fit_is_named_in_one_line(change, message):
  tensors, config = exported()
  change(tensors, config)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    vit.from_hf(tensors, config)
  assert '\n' not in str(error.value)


def test_parameters_of_another_module_are_refused():
  with pytest.raises(ValueError, match='ViT parameters: missing layer_2/attention/key/bias'):
    vit.to_hf(TINY.clone(num_layers=3), params_of(TINY))


def test_what_is_not_published_has_no_published_layout():
  for options in ({'pooling': 'mean'}, {'positions': 'sincos'}, {'activation': 'mish'}):
    with pytest.raises(NotImplementedError, match=next(iter(options.values()))):
      vit.to_hf(TINY.clone(**options), params_of(TINY))
  params = params_of(TINY) | {'position_embedding': np.zeros((1, 7, 8))}
  with pytest.raises(NotImplementedError, match='6 positions are of no square picture'):
    vit.to_hf(TINY, params)


def test_logits_and_gradients_are_those_that_torch_computed():
  """Of a tiny random model; see tests/golden/make.py."""
  with np.load(GOLDEN, allow_pickle=False) as file:
    golden = dict(file)
  of = lambda kind: {n.removeprefix(f'{kind}:'): x for n, x in golden.items() if f'{kind}:' in n}
  module, params = vit.from_hf(of('w'), json.loads(str(golden['config'])))
  images = golden['images'].transpose(0, 2, 3, 1)

  def loss(params):
    logits = module.apply({'params': params}, images, train=True)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, golden['labels'])
    return losses.mean(), logits

  gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(params)
  assert np.abs(logits - golden['logits']).max() / np.abs(golden['logits']).max() < 1e-5
  named, _ = vit.to_hf(module, gradients)
  assert named.keys() == of('gradient').keys()
  for name, norm in of('gradient').items():
    found = np.linalg.norm(named[name])
    np.testing.assert_allclose(found, norm, rtol=1e-3, atol=1e-5, err_msg=name)
