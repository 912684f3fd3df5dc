import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.wide_resnet import WideResNet

KEY = jax.random.key(0)
IMAGES = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))


def shapes(module, x, method=None):
  init = lambda x: module.init_with_output(KEY, x, train=False, method=method)
  return jax.eval_shape(init, x)


@pytest.mark.parametrize(
  ('depth', 'widen', 'expected'), [(28, 10, 36_479_194), (28, 2, 1_467_610), (16, 8, 10_961_370)]
)
def test_parameters_are_as_many_as_published(depth, widen, expected):
  module = WideResNet(depth=depth, widen=widen)
  logits, variables = shapes(module, jnp.zeros((1, 32, 32, 3)))
  assert sum(x.size for x in jax.tree.leaves(variables['params'])) == expected
  assert logits.shape == (1, 10)


def test_intermediate_outputs_by_name():
  outputs, _ = shapes(WideResNet(num_classes=0), jnp.zeros((2, 32, 32, 3)), 'features')
  assert {name: x.shape for name, x in outputs.items()} == {
    'stem': (2, 32, 32, 16),
    'stage_0': (2, 32, 32, 160),
    'stage_1': (2, 16, 16, 320),
    'stage_2': (2, 8, 8, 640),
    'pooled': (2, 640),
  }


def test_a_block_that_adds_nothing_is_as_if_it_were_not_there():
  """Nothing else is between two blocks, not even an activation."""
  deep, shallow = WideResNet(depth=16, widen=1), WideResNet(depth=10, widen=1)
  rng = np.random.default_rng(0)
  random = lambda x: jnp.asarray(rng.uniform(-0.2, 1, size=x.shape), jnp.float32)
  variables = jax.tree.map(random, shapes(deep, IMAGES)[1])
  variables['batch_stats'] = jax.tree.map(lambda x: jnp.abs(x) + 1, variables['batch_stats'])
  params = dict(variables['params'])
  for i in range(3):
    name = f'stage_{i}_block_1_conv_1'
    params[name] = {'kernel': jnp.zeros_like(params[name]['kernel'])}
  apply = lambda module: jax.jit(lambda v: module.apply(v, IMAGES, train=False))(
    {**variables, 'params': params}
  )
  found = apply(deep)
  np.testing.assert_allclose(found, apply(shallow), rtol=1e-5)
  assert np.abs(found).max() > 0.1


@pytest.mark.parametrize('depth', [27, 4, 0])
def test_a_depth_that_blocks_do_not_make_is_refused(depth):
  with pytest.raises(ValueError, match=f'depth must be 4 .* not {depth}'):
    shapes(WideResNet(depth=depth), IMAGES)


def test_only_images():
  with pytest.raises(ValueError, match=r'not shape \(2, 192\)'):
    shapes(WideResNet(), IMAGES.reshape(2, -1))
