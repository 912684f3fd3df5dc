"""A slim network computes what the whole one does with the other channels silent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import CNN
from zoo.slimming import masked, slim

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
NETWORKS = {
  'norm and average': {'widths': (4, 8), 'convs_per_block': 2},
  'no norm, dense layers': {
    'widths': (6, 8),
    'convs_per_block': 1,
    'norm': 'none',
    'dense_widths': (5,),
  },
  'features': {'widths': (6,), 'convs_per_block': 2, 'num_classes': 0},
}


def network(name):
  """A module, and variables of which none is at its first value."""
  module = CNN(**NETWORKS[name])
  variables = jax.jit(lambda: module.init(KEY, X, train=False))()
  leaves, tree = jax.tree.flatten(variables)
  keys = jax.random.split(KEY, len(leaves))
  # Variances must stay positive.
  moved = [x + 0.1 * jax.random.uniform(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
  return module, jax.tree.unflatten(tree, moved)


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=pytest.mark.slow if 'average' in n else ()) for n in NETWORKS]
)
@pytest.mark.parametrize('by', [pytest.param('l1', marks=pytest.mark.slow), 'scale'])
def test_the_slim_network_equals_the_masked_one(name, by):
  module, variables = network(name)
  if by == 'scale' and module.norm == 'none':
    pytest.skip('there is no scale')
  found = slim(variables, 0.5, convs_per_block=module.convs_per_block, by=by)
  assert found.widths == tuple(w // 2 for w in module.widths)
  small = module.clone(widths=found.widths)
  expected = jax.eval_shape(lambda: small.init(KEY, X, train=False))
  shapes = lambda tree: jax.tree.map(lambda x: x.shape, tree)
  assert shapes(found.variables) == shapes(expected)

  whole = module.apply(masked(variables, found.kept), X, train=False)
  if not module.num_classes:  # features are the channels themselves
    whole = whole[:, found.kept[-1]]
  np.testing.assert_allclose(
    small.apply(found.variables, X, train=False), whole, rtol=1e-5, atol=1e-5
  )
  assert not np.allclose(module.apply(variables, X, train=False).mean(), whole.mean(), atol=1e-3)


def test_to_keep_all_changes_nothing():
  module, variables = network('norm and average')
  found = slim(variables, 1.0, convs_per_block=2)
  for x, y in zip(jax.tree.leaves(found.variables), jax.tree.leaves(variables), strict=True):
    np.testing.assert_array_equal(x, y)
  assert found.widths == module.widths


def test_the_channels_that_matter_most_are_kept():
  _, variables = network('no norm, dense layers')
  kernel = np.asarray(variables['params']['Conv_0']['kernel'])
  sizes = np.abs(kernel).sum((0, 1, 2))
  assert sorted(slim(variables, 0.5).kept[0].tolist()) == sorted(np.argsort(-sizes)[:3].tolist())
  _, variables = network('norm and average')
  variables['params']['BatchNorm_2']['scale'] = jnp.array([0, 3, 0, -4, 0, 0, 5.0, 6])
  assert slim(variables, 0.5, by='scale').kept[2].tolist() == [1, 3, 6, 7]


def test_what_cannot_be_slimmed_is_named():
  _, variables = network('no norm, dense layers')
  with pytest.raises(ValueError, match=r'keep must be in \(0, 1\]'):
    slim(variables, 0.0)
  with pytest.raises(ValueError, match="did you mean 'scale'"):
    slim(variables, 0.5, by='scales')
  with pytest.raises(ValueError, match='needs a batch norm'):
    slim(variables, 0.5, by='scale')
  with pytest.raises(ValueError, match="it has 'GroupNorm_0'"):
    slim({'params': {**variables['params'], 'GroupNorm_0': {}}}, 0.5)
  with pytest.raises(ValueError, match='it has no convolution'):
    slim({'params': {'head': {}}}, 0.5)
