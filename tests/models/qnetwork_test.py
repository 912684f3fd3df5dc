"""Q-networks: what the parts mean, by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import td
from zoo.catalog import create_model
from zoo.models.qnetwork import QNetwork

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def build(x: Any = X, **options) -> tuple[QNetwork, Any]:
  module = QNetwork(**{'widths': (8, 6), 'num_actions': 3, **options})
  return module, jax.jit(lambda: module.init(KEY, x, train=False))()


def apply(module, variables, x: Any = X, **options) -> Any:
  return jax.jit(lambda v, x: module.apply(v, x, train=False, **options))(variables, x)


def count(name: str, shape: tuple[int, ...], **options) -> int:
  module = create_model(name, **options)
  x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  shapes = jax.eval_shape(lambda key, x: module.init(key, x, train=False), KEY, x)
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_parameters_counted_by_hand():
  assert count('dqn_mlp', (4,)) == (4 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 2
  convolutions = (64 * 4 + 1) * 32 + (16 * 32 + 1) * 64 + (9 * 64 + 1) * 64
  assert count('dqn_nature', (84, 84, 4), num_actions=6) == (
    convolutions + (3136 + 1) * 512 + (512 + 1) * 6
  )
  assert count('dqn_minatar', (10, 10, 4), num_actions=6) == (
    (9 * 4 + 1) * 16 + (1024 + 1) * 128 + (128 + 1) * 6
  )
  # 15 convolutions of 3 x 3; 84 is halved to 42, 21 and 11.
  pairs = [(4, 16), *[(16, 16)] * 4, (16, 32), *[(32, 32)] * 9]
  impala = sum((9 * a + 1) * b for a, b in pairs)
  assert count('dqn_impala', (84, 84, 4), num_actions=6) == (
    impala + (11 * 11 * 32 + 1) * 256 + (256 + 1) * 6
  )


def test_a_plain_network_is_matrices_with_relus_between():
  module, variables = build()
  p = jax.tree.map(np.asarray, variables['params'])
  y = X
  for name in ('Dense_0', 'head_hidden'):
    y = np.maximum(y @ p[name]['kernel'] + p[name]['bias'], 0)
  y = y @ p['head']['kernel'] + p['head']['bias']
  np.testing.assert_allclose(apply(module, variables), y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('head', ['scalar', 'qr'])
def test_dueling_advantages_have_a_mean_of_zero(head):
  module, variables = build(dueling=True, head=head)
  q = apply(module, variables)
  changed = jax.tree.map(lambda x: x, variables)
  changed['params']['value']['bias'] += 2.0
  np.testing.assert_allclose(apply(module, changed), q + 2, rtol=1e-5, atol=1e-5)
  changed = jax.tree.map(lambda x: x, variables)
  changed['params']['advantage']['bias'] += 5.0
  np.testing.assert_allclose(apply(module, changed), q, rtol=1e-5, atol=1e-5)


def test_heads_say_distributions_and_these_have_means():
  for head, K in (('c51', 51), ('qr', 32), ('iqn', 32)):
    module, variables = build(head=head)
    outputs = apply(module, variables)
    assert outputs.shape == (3, 3, K)
    assert td.expectation(outputs, head, -10, 10).shape == (3, 3)
  logits = jnp.log(jnp.array([[[0.25, 0.75, 1e-30]]]))
  np.testing.assert_allclose(td.expectation(logits, 'c51', -1, 1), [[-0.25]], rtol=1e-5)


def test_a_quantile_of_iqn_depends_on_its_own_tau_alone():
  module, variables = build(head='iqn')
  of = lambda taus: apply(module, variables, taus=jnp.array([taus] * 3))
  np.testing.assert_allclose(of([0.2, 0.9])[..., 1], of([0.9])[..., 0], rtol=1e-5)
  assert np.abs(of([0.2])[..., 0] - of([0.9])[..., 0]).min() > 0


def test_noise_has_the_scale_that_is_learnt_and_is_drawn_once_for_a_batch():
  module, variables = build(noisy=True, noise_scale=0.7)
  params = variables['params']
  np.testing.assert_allclose(params['head']['kernel_noise'], 0.7 / 6**0.5, rtol=1e-6)
  noisy = lambda seed, v=variables: apply(
    module, v, np.repeat(X[:1], 2, 0), rngs={'noise': jax.random.key(seed)}
  )
  np.testing.assert_array_equal(noisy(0)[0], noisy(0)[1])
  assert np.abs(noisy(0) - noisy(1)).min() > 0
  quiet = jax.tree.map_with_path(
    lambda path, x: x * 0 if 'noise' in str(path[-1]) else x, variables
  )
  np.testing.assert_array_equal(noisy(0, quiet)[0], apply(module, variables)[0])


def test_bytes_are_scaled():
  module, variables = build()
  levels = jnp.array([[0, 51, 102, 255]], jnp.uint8)
  np.testing.assert_allclose(
    apply(module, variables, levels),
    apply(module, variables, jnp.array([[0, 0.2, 0.4, 1.0]])),
    rtol=1e-5,
    atol=1e-6,
  )


def test_bad_input_is_named():
  with pytest.raises(ValueError, match="unknown torso 'natur'; did you mean 'nature'"):
    build(torso='natur')
  with pytest.raises(ValueError, match="unknown head 'c15'"):
    build(head='c15')
  with pytest.raises(ValueError, match=r"'nature' takes observations \[36 or more.*not \[4\]"):
    build(torso='nature')


def test_observations_are_divided_by_their_scale():
  x = jnp.array([[2.0, 30.0], [4.0, 60.0]])
  scaled, plain = QNetwork(scale=(2.0, 30.0)), QNetwork()
  params = plain.init(jax.random.key(0), x, train=False)
  want = plain.apply(params, jnp.array([[1.0, 1.0], [2.0, 2.0]]), train=False)
  np.testing.assert_allclose(scaled.apply(params, x, train=False), want, rtol=1e-6)
  with pytest.raises(ValueError, match='scale must be 2 numbers above 0'):
    QNetwork(scale=(1.0, 2.0, 3.0)).init(jax.random.key(0), x, train=False)
