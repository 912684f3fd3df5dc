"""The autoencoder: any size and depth, sizes by hand, and that its halves fit."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

from zoo.models.vae import VAE

KEY = jax.random.key(0)
SMALL: dict[str, Any] = {'widths': (2, 3), 'latent_size': 5}


def started(shape, **options):
  module = VAE(image_shape=shape, **{**SMALL, **options})
  return module, jax.jit(lambda: module.init(KEY, jnp.zeros((2, *shape)), train=False))()


@pytest.mark.parametrize('widths', [(4,), (2, 3, 4)])
@pytest.mark.parametrize('shape', [(8, 8, 1), (9, 5, 3), (1, 1, 2)])
def test_pictures_of_any_size_and_depth(shape, widths):
  module = VAE(image_shape=shape, widths=widths, latent_size=5)
  x = jnp.zeros((2, *shape))
  out, variables = jax.eval_shape(lambda x: module.init_with_output(KEY, x, train=False), x)
  assert out.shape == (2, *shape, 2) and out.dtype == jnp.float32
  encode = lambda v, x: module.apply(v, x, train=True, method='encode')
  for numbers in jax.eval_shape(encode, variables, x):
    assert numbers.shape == (2, 5)


def test_parameters_are_as_many_as_counted_by_hand():
  conv = lambda i, o: 9 * i * o + o
  dense = lambda i, o: i * o + o
  for variational in (True, False):
    module = VAE(image_shape=(5, 3, 1), variational=variational, **SMALL)
    x = jnp.zeros((1, 5, 3, 1))
    params = jax.eval_shape(lambda: module.init(KEY, x, train=False))['params']  # noqa: B023
    expected = conv(1, 2) + conv(2, 3) + dense(3 * 2 * 3, 10 if variational else 5)
    expected += dense(5, 3 * 2 * 3) + conv(3, 3) + conv(3, 2) + conv(2, 2)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.slow
def test_the_whole_is_the_decoder_behind_the_means():
  module, variables = started((5, 3, 2))
  x = jax.random.uniform(KEY, (2, 5, 3, 2))
  mean, log_variance = module.apply(variables, x, train=False, method='encode')
  assert jnp.abs(mean - log_variance).max() > 1e-3
  out = module.apply(variables, mean, train=False, method='decode')
  chex.assert_trees_all_close(module.apply(variables, x, train=False), out)
  assert out.std(axis=(1, 2)).min() > 1e-3  # places differ


def test_a_plain_autoencoder_says_no_variances():
  module, variables = started((4, 4, 1), variational=False)
  mean, log_variance = module.apply(variables, jnp.ones((2, 4, 4, 1)), train=False, method='encode')
  assert mean.shape == (2, 5) and log_variance is None


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_a_gradient_reaches_every_parameter(norm):
  module, variables = started((6, 4, 1), norm=norm)
  x = jax.random.uniform(KEY, (3, 6, 4, 1))

  def loss(params):
    out, _ = module.apply({**variables, 'params': params}, x, train=True, mutable=['batch_stats'])
    _, log_variance = module.apply({**variables, 'params': params}, x, train=False, method='encode')
    return jnp.sum(jnp.sin(out)) + jnp.sum(jnp.square(log_variance))

  for gradient in jax.tree.leaves(jax.jit(jax.grad(loss))(variables['params'])):
    assert jnp.abs(gradient).max() > 1e-6


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'latent_size': 0}, 'latent_size >= 1, not 0'),
    ({'widths': ()}, 'VAE needs widths'),
    ({'image_shape': (8, 8)}, r'pictures \[height, width, channels\], not \(8, 8\)'),
    ({'image_shape': (4, 4, 3)}, r'for pictures \(4, 4, 3\), not \(4, 4, 1\)'),
    ({'norm': 'bacth'}, "did you mean 'batch'"),
  ],
)
def test_bad_input_is_named(options, message):
  module = VAE(**{**SMALL, 'image_shape': (4, 4, 1), **options})
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda: module.init(KEY, jnp.zeros((1, 4, 4, 1)), train=False))
