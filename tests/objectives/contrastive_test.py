"""NT-Xent on two pairs by hand; what the head is for; evaluation with padding."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import MLP
from zoo.objectives.contrastive import contrastive, nt_xent

KEY = jax.random.key(0)
compare = jax.jit(nt_xent, static_argnums=2)


def test_two_pairs_by_hand():
  first, second = jnp.array([[2.0, 0.0], [0.0, 1.0]]), jnp.array([[3.0, 4.0], [0.0, 5.0]])
  losses, matches = compare(first, second, 0.5)
  # Directions a = (1, 0), b = (0, 1); a' = (0.6, 0.8), b' = (0, 1). Cosines over 0.5:
  # a a' 1.2, a b 0, a b' 0; b b' 2, b a 0, b a' 1.6; a' b 1.6, a' b' 1.6.
  e = np.exp
  expected = [
    np.log(e(1.2) + e(0) + e(0)) - 1.2,
    np.log(e(2) + e(0) + e(1.6)) - 2,
    np.log(e(1.2) + e(1.6) + e(1.6)) - 1.2,
    np.log(e(2) + e(0) + e(1.6)) - 2,
  ]
  np.testing.assert_allclose(losses, expected, rtol=1e-5)
  assert matches.tolist() == [True, True, False, True]


def test_the_views_may_change_places_and_lengths_do_not_matter():
  first, second = jax.random.normal(KEY, (2, 5, 3))
  losses, _ = compare(first, second, 0.1)
  swapped, _ = compare(second * 7, first, 0.1)
  np.testing.assert_allclose(losses, jnp.roll(swapped, 5), rtol=1e-5)


def test_padding_is_not_among_the_others():
  first, second = jax.random.normal(KEY, (2, 5, 3))
  weights = jnp.array([1.0, 1, 1, 0, 0])
  padded, _ = compare(first, second, 0.1, weights)
  alone, _ = compare(first[:3], second[:3], 0.1)
  np.testing.assert_allclose(padded.reshape(2, 5)[:, :3].ravel(), alone, rtol=1e-5)


def test_over_devices_the_others_are_those_of_all():
  first, second = jax.random.normal(KEY, (2, 16, 3))
  whole = jax.jit(lambda w: jnp.mean(nt_xent(first @ w, second @ w, 0.1)[0]))
  shares = lambda x: x.reshape(8, 2, 3)

  def of_device(w, a, b):
    value = lambda w: jnp.mean(nt_xent(a @ w, b @ w, 0.1, None, 'data')[0])
    return jax.lax.pmean(jax.value_and_grad(value)(w), 'data')

  w = jnp.eye(3)
  spread = jax.pmap(of_device, 'data', in_axes=(None, 0, 0), out_axes=None)
  loss, grad = spread(w, shares(first), shares(second))
  np.testing.assert_allclose(loss, whole(w), rtol=1e-5)
  np.testing.assert_allclose(grad, jax.jit(jax.grad(whole))(w), rtol=1e-4, atol=1e-5)


def test_features_and_variables_are_those_of_the_module():
  module = MLP(widths=(6,), num_classes=0)
  objective = contrastive(module, embedding_width=4)
  batch = {'image': jax.random.normal(KEY, (3, 5)), 'weight': jnp.array([1.0, 1, 0])}
  params, extras = jax.jit(objective.init)(KEY, batch)
  assert {k: v['kernel'].shape for k, v in params['projection'].items()} == {
    'layers_0': (6, 128),
    'layers_2': (128, 4),
  }
  assert objective.predict is not None
  features = objective.predict(params, extras, batch)
  expected = module.apply(objective.variables(params, extras), batch['image'], train=False)
  np.testing.assert_array_equal(features, expected)

  weights = jax.tree.map(jnp.zeros_like, params['backbone'])
  adopted, _ = objective.adopt(params, extras, {'params': weights})
  assert adopted['projection'] is params['projection'] and adopted['backbone'] is weights

  same = {'first': batch, 'second': batch}
  figures = jax.jit(objective.evaluate)(params, extras, same, KEY).compute()
  assert figures['matches'] == 1.0  # of 4 views; the padding counts for nothing
  value, (_, scalars) = jax.jit(objective.loss)(
    params, extras, {k: {'image': v['image'][:2]} for k, v in same.items()}, KEY
  )
  assert figures['loss'] == pytest.approx(float(value), rel=1e-5)
  assert scalars['matches'] == 1.0


@pytest.mark.parametrize('options', [{'temperature': 0.0}, {'embedding_width': 0}])
def test_options_out_of_range(options):
  with pytest.raises(ValueError, match='must be positive'):
    contrastive(nn.Dense(3), **options)
