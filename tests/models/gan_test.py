"""DCGAN: sizes by hand, what a class changes, singular values, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models import DCGAN

KEY = jax.random.key(0)
Z = jax.random.normal(jax.random.key(1), (4, 3))
IMAGES = jax.random.uniform(jax.random.key(2), (4, 8, 8, 1))
LABELS = jnp.array([0, 1, 2, 1])
SMALL = {'resolution': 8, 'channels': 1, 'width': 4, 'latent_size': 3, 'num_classes': 3}


def build(**options):
  module = DCGAN(**SMALL | options)
  return module, jax.jit(module.init)(KEY, Z, LABELS)


def sizes(**options):
  """Parameters of the generator and of the discriminator."""
  module = DCGAN(**options)
  z, label = jnp.zeros((1, module.latent_size)), jnp.zeros(1, jnp.int32)
  params = jax.eval_shape(module.init, KEY, z, label)['params']
  return tuple(
    sum(x.size for x in jax.tree.leaves(params[part])) for part in ('generator', 'discriminator')
  )


@pytest.mark.parametrize(
  ('options', 'expected'),
  [
    # Dense 3*4*4*4, norm 2*4, picture 16*4 + 1; convolution 16*4 + 4, score 4*4*4 + 1.
    (SMALL, (192 + 8 + 65, 68 + 65)),
    # Embedding 3*3 and three more inputs; 3*64 in the discriminator, or three more channels.
    (SMALL | {'condition': 'projection'}, (265 + 9 + 192, 133 + 192)),
    (SMALL | {'condition': 'concat'}, (265 + 9 + 192, 133 + 16 * 3 * 4)),
    # Biases in place of the norm; singular vectors are no parameters.
    (SMALL | {'generator_norm': 'none', 'spectral_norm': True}, (265 - 8 + 64, 133)),
    # Two halvings: 2x2 of 8, 4x4 of 4.
    (
      SMALL | {'base': 2},
      (3 * 32 + 16 + 16 * 8 * 4 + 8 + 65, 68 + 16 * 4 * 8 + 16 + 33),
    ),
    # Figure 1 of the paper, with windows of 4 x 4: 1024, 512, 256, 128 channels.
    (
      {'width': 128},
      (
        100 * 16384
        + 2 * (1024 + 512 + 256 + 128)
        + 16 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3)
        + 3,
        16 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024)
        + 128
        + 2 * (256 + 512 + 1024)
        + 16384
        + 1,
      ),
    ),
  ],
)
def test_sizes_by_hand(options, expected):
  assert sizes(**options) == expected


@pytest.mark.parametrize('resolution', [8, 32, 64])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_pictures_and_scores_have_their_shapes_and_types(resolution, dtype):
  module = DCGAN(resolution=resolution, width=4, dtype=dtype)
  variables = jax.eval_shape(module.init, KEY, jnp.zeros((2, 100)))
  apply = lambda v, x, method: module.apply(v, x, method=method)
  make = jax.eval_shape(lambda v: apply(v, jnp.zeros((2, 100)), 'generate'), variables)
  assert make.shape == (2, resolution, resolution, 3) and make.dtype == jnp.float32
  score = jax.eval_shape(lambda v, x: apply(v, x, 'discriminate'), variables, make)
  assert score.shape == (2,) and score.dtype == jnp.float32
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


def test_pictures_are_in_the_unit_interval_and_each_comes_from_its_latent_alone():
  module, variables = build()
  variables = jax.tree.map(lambda x: 20 * x, variables)
  make = jax.jit(lambda z: module.apply(variables, z, method='generate'))
  made = make(Z)
  assert made.min() >= 0 and made.max() <= 1 and made.std() > 0.01
  np.testing.assert_allclose(make(Z[::-1]), made[::-1], atol=1e-6)


@pytest.mark.parametrize('condition', ['none', 'projection', 'concat'])
def test_the_class_changes_picture_and_score_where_there_is_a_condition(condition):
  module, variables = build(condition=condition)
  assert module.conditional == (condition != 'none')
  apply = jax.jit(
    lambda x, label, method: module.apply(variables, x, label, method=method), static_argnums=2
  )
  for method, x in (('generate', Z), ('discriminate', IMAGES)):
    changed = apply(x, LABELS, method) != apply(x, (LABELS + 1) % 3, method)
    assert bool(changed.any()) == module.conditional


def test_the_projection_is_linear_in_the_embedding():
  """Miyato and Koyama 2018: without it the score is the one that knows of no class."""
  module, variables = build(condition='projection')
  plain = DCGAN(**SMALL)
  without = variables['params']['discriminator'] | {'embed': {'embedding': jnp.zeros((3, 64))}}
  score = lambda m, p: m.apply(
    variables | {'params': {'discriminator': p}}, IMAGES, LABELS, method='discriminate'
  )
  np.testing.assert_allclose(score(module, without), score(plain, without), rtol=1e-6)
  assert (
    np.abs(score(module, variables['params']['discriminator']) - score(plain, without)).max() > 0
  )


def test_weights_are_divided_by_their_greatest_singular_value():
  module, variables = build(spectral_norm=True, discriminator_norm='none')

  @jax.jit
  def follow(variables):
    score, new = module.apply(
      variables, IMAGES, train=True, method='discriminate', mutable=['singular']
    )
    return score, variables | new

  for _ in range(50):
    score, variables = follow(variables)
  kernel = np.asarray(variables['params']['discriminator']['conv_0']['kernel']).reshape(16, 4)
  found = jax.tree.leaves(variables['singular'])
  greatest = np.linalg.svd(kernel)[1][0]
  assert any(x.shape == () and np.allclose(x, greatest, rtol=1e-4) for x in found)
  # Ten times the weights are the same weights; without biases there is nothing else.
  scaled = jax.tree.map(lambda x: 10 * x, variables['params'])
  again, _ = follow(variables | {'params': scaled})
  np.testing.assert_allclose(again, score, rtol=1e-4)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    (
      {'resolution': 12},
      'resolution=12 is not base=4 times a power of two; the nearest are 8 and 16',
    ),
    ({'resolution': 4}, 'resolution=4 is not base=4 times a power of two'),
    ({'latent_size': 0}, 'latent_size must be at least 1, not 0'),
    ({'condition': 'projecton'}, "unknown condition 'projecton'; did you mean 'projection'"),
  ],
)
def test_what_does_not_fit_is_one_clear_line(options, message):
  module = DCGAN(**SMALL | options)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(module.init, KEY, Z, LABELS)


def test_inputs_that_do_not_fit_are_named():
  module, variables = build(condition='concat')
  apply = lambda *x, method: jax.eval_shape(lambda: module.apply(variables, *x, method=method))
  with pytest.raises(ValueError, match=r'takes latents \[batch, 3\], not \(4, 5\)'):
    apply(jnp.zeros((4, 5)), LABELS, method='generate')
  with pytest.raises(ValueError, match=r'takes pictures of \(8, 8, 1\), not \(9, 9, 1\)'):
    apply(jnp.zeros((4, 9, 9, 1)), LABELS, method='discriminate')
  with pytest.raises(ValueError, match='needs labels'):
    apply(Z, method='generate')
  with pytest.raises(ValueError, match='must be whole numbers'):
    apply(Z, jnp.ones((4, 3)), method='generate')
