import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import residual


def stream(add, depth):
  """Gradients with respect to the kernels of `depth` blocks: a norm, a product, a residual."""

  def loss(kernels, x):
    for i in range(depth):
      y = x - jnp.mean(x, -1, keepdims=True)
      y *= jax.lax.rsqrt(jnp.mean(y**2, -1, keepdims=True) + 1e-5)
      x = add(x, y @ kernels[i])
    return jnp.sum(x**2)

  return jax.grad(loss)


def operations(add, depth):
  shapes = jax.ShapeDtypeStruct((depth, 32, 32), jnp.float32), jax.ShapeDtypeStruct((64, 32), 'f4')
  return jax.jit(stream(add, depth)).lower(*shapes).compile().cost_analysis()['flops']


def test_sum_and_gradients_are_those_of_plus():
  rng = np.random.default_rng(0)
  kernels, x = rng.normal(size=(3, 8, 8)).astype('f4'), rng.normal(size=(4, 8)).astype('f4')
  np.testing.assert_array_equal(residual.add(x, 2 * x), x + 2 * x)
  ours = stream(residual.add, 3)(kernels, x)
  np.testing.assert_allclose(ours, stream(jnp.add, 3)(kernels, x), rtol=1e-5)
  _, moved = jax.jvp(residual.add, (x, x), (x, 2 * x))
  np.testing.assert_array_equal(moved, 3 * x)
  batched = jax.vmap(residual.add, in_axes=(0, None))(x, x[0])
  np.testing.assert_array_equal(batched, x + x[0])


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason='XLA drops barriers before it fuses')
def test_work_grows_with_the_number_of_blocks_and_no_faster():
  few, some, many = (operations(residual.add, depth) for depth in (4, 8, 12))
  assert many - some == pytest.approx(some - few, rel=0.02)
