"""Vision Transformers: published sizes, sets of patches, positions, what training drops."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.catalog import create_model
from zoo.models.vit import ViT, sincos_positions

KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (2, 8, 12, 3))  # 2 x 3 patches
SMALL = ViT(patch_size=4, num_layers=2, width=8, num_heads=2, ffn_width=12, num_classes=3)
SET = SMALL.clone(positions='none')


def shapes(module, x, method=None):
  init = lambda x: module.init_with_output(KEY, x, train=False, method=method)
  return jax.eval_shape(init, x)


def initial(module, x: Any = IMAGES) -> Any:
  """Random values for all: the published ones start logits and class token at zero."""
  rng = np.random.default_rng(0)
  random = lambda x: jnp.asarray(rng.normal(scale=0.5, size=x.shape), jnp.float32)
  return jax.tree.map(random, shapes(module, x)[1])


@partial(jax.jit, static_argnums=0, static_argnames=('train', 'method'))
def apply(module, variables, x: Any = IMAGES, train=False, method='features', seed: Any = 0) -> Any:
  rngs = {'dropout': jax.random.key(seed)}
  return module.apply(variables, x, train=train, rngs=rngs, method=method)


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('vit_ti16', 5_717_416),
    ('vit_s16', 22_050_664),
    ('vit_b16', 86_567_656),
    ('vit_l16', 304_326_632),
  ],
)
def test_parameters_are_as_many_as_published(name, expected):
  logits, variables = shapes(create_model(name), jnp.zeros((1, 224, 224, 3)))
  assert sum(x.size for x in jax.tree.leaves(variables['params'])) == expected
  assert logits.shape == (1, 1000) and logits.dtype == jnp.float32


@pytest.mark.parametrize('pooling', ['token', 'mean'])
def test_intermediate_outputs_by_name(pooling):
  module = create_model('vit_s16', pooling=pooling, dtype='bfloat16')
  outputs, _ = shapes(module, jnp.zeros((2, 224, 224, 3)), 'features')
  tokens = 197 if pooling == 'token' else 196
  expected = dict.fromkeys(('embedded', *(f'layer_{i}' for i in range(12))), (2, tokens, 384))
  expected |= {'pooled': (2, 384), 'logits': (2, 1000)}
  assert {name: x.shape for name, x in outputs.items()} == expected
  assert {x.dtype for x in outputs.values()} == {jnp.dtype('bfloat16')}


def patches(images):
  """[B, 6, 4, 4, 3], row by row."""
  return images.reshape(-1, 2, 4, 3, 4, 3).swapaxes(2, 3).reshape(-1, 6, 4, 4, 3)


def picture(patches):
  return patches.reshape(-1, 2, 3, 4, 4, 3).swapaxes(2, 3).reshape(-1, 8, 12, 3)


@pytest.mark.parametrize('pooling', ['token', 'mean'])
def test_without_positions_a_picture_is_a_set_of_patches(pooling):
  order = np.array([3, 0, 5, 1, 4, 2])
  shuffled = picture(patches(IMAGES)[:, order])
  np.testing.assert_array_equal(picture(patches(IMAGES)), IMAGES)
  first = 1 if pooling == 'token' else 0  # behind the class token
  module = SET.clone(pooling=pooling)
  variables = initial(module)
  before, after = apply(module, variables), apply(module, variables, shuffled)
  for name in ('embedded', 'layer_0', 'layer_1'):
    np.testing.assert_allclose(
      after[name][:, first:], before[name][:, first:][:, order], rtol=1e-4, atol=1e-5
    )
  np.testing.assert_allclose(after['logits'], before['logits'], rtol=1e-4, atol=1e-5)
  module = module.clone(positions='sincos')  # with the same parameters
  before, after = apply(module, variables), apply(module, variables, shuffled)
  assert jnp.abs(before['logits'] - after['logits']).max() > 1e-2


def test_patches_are_read_row_by_row():
  variables = initial(SET)
  bias: Any = variables['params']['patch_embedding']['bias']
  for i in range(6):
    one = jnp.zeros((1, 6, 4, 4, 3)).at[:, i].set(patches(IMAGES)[:1, i])
    embedded = apply(SET, variables, picture(one))['embedded'][0]
    alike = [bool(np.allclose(token, bias)) for token in embedded[1:]]
    assert alike == [j != i for j in range(6)]


def test_fixed_positions_by_hand():
  table = sincos_positions(2, 3, 8)
  row, column = 1, 2
  expected = [
    *(np.sin(column), np.sin(column / 10_000), np.cos(column), np.cos(column / 10_000)),
    *(np.sin(row), np.sin(row / 10_000), np.cos(row), np.cos(row / 10_000)),
  ]
  np.testing.assert_allclose(table[row * 3 + column], expected, rtol=1e-5)
  assert len(np.unique(np.round(table, 4), axis=0)) == 6  # no two places alike


def test_a_fixed_table_takes_pictures_of_any_size_and_a_learned_one_does_not():
  larger = jnp.zeros((2, 16, 12, 3))
  fixed = SMALL.clone(positions='sincos', pooling='mean')
  assert apply(fixed, initial(fixed), larger)['embedded'].shape == (2, 12, 8)
  with pytest.raises(ValueError, match='makes 13 tokens, but 7 positions were learned'):
    apply(SMALL, initial(SMALL), larger)


def test_a_class_is_read_from_the_class_token_or_from_the_mean():
  for pooling in ('token', 'mean'):
    module = SMALL.clone(pooling=pooling)
    variables = initial(module)
    params: Any = jax.device_get(variables['params'])
    outputs = jax.device_get(apply(module, variables))
    last = np.asarray(outputs['layer_1'], np.float64)
    deviation = last - last.mean(-1, keepdims=True)
    normed = deviation / np.sqrt(np.square(deviation).mean(-1, keepdims=True) + 1e-6)
    normed = normed * params['final_norm']['scale'] + params['final_norm']['bias']
    pooled = normed[:, 0] if pooling == 'token' else normed.mean(1)
    np.testing.assert_allclose(outputs['pooled'], pooled, rtol=1e-3, atol=1e-4)
    logits = pooled @ params['head']['kernel'] + params['head']['bias']
    np.testing.assert_allclose(outputs['logits'], logits, rtol=1e-3, atol=1e-4)


def test_without_classes_the_features_are_what_the_head_reads():
  variables = initial(SMALL)
  rest = {name: x for name, x in variables['params'].items() if name != 'head'}
  backbone = SMALL.clone(num_classes=0)
  chex.assert_trees_all_equal_structs(rest, shapes(backbone, IMAGES)[1]['params'])
  pooled = apply(backbone, {'params': rest}, method='__call__')
  np.testing.assert_allclose(pooled, apply(SMALL, variables)['pooled'], rtol=1e-6)


def test_stochastic_depth_drops_the_last_layer_of_some_examples_and_never_the_first():
  module = SMALL.clone(stochastic_depth=0.5)
  variables = initial(module)
  whole = apply(SMALL, variables)
  dropped = 0
  for seed in range(4):
    outputs = apply(module, variables, train=True, seed=seed)
    np.testing.assert_allclose(outputs['layer_0'], whole['layer_0'], rtol=1e-5, atol=1e-5)
    added = np.abs(outputs['layer_1'] - outputs['layer_0']).max((1, 2))  # of attention and MLP
    assert not np.allclose(outputs['layer_1'], whole['layer_1'])
    dropped += (added == 0).sum()
  assert 0 < dropped < 8
  chex.assert_trees_all_equal(apply(module, variables), whole)


@pytest.mark.slow
def test_layers_computed_again_have_the_same_gradients():
  variables = initial(SMALL)

  def gradient(module):
    loss = lambda v: jnp.sum(jnp.square(module.apply(v, IMAGES, train=True)))
    return jax.jit(jax.grad(loss))(variables)

  chex.assert_trees_all_close(
    gradient(SMALL.clone(remat=True)), gradient(SMALL), rtol=1e-3, atol=1e-3
  )


def test_bfloat16_computes_in_bfloat16_on_float32_parameters():
  module = SMALL.clone(dtype='bfloat16')
  variables = initial(module)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  logits = apply(module, variables, method='__call__')
  exact = apply(SMALL, variables, method='__call__')
  assert logits.dtype == jnp.float32
  assert 0 < jnp.abs(logits - exact).max() < 0.05 * jnp.abs(exact).max()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'pooling': 'max'}, "unknown pooling 'max'"),
    ({'positions': 'learnt'}, "unknown positions 'learnt'; did you mean 'learned'?"),
    ({'patch_size': 5}, 'pictures of 8 x 12 cannot be cut into patches of 5 x 5'),
    ({'num_heads': 3}, 'width 8 is not a multiple of num_heads 3'),
    ({'width': 6, 'positions': 'sincos'}, 'a width that is a multiple of 4, not 6'),
  ],
)
def test_what_does_not_fit_is_found_before_anything_runs(options, message):
  with pytest.raises(ValueError, match=message):
    shapes(SMALL.clone(**options), IMAGES)


def test_only_images():
  with pytest.raises(ValueError, match=r'not shape \(2, 288\)'):
    shapes(SMALL, IMAGES.reshape(2, -1))
