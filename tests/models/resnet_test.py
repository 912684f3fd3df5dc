"""Residual networks: published sizes, blocks that start as identity, what devices share."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo import paths
from zoo.catalog import create_model
from zoo.data import arrays
from zoo.models.resnet import ResNet
from zoo.objectives import classification
from zoo.training import build, parallelize, run

KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
SMALL = ResNet(stage_sizes=(2, 1), width=4, stem='cifar', num_classes=3)


def shapes(module, x, method=None):
  init = lambda x: module.init_with_output(KEY, x, train=False, method=method)
  return jax.eval_shape(init, x)


def initial(module, x: Any = IMAGES) -> Any:
  """Kernels and scales as a module starts with them, but from NumPy: JAX compiles for longer."""
  rng = np.random.default_rng(0)

  def start(path, x):
    if not path.endswith('kernel'):
      return jnp.full(x.shape, path.endswith(('scale', 'var')), jnp.float32)
    return jnp.asarray(rng.normal(size=x.shape) * np.sqrt(2 / x.size * x.shape[-1]), jnp.float32)

  return paths.map_named(start, shapes(module, x)[1])


@partial(jax.jit, static_argnums=0, static_argnames=('train', 'method'))
def apply(module, variables, x: Any = IMAGES, train=False, method='__call__', seed: Any = 0) -> Any:
  """(output, batch statistics)."""
  rngs = {'dropout': jax.random.key(seed)}
  mutable = ['batch_stats'] if train else ()
  return module.apply(variables, x, train=train, rngs=rngs, mutable=mutable, method=method)


def count(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
  ('name', 'expected'),
  [
    ('resnet18', 11_689_512),
    ('resnet34', 21_797_672),
    ('resnet50', 25_557_032),
    ('resnet101', 44_549_160),
    ('resnet152', 60_192_808),
    ('resnet18_cifar', 11_173_962),
  ],
)
def test_parameters_are_as_many_as_published(name, expected):
  logits, variables = shapes(create_model(name), jnp.zeros((1, 64, 64, 3)))
  assert count(variables['params']) == expected
  assert logits.shape == (1, 10 if 'cifar' in name else 1000) and logits.dtype == jnp.float32


def test_a_residual_is_added_without_a_kernel_wherever_shapes_allow():
  _, variables = shapes(create_model('resnet50'), jnp.zeros((1, 64, 64, 3)))
  shortcuts = [name for name, block in variables['params'].items() if 'shortcut_conv' in block]
  assert shortcuts == [f'stage_{i}_block_0' for i in range(4)]
  _, variables = shapes(create_model('resnet18'), jnp.zeros((1, 64, 64, 3)))
  shortcuts = [name for name, block in variables['params'].items() if 'shortcut_conv' in block]
  assert shortcuts == [f'stage_{i}_block_0' for i in range(1, 4)]


@pytest.mark.parametrize(
  ('name', 'size', 'sides', 'channels'),
  [
    ('resnet50', 224, (56, 56, 28, 14, 7), (64, 256, 512, 1024, 2048)),
    ('resnet18_cifar', 32, (32, 32, 16, 8, 4), (64, 64, 128, 256, 512)),
  ],
)
def test_intermediate_outputs_by_name(name, size, sides, channels):
  module = create_model(name, dtype='bfloat16')
  outputs, _ = shapes(module, jnp.zeros((2, size, size, 3)), 'features')
  expected = {
    stage: (2, side, side, depth)
    for stage, side, depth in zip(
      ('stem', 'stage_0', 'stage_1', 'stage_2', 'stage_3'), sides, channels, strict=True
    )
  }
  expected |= {'pooled': (2, channels[-1]), 'logits': (2, module.num_classes)}
  assert {name: x.shape for name, x in outputs.items()} == expected
  assert {x.dtype for x in outputs.values()} == {jnp.dtype('bfloat16')}


def test_a_bottleneck_strides_in_its_3x3_convolution():
  module = ResNet(stage_sizes=(1, 1), width=4, bottleneck=True, stem='cifar')
  run = lambda x: module.init_with_output(KEY, x, train=False, capture_intermediates=True)
  _, variables = jax.eval_shape(run, IMAGES)
  block = variables['intermediates']['stage_1_block_0']
  sides = [block[f'conv_{i}']['__call__'][0].shape[1] for i in range(3)]
  assert sides == [8, 4, 4]


def test_without_classes_the_features_are_what_the_head_reads():
  variables = initial(SMALL)
  logits, _ = apply(SMALL, variables)
  rest = {name: x for name, x in variables['params'].items() if name != 'head'}
  backbone = SMALL.clone(num_classes=0)
  chex.assert_trees_all_equal_structs(rest, shapes(backbone, IMAGES)[1]['params'])
  pooled, _ = apply(backbone, {**variables, 'params': rest})
  head = variables['params']['head']
  np.testing.assert_allclose(pooled @ head['kernel'] + head['bias'][None], logits, rtol=1e-5)
  features, _ = apply(SMALL, variables, method='features')
  np.testing.assert_allclose(features['pooled'], features['stage_1'].mean((1, 2)), rtol=1e-6)


@pytest.mark.slow
def test_blocks_may_start_as_the_identity():
  module = SMALL.clone(zero_init=True)
  variables = jax.jit(lambda: module.init(KEY, IMAGES, train=False))()
  features, _ = apply(module, variables, train=True, method='features')
  np.testing.assert_array_equal(features['stage_0'], features['stem'])  # of a rectifier already
  assert np.abs(features['stage_1']).max() > 0  # of the shortcut
  features, _ = apply(SMALL, initial(SMALL), train=True, method='features')
  assert np.abs(features['stage_0'] - features['stem']).max() > 0.1


@pytest.mark.slow
def test_stochastic_depth_leaves_the_first_block_and_drops_the_last():
  module = SMALL.clone(stage_sizes=(2,), stochastic_depth=0.5)
  variables = initial(module)
  whole, _ = apply(module.clone(stochastic_depth=0.0), variables, train=True, method='features')
  first = module.clone(stage_sizes=(1,), stochastic_depth=0.0)
  alone, _ = apply(first, variables, train=True, method='features')
  kept = set()
  for seed in range(4):
    dropped, _ = apply(module, variables, train=True, method='features', seed=seed)
    for i in range(len(IMAGES)):
      is_kept = not np.allclose(dropped['stage_0'][i], alone['stage_0'][i], atol=1e-6)
      kept.add(is_kept)
      # The last convolution's norm saw all examples, so what is added is twice what it was.
      if is_kept:
        added = whole['stage_0'][i] - alone['stage_0'][i]
        positive = (whole['stage_0'][i] > 0) & (dropped['stage_0'][i] > 0)  # of the rectifier
        found = dropped['stage_0'][i] - alone['stage_0'][i]
        np.testing.assert_allclose(found[positive], 2 * added[positive], rtol=1e-3, atol=1e-4)
  assert kept == {True, False}
  evaluated = [apply(m, variables)[0] for m in (module, module.clone(stochastic_depth=0.0))]
  np.testing.assert_array_equal(*evaluated)


def test_bfloat16_computes_in_bfloat16_on_float32_parameters():
  module = SMALL.clone(dtype='bfloat16', stem='imagenet', bottleneck=True)
  variables = initial(module)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
  with jax.numpy_dtype_promotion('strict'):
    logits, _ = apply(module, variables)
  exact, _ = apply(module.clone(dtype='float32'), variables)
  assert logits.dtype == jnp.float32
  assert 0 < jnp.abs(logits - exact).max() < 0.05 * jnp.abs(exact).max()


@pytest.mark.slow
def test_compiled_gradients_are_those_computed_one_by_one():
  # XLA for CPU once compiled a maximum behind a norm wrongly, see `greatest` in models/cnn.py.
  module = ResNet(stage_sizes=(1,), width=64, num_classes=3)
  x = jax.random.normal(KEY, (4, 16, 16, 3))
  variables = initial(module, x)

  def loss(params):
    logits, _ = module.apply(
      {**variables, 'params': params}, x, train=True, mutable=['batch_stats']
    )
    return jnp.sum(logits**2)

  with jax.disable_jit():
    expected = jax.grad(loss)(variables['params'])
  compiled = jax.jit(jax.grad(loss))(variables['params'])
  for want, got in zip(jax.tree.leaves(expected), jax.tree.leaves(compiled), strict=True):
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * float(jnp.abs(want).max()))


def trained(strategy, **options):
  """(parameters, extras) after three steps of SGD: Adam hides a gradient n times too big."""
  parallel = parallelize(strategy)
  module = SMALL.clone(stage_sizes=(1,), axis_name=parallel.axis_name, **options)
  objective = classification(module, num_classes=3, axis_name=parallel.axis_name)
  start = initial(module)
  extras = {'batch_stats': start['batch_stats']}
  objective = objective._replace(init=lambda *_: (start['params'], extras))
  rng = np.random.default_rng(0)
  images = rng.normal(size=(48, 4, 4, 3)).astype(np.float32)
  source = arrays.epochs({'image': images, 'label': np.arange(48, dtype=np.int32) % 3}, 16)
  program = build(objective, optax.sgd(0.1), source, parallel)
  state, source_state = program.init(KEY)
  for state, *_ in run(program, source, state, source_state, steps=3):
    pass
  return jax.device_get((state.params, state.extras))


@pytest.mark.slow
def test_jit_pmap_and_sharded_train_alike_unless_devices_keep_to_themselves():
  expected = trained('jit')
  for strategy in ('pmap', 'sharded'):
    toy.assert_same(trained(strategy), expected, rtol=1e-4)
  _, apart = trained('pmap', sync_batch_norm=False)
  stats, whole = (x['batch_stats']['stem_norm'] for x in (apart, expected[1]))
  # Averages of means are alike whoever takes them; variances within devices are not.
  np.testing.assert_allclose(stats['mean'], whole['mean'], atol=0.05)
  assert (stats['var'] < whole['var']).all()


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'stem': 'cifer'}, "unknown stem 'cifer'; did you mean 'cifar'?"),
    ({'norm': 'bach'}, "unknown norm 'bach'; did you mean 'batch'?"),
    ({'dtype': 'float'}, "unknown dtype 'float'"),
  ],
)
def test_a_misspelt_name_is_found_before_anything_runs(options, message):
  with pytest.raises(ValueError, match=message):
    shapes(SMALL.clone(**options), IMAGES)


def test_only_images():
  with pytest.raises(ValueError, match=r'not shape \(4, 192\)'):
    shapes(SMALL, IMAGES.reshape(4, -1))
