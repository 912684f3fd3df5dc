import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import MLPAutoencoder

KEY = jax.random.key(0)


@pytest.mark.parametrize('shape', [(30,), (8, 8, 1), (4, 3)])
def test_the_output_has_the_shape_of_the_input(shape):
  x = jax.random.normal(KEY, (5, *shape))
  module = MLPAutoencoder(widths=(16, 8), latent=3)
  params = module.init(KEY, x, train=False)['params']
  assert module.apply({'params': params}, x, train=False).shape == x.shape
  size = int(np.prod(shape))
  layers = ((size, 16), (16, 8), (8, 3), (3, 8), (8, 16), (16, size))
  assert sum(p.size for p in jax.tree.leaves(params)) == sum(i * o + o for i, o in layers)


@pytest.mark.slow
def test_all_passes_through_the_code():
  module = MLPAutoencoder(widths=(16,), latent=2)
  x = jax.random.normal(KEY, (6, 5))
  params = module.init(KEY, x, train=False)['params']
  restore = lambda x: module.apply({'params': params}, x, train=False)
  # The outputs vary along no more directions than the code does.
  jacobian = jax.jacobian(lambda x: restore(x[None])[0])(x[0])
  assert np.linalg.matrix_rank(np.asarray(jacobian), tol=1e-5) <= 2
  blind = params | {'code': jax.tree.map(jnp.zeros_like, params['code'])}
  out = module.apply({'params': blind}, x, train=False)
  np.testing.assert_allclose(out, jnp.broadcast_to(out[:1], out.shape))
