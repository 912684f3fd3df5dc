"""Names of parameters, patterns over them, and the rule for what is a weight."""

import jax
import jax.numpy as jnp
import pytest

from zoo import paths

SHAPES = {
  'Conv_0': {'kernel': (3, 3, 1, 4), 'bias': (4,)},
  'BatchNorm_0': {'scale': (4,), 'bias': (4,)},
  'query': {'kernel': (4, 2, 3), 'bias': (2, 3)},  # attention: a bias with an axis for the heads
  'stack': {'scale': (6, 4), 'gain': (4,)},  # layers stacked along an axis
  'embedding': (7, 4),
}
TREE = jax.tree.map(jnp.zeros, SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def test_named_leaves_follow_the_order_of_tree_leaves():
  names, leaves = zip(*paths.named_leaves(TREE), strict=True)
  assert names[:3] == ('BatchNorm_0/bias', 'BatchNorm_0/scale', 'Conv_0/bias')
  assert all(a is b for a, b in zip(leaves, jax.tree.leaves(TREE), strict=True))


def test_weights_are_kernels_and_embeddings():
  weights = {path for path, yes in paths.named_leaves(paths.weight_mask(TREE)) if yes}
  assert weights == {'Conv_0/kernel', 'query/kernel', 'embedding'}


def test_a_pattern_matches_the_whole_path():
  assert paths.match('Dense_1/.*', 'Dense_1/kernel')
  assert not paths.match('Dense_1', 'Dense_10')
  assert not paths.match('kernel', 'Dense_1/kernel')


def test_a_pattern_without_a_match_is_named_with_the_nearest_path():
  paths.check_patterns('freeze', ('Conv_0/.*', '.*/bias'), TREE)
  message = r"^freeze pattern 'Conv_0/kernal' matches no parameter; .* 'Conv_0/kernel'$"
  with pytest.raises(ValueError, match=message):
    paths.check_patterns('freeze', ('.*/bias', 'Conv_0/kernal'), TREE)
  with pytest.raises(ValueError, match=r"^group pattern '\(' is no regular expression: "):
    paths.check_patterns('group', ('(',), TREE)
