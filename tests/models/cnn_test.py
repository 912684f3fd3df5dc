"""The convolutional network: sizes by hand, symmetries, and what training changes."""

from functools import partial
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.cnn import CNN, pool

KEY = jax.random.key(0)
IMAGES = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1))
SMALL = {'widths': (4,), 'convs_per_block': 1}  # compiles faster than the default


def count(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


def build(x: Any = IMAGES, **options: Any):
  module = CNN(**options)
  return module, initial(module, x)


# One compilation for each module and shape, over all tests.
@partial(jax.jit, static_argnums=0)
def initial(module, x):
  return module.init(KEY, x, train=False)


@partial(jax.jit, static_argnums=0)
def evaluate(module, variables, x: Any = IMAGES) -> Any:
  return module.apply(variables, x, train=False)


@partial(jax.jit, static_argnums=0)
def train(module, variables, x: Any = IMAGES, seed: Any = 0) -> Any:
  rngs = {'dropout': jax.random.key(seed)}
  return module.apply(variables, x, train=True, rngs=rngs, mutable=['batch_stats'])[0]


def shapes(module, x=IMAGES):
  return jax.eval_shape(lambda x: module.init_with_output(KEY, x, train=False), x)


@pytest.mark.parametrize(
  'options, expected',
  [
    # Convolutions 3*3*1*4 and 3*3*4*4 without biases, two norms of 2*4, head 4*10 + 10.
    ({'widths': (4,), 'convs_per_block': 2}, 36 + 144 + 16 + 50),
    # Biases in place of norms; 5 x 5 windows.
    ({'widths': (4,), 'convs_per_block': 1, 'kernel_size': 5, 'norm': 'none'}, 100 + 4 + 50),
    # 8x8 -> 4x4 -> 2x2 of 6 channels, flattened to 24; dense 24*7 + 7, head 7*3 + 3.
    (
      {
        'widths': (4, 6),
        'convs_per_block': 1,
        'dense_widths': (7,),
        'num_classes': 3,
        'norm': 'group',
      },
      36 + 8 + 216 + 12 + 175 + 24,
    ),
  ],
)
def test_parameters_are_as_many_as_counted_by_hand(options, expected):
  _, variables = shapes(CNN(**options))
  assert count(variables['params']) == expected


def test_a_network_of_the_default_size_on_digits():
  logits, variables = shapes(CNN())
  assert logits.shape == (4, 10) and count(variables['params']) == 65_834
  # 288 + 9216 + 18432 + 36864 of convolutions, 2*32 + 2*32 + 2*64 + 2*64 of norms, head 640 + 10.


def test_pooling_by_hand():
  x = jnp.array([[1.0, 2.0, 9.0], [3.0, 4.0, 9.0], [9.0, 9.0, 9.0]]).reshape(1, 3, 3, 1)
  assert pool(x, 'max').ravel().tolist() == [4.0]  # the odd row and column are left out
  assert pool(x, 'avg').ravel().tolist() == [2.5]
  thin = x[:, :1]  # one row of three: pooled along it alone
  assert pool(thin, 'max').ravel().tolist() == [2.0]
  assert pool(pool(thin, 'max'), 'max').ravel().tolist() == [2.0]


@pytest.mark.parametrize('kind, peer', [('max', nn.max_pool), ('avg', nn.avg_pool)])
@pytest.mark.parametrize('shape', [(2, 8, 8, 3), (2, 7, 5, 3)])
def test_pooling_and_its_gradient_are_those_of_flax(kind, peer, shape):
  x = jax.random.normal(KEY, shape)
  ours = lambda x: jnp.sum(jnp.sin(pool(x, kind)))
  flax = lambda x: jnp.sum(jnp.sin(peer(x, (2, 2), (2, 2))))
  chex.assert_trees_all_close(
    jax.value_and_grad(ours)(x), jax.value_and_grad(flax)(x), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize('shape', [(2, 8, 8, 1), (2, 1, 9, 1)])
def test_there_may_be_more_blocks_than_halvings(shape):
  backbone = CNN(widths=(4,) * 6, convs_per_block=1, dense_widths=(3,))
  logits, variables = shapes(backbone, jnp.zeros(shape))
  assert logits.shape == (2, 10)
  assert variables['params']['Dense_0']['kernel'].shape == (4, 3)  # of one place


def test_a_shift_by_whole_windows_changes_nothing():
  # Amid a border wide enough that no convolution sees its end, and with no bias to mark it.
  inner = jax.random.normal(KEY, (1, 6, 6, 2))
  place = lambda top, left: (
    jnp.zeros((1, 32, 32, 2)).at[:, top : top + 6, left : left + 6].set(inner)
  )
  module, variables = build(place(0, 0), norm='none', widths=(4, 4), convs_per_block=1)
  apply = jax.jit(lambda x: module.apply(variables, x, train=False))
  here = apply(place(12, 12))
  np.testing.assert_allclose(apply(place(8, 16)), here, rtol=1e-4, atol=1e-6)
  assert jnp.abs(apply(place(13, 12)) - here).max() > 1e-3  # half a window does


def test_images_of_any_size_unless_there_are_dense_layers():
  larger = jax.random.uniform(KEY, (4, 12, 10, 1))
  module, variables = build(**SMALL)
  assert evaluate(module, variables, larger).shape == (4, 10)


@pytest.mark.parametrize('dense_widths', [(), (5,)])
def test_without_classes_the_features_are_what_the_head_reads(dense_widths):
  options: dict[str, Any] = {**SMALL, 'dense_widths': dense_widths}
  module, variables = build(**options)
  logits = evaluate(module, variables)
  rest = {k: v for k, v in variables['params'].items() if k != 'head'}
  backbone = CNN(num_classes=0, **options)
  features = evaluate(backbone, {**variables, 'params': rest})
  chex.assert_trees_all_equal_structs(rest, build(num_classes=0, **options)[1]['params'])
  head = variables['params']['head']
  expected = features @ head['kernel'] + head['bias'][None]
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dense_widths', [(), (16,)])
def test_dropout_follows_its_key_in_training_and_is_off_otherwise(dense_widths):
  module, variables = build(**SMALL, dropout=0.5, norm='group', dense_widths=dense_widths)
  first, again, other = (train(module, variables, seed=seed) for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert jnp.abs(first - other).max() > 1e-3
  without = train(module.clone(dropout=0.0), variables)
  np.testing.assert_allclose(evaluate(module, variables), without, rtol=1e-5, atol=1e-6)


def test_batch_norm_sees_the_other_examples_in_training_alone():
  module, variables = build(**SMALL)
  few = IMAGES[:2]
  assert jnp.abs(train(module, variables)[:2] - train(module, variables, few)).max() > 1e-3
  np.testing.assert_allclose(
    evaluate(module, variables)[:2], evaluate(module, variables, few), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize('norm', ['batch', 'none'])
def test_bfloat16_computes_in_bfloat16_on_float32_parameters(norm):
  module, variables = build(**SMALL, norm=norm, dtype='bfloat16', dense_widths=(8,))
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}

  def apply(module):
    with jax.numpy_dtype_promotion('strict'):
      run = lambda v: module.apply(v, IMAGES, train=False, capture_intermediates=True)
      return jax.jit(run)(variables)

  logits, state = apply(module)
  exact, _ = apply(module.clone(dtype='float32'))
  assert logits.dtype == jnp.float32
  convs = [x for path, x in jax.tree.leaves_with_path(state) if 'Conv' in str(path)]
  assert convs and all(x.dtype == jnp.bfloat16 for x in convs)
  assert 0 < jnp.abs(logits - exact).max() < 0.05 * jnp.abs(exact).max()


def test_whole_bytes_are_images_too():
  module, variables = build(**SMALL)
  pixels = jnp.arange(64, dtype=jnp.uint8).reshape(1, 8, 8, 1)
  np.testing.assert_array_equal(
    evaluate(module, variables, pixels), evaluate(module, variables, pixels.astype(jnp.float32))
  )


@pytest.mark.parametrize(
  'options, message',
  [
    ({'pooling': 'mean'}, "unknown pooling 'mean'"),
    ({'norm': 'bach'}, "unknown norm 'bach'; did you mean 'batch'?"),
    ({'activation': 'gelo'}, "unknown activation 'gelo'; did you mean 'gelu'?"),
    ({'dtype': 'float'}, "unknown dtype 'float'"),
  ],
)
def test_a_misspelt_name_is_found_before_anything_runs(options, message):
  with pytest.raises(ValueError) as error:
    jax.eval_shape(lambda: CNN(**options).init(KEY, IMAGES, train=False))
  assert str(error.value).startswith(message)


def test_only_images():
  with pytest.raises(ValueError, match=r'not shape \(4, 64\)'):
    build(IMAGES.reshape(4, 64))


@pytest.mark.slow
def test_gradients_of_odd_images_are_the_same_compiled_and_not():
  # XLA for CPU compiled an earlier form of the pooling wrongly, from 128 channels on.
  module = CNN(widths=(8, 128), convs_per_block=1, num_classes=3)
  x = jax.random.normal(jax.random.key(0), (8, 14, 14, 1))[:, :, :15]
  x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # 15 -> 7 -> 3
  variables = module.init(jax.random.key(1), x, train=False)

  def loss(params):
    stats = variables['batch_stats']
    logits, _ = module.apply(
      {'params': params, 'batch_stats': stats}, x, train=True, mutable=['batch_stats']
    )
    return jnp.sum(logits**2)

  with jax.disable_jit():
    expected = jax.grad(loss)(variables['params'])
  compiled = jax.jit(jax.grad(loss))(variables['params'])
  for want, got in zip(jax.tree.leaves(expected), jax.tree.leaves(compiled), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * float(jnp.abs(want).max()))
