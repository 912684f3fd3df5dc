"""Inception v3: its size, and what sets that of the Frechet inception distance apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.interop.inception import shapes
from zoo.models.inception import BlockE, InceptionV3, average, to_input


def test_parameters_are_as_many_as_published_without_the_heads():
  """With 1000 classes and a second head it has 27,161,264."""
  head = (2048 + 1) * 1000
  # A convolution of 128 by 1 x 1, one of 768 by 5 x 5, their norms, and a head.
  second_head = 768 * 128 + 128 * 768 * 25 + 2 * (128 + 768) + (768 + 1) * 1000
  count = sum(x.size for x in jax.tree.leaves(shapes()['params']))
  assert count == 27_161_264 - head - second_head == 21_785_568


def test_averages_leave_out_what_lies_over_the_border():
  np.testing.assert_allclose(average(jnp.ones((1, 4, 5, 2))), np.ones((1, 4, 5, 2)), rtol=1e-6)
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  found = average(x)[0, ..., 0]
  assert found[0, 0] == pytest.approx((0 + 1 + 4 + 5) / 4)
  assert found[0, 1] == pytest.approx((0 + 1 + 2 + 4 + 5 + 6) / 6)
  assert found[1, 1] == pytest.approx(5)


@pytest.mark.parametrize('greatest', [False, True])
def test_only_the_last_block_takes_the_greatest_of_what_is_around(greatest):
  x = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(9.0)
  block = BlockE(greatest)
  shapes = jax.eval_shape(block.init, jax.random.key(0), x)
  variables = jax.tree.map(lambda x: jnp.zeros(x.shape), shapes)
  params = dict(variables['params'])
  params['branch_pool'] = jax.tree.map(jnp.ones_like, params['branch_pool'])
  params['branch_pool']['bn'] = params['branch_pool']['bn'] | {'bias': jnp.zeros(192)}
  found = block.apply({**variables, 'params': params}, x)[0, ..., 2048 - 192]  # the last branch
  expected = np.zeros((5, 5))
  expected[1:4, 1:4] = 9 if greatest else 1
  np.testing.assert_allclose(found, expected / np.sqrt(1e-3), rtol=1e-5)


def test_pictures_of_any_size_fill_299_and_minus_1_to_1():
  black_white = jnp.stack([jnp.zeros((8, 6, 1)), jnp.ones((8, 6, 1))])
  found = to_input(black_white)
  assert found.shape == (2, 299, 299, 3)
  np.testing.assert_allclose(found[0], -1)
  np.testing.assert_allclose(found[1], 1, rtol=1e-5)
  with pytest.raises(ValueError, match=r'1 or 3\], not shape \(1, 8, 8, 4\)'):
    InceptionV3().init(jax.random.key(0), jnp.zeros((1, 8, 8, 4)))
