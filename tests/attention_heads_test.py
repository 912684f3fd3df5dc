"""A network without some heads computes what the whole one does with these heads silent."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import attention_heads
from zoo.attention_heads import masked, slim
from zoo.models import BERT, GPT2, Transformer, ViT

KEY = jax.random.key(0)
TOKENS = jax.random.randint(jax.random.key(1), (2, 5), 1, 11)
IMAGES = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
SMALL = {'width': 8, 'num_heads': 4}
ONE, TWO = (SMALL | {'num_layers': n} for n in (1, 2))
NETWORKS = {
  'vit': (ViT(patch_size=4, ffn_width=6, num_classes=3, **ONE), (IMAGES,)),
  'gpt2': (GPT2(vocab_size=11, context_length=6, **ONE), (TOKENS,)),
  'gpt2, stacked': (GPT2(vocab_size=11, context_length=6, scan_layers=True, **TWO), (TOKENS,)),
  'bert': (BERT(vocab_size=11, max_length=6, ffn_width=6, **TWO), (TOKENS,)),
  'transformer': (
    Transformer(vocab_size=11, encoder_layers=1, decoder_layers=1, ffn_width=6, **SMALL),
    (TOKENS, TOKENS),
  ),
}
# For each a compilation; the first two are the two layouts.
ALL = [n if n in ('vit', 'gpt2') else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS]


def shapes(tree):
  return jax.tree.map(jnp.shape, tree)


def shapes_of(module, inputs):
  return shapes(jax.eval_shape(lambda *x: module.init(KEY, *x, train=False), *inputs))


def network(name):
  """A module, random values for all its variables, and inputs."""
  module, inputs = NETWORKS[name]
  rng = np.random.default_rng(0)
  is_shape = lambda x: isinstance(x, tuple)
  random = lambda shape: rng.normal(scale=0.5, size=shape).astype(np.float32)
  return module, jax.tree.map(random, shapes_of(module, inputs), is_leaf=is_shape), inputs


@partial(jax.jit, static_argnums=0)
def outputs(module, variables, inputs):
  return module.apply(variables, *inputs, train=False)


@pytest.mark.parametrize('name', ALL)
def test_the_slim_network_equals_the_masked_one(name):
  module, variables, inputs = network(name)
  found = slim(variables, 0.5, 4)
  assert (found.num_heads, found.head_dim) == (2, 2)
  small = module.clone(num_heads=2, head_dim=2)
  assert shapes(found.variables) == shapes_of(small, inputs)
  whole = outputs(module, masked(variables, found.kept, 4), inputs)
  np.testing.assert_allclose(outputs(small, found.variables, inputs), whole, rtol=1e-4, atol=1e-5)
  assert not np.allclose(outputs(module, variables, inputs), whole, atol=1e-2)


@pytest.mark.slow
def test_a_slim_network_decodes():
  module, variables, inputs = network('gpt2')
  found = slim(variables, 0.25, 4)
  small = module.clone(num_heads=found.num_heads, head_dim=found.head_dim)
  logits, _ = small.apply(found.variables, *inputs, small.start(2, 5), method='decode')
  np.testing.assert_allclose(logits, outputs(small, found.variables, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['vit', 'gpt2'])
def test_parameters_are_counted_by_hand(name):
  _, variables, _ = network(name)
  count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
  gone = count(variables) - count(slim(variables, 0.75, 4).variables)
  # One head of two channels: columns and biases of its queries, keys and values, and the rows of
  # width 8 that read it.
  assert gone == 3 * 2 * (8 + 1) + 2 * 8


@pytest.mark.parametrize('name', NETWORKS)
def test_to_keep_all_changes_nothing(name):
  _, variables, _ = network(name)
  found = slim(variables, 1.0, 4)
  jax.tree.map(np.testing.assert_array_equal, found.variables, variables)


@pytest.mark.parametrize('by', attention_heads.CRITERIA)
def test_the_heads_that_write_most_are_kept_in_each_layer(by):
  """By hand: four heads of one channel, whose products have one element that is not zero."""
  write = {
    'layer_0': [[1.0, -9, 3, 4], [1, 1, 1, 2]],  # products 1, 9, 3, 8
    'layer_1': [[5.0, 0, 1, 1], [1, 9, 7, 1]],  # products 5, 0, 7, 1
  }
  params = {}
  for layer, (values, out) in write.items():
    maps = {name: {'kernel': np.full((4, 4), 100.0)} for name in ('query', 'key')}
    maps['value'] = {'kernel': np.diag(values)}
    maps['out'] = {'kernel': np.diag(np.array(out, float)), 'bias': np.ones(4)}
    params[layer] = {'attention': maps}
  found = slim({'params': params}, 0.5, 4, by=by)
  assert {path: heads.tolist() for path, heads in found.kept.items()} == {
    'layer_0/attention': [1, 3],
    'layer_1/attention': [0, 2],
  }
  left = found.variables['params']['layer_1']['attention']
  np.testing.assert_array_equal(left['value']['kernel'], [[5, 0], [0, 0], [0, 1], [0, 0]])
  np.testing.assert_array_equal(left['out']['kernel'], [[1, 0, 0, 0], [0, 0, 7, 0]])
  np.testing.assert_array_equal(left['out']['bias'], np.ones(4))


@pytest.mark.parametrize(
  ('keep', 'num_heads', 'by', 'message'),
  [
    (0.0, 4, 'l2', r'keep must be in \(0, 1\], not 0.0'),
    (1.5, 4, 'l2', r'keep must be in \(0, 1\], not 1.5'),
    (0.5, 3, 'l2', '3 heads do not divide 8 channels'),
    (0.5, 4, 'l3', "unknown criterion 'l3'; did you mean"),
  ],
)
def test_bad_options_are_named(keep, num_heads, by, message):
  _, variables, _ = network('vit')
  with pytest.raises(ValueError, match=message):
    slim(variables, keep, num_heads, by=by)


def test_a_network_without_attention_is_refused():
  variables = {'params': {'Dense_0': {'kernel': np.ones((4, 4)), 'bias': np.ones(4)}}}
  with pytest.raises(ValueError, match='only a network with attention has heads to take out'):
    slim(variables, 0.5, 4)


def test_a_head_has_a_channel_at_least():
  module, _, inputs = network('vit')
  with pytest.raises(ValueError, match='head_dim must be at least 1, not 0'):
    shapes_of(module.clone(head_dim=0), inputs)
