"""The evidence lower bound: by hand, as a code, and alike under every strategy."""

import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.data import arrays
from zoo.objectives import vae
from zoo.objectives.vae import likelihood
from zoo.training import build, make_evaluate, parallelize, run

KEY = jax.random.key(0)
LEVELS = 5
PICTURES = np.random.default_rng(0).integers(0, LEVELS, (24, 3, 2, 1)) / np.float32(LEVELS - 1)
PICTURES = PICTURES.astype(np.float32)


class Linear(nn.Module):
  """One dense layer each way; `sure` says variances of e^-40, `plain` none."""

  kind: str = ''

  def setup(self):
    self.means, self.log_variances = nn.Dense(3), nn.Dense(3)
    self.decoder = nn.Dense(12)

  def __call__(self, x, *, train):
    mean, log_variance = self.encode(x, train=train)
    return self.decode(mean, train=train), log_variance

  def encode(self, x, *, train):
    del train
    x = x.reshape(len(x), -1)
    mean, log_variance = self.means(x), self.log_variances(x)
    if self.kind == 'sure':
      log_variance = jnp.full_like(log_variance, -40.0)
    return mean, None if self.kind == 'plain' else log_variance

  def decode(self, z, *, train):
    del train
    return self.decoder(z).reshape(-1, 3, 2, 1, 2)


@pytest.fixture(autouse=True)
def ranks():
  with jax.numpy_rank_promotion('allow'):  # of the module above
    yield


def started(kind='', **options):
  module = Linear(kind)
  objective = vae(module, levels=LEVELS, **options)
  batch = {'image': jnp.asarray(PICTURES)}
  params, extras = jax.jit(objective.init)(KEY, batch)
  return module, objective, params, extras, batch


def costs_by_hand(module, params):
  """Nats of values and of latent numbers, of each picture, where z is the mean."""
  apply = lambda x, method: module.apply({'params': params}, x, train=False, method=method)
  mean, log_variance = apply(PICTURES, 'encode')
  location, log_scale = (np.float64(x) for x in likelihood(apply(mean, 'decode'), PICTURES))
  sigmoid = lambda edge: 1 / (1 + np.exp(-(edge - location) / np.exp(log_scale)))
  width = 1 / (LEVELS - 1)
  above = np.where(PICTURES == 1, 1, sigmoid(PICTURES + width / 2))
  below = np.where(PICTURES == 0, 0, sigmoid(PICTURES - width / 2))
  values = -np.log(above - below).sum((1, 2, 3))
  if log_variance is None:
    return values, None
  mean, log_variance = np.float64(mean), np.float64(log_variance)
  return values, (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(1) / 2


def test_the_loss_is_what_a_code_would_take():
  module, objective, params, extras, batch = started('sure', beta=0.5)
  values, kl = costs_by_hand(module, params)
  loss, (_, scalars) = jax.jit(objective.loss)(params, extras, batch, KEY)
  assert float(scalars['reconstruction']) == pytest.approx(values.mean() / 6, rel=1e-4)
  assert float(scalars['kl']) == pytest.approx(kl.mean() / 6, rel=1e-4)
  assert float(loss) == pytest.approx((values + 0.5 * kl).mean() / 6, rel=1e-4)
  figures = jax.jit(objective.evaluate)(params, extras, batch, KEY).compute()
  assert figures['elbo'] == pytest.approx(-(values + kl).mean(), rel=1e-4)  # whatever beta
  assert figures['bits_per_dim'] == pytest.approx(
    (values + kl).mean() / (6 * math.log(2)), rel=1e-4
  )


@pytest.mark.slow
def test_a_plain_autoencoder_pays_for_values_alone():
  module, objective, params, extras, batch = started('plain')
  values, _ = costs_by_hand(module, params)
  loss, (_, scalars) = jax.jit(objective.loss)(params, extras, batch, KEY)
  assert set(scalars) == {'loss', 'reconstruction'}
  assert float(loss) == pytest.approx(values.mean() / 6, rel=1e-4)
  assert 'bits_per_dim' not in objective.evaluate(params, extras, batch, KEY).compute()


def test_latent_numbers_are_drawn_with_the_variance_that_is_said():
  """Read back from what a value costs."""

  class Shown(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
      return self.decode(self.encode(x, train=train)[0], train=train)

    def encode(self, x, *, train):
      return jnp.full((len(x), 1), 0.3), jnp.full((len(x), 1), math.log(0.04))

    def decode(self, z, *, train):
      return jnp.stack([z[:, 0] - 0.5, jnp.full(len(z), 5.0)], -1).reshape(-1, 1, 1, 1, 2)

  # The scale is so large that the level 1 costs log 2 + (0.5 - z) / (2 scale), linear in z.
  pictures = jnp.ones((1, 1, 1, 1))
  objective = vae(Shown(), levels=2)
  loss = lambda key: objective.loss({}, {}, {'image': pictures}, key)[1][1]
  costs = jax.jit(jax.vmap(loss))(jax.random.split(KEY, 400))['reconstruction']
  scale = 0.1 * math.exp(5.0)
  z = 0.5 - 2 * scale * (np.array(costs) - math.log(2))
  assert z.mean() == pytest.approx(0.3, abs=0.05)
  assert z.std() == pytest.approx(0.2, rel=0.15)


def test_predictions_are_of_the_means():
  module, objective, params, extras, batch = started()
  shown = objective.predict(params, extras, batch)
  mean, _ = module.apply({'params': params}, PICTURES, train=False, method='encode')
  np.testing.assert_allclose(shown['latent'], mean, rtol=1e-5)
  assert shown['reconstruction'].shape == PICTURES.shape
  assert shown['reconstruction'].min() >= 0 and shown['reconstruction'].max() <= 1


def trained(strategy, eval_batch_sizes=(8,)):
  """(parameters, figures) after two steps of SGD: Adam hides a gradient that is n times too big.

  All steps draw alike: the key that a step gives to the loss depends on its device.
  """
  parallel = parallelize(strategy, None if strategy != 'jit' else jax.devices()[:1])
  objective = vae(Linear(), levels=LEVELS, axis_name=parallel.axis_name)
  fixed = objective._replace(
    loss=lambda params, extras, batch, key: objective.loss(params, extras, batch, KEY)
  )
  source = arrays.epochs({'image': PICTURES}, 16)
  program = build(fixed, optax.sgd(0.3), source, parallel)
  state, source_state = program.init(KEY)
  for state, _, _ in run(program, source, state, source_state, steps=2):
    pass
  judged = [arrays.one_pass({'image': PICTURES[:20]}, size) for size in eval_batch_sizes]
  judges = [make_evaluate(objective, source, parallel, program.state) for source in judged]
  return jax.device_get(state.params), [judge(state) for judge in judges]


@pytest.mark.slow
def test_jit_pmap_and_sharded_train_and_judge_alike_with_batches_of_any_size():
  params, (figures, same) = trained('jit', eval_batch_sizes=(8, 7))
  assert same == pytest.approx(figures, rel=1e-5)
  for strategy in ('pmap', 'sharded'):
    other, (same,) = trained(strategy)
    chex.assert_trees_all_close(other, params, rtol=1e-4, atol=1e-6)
    assert same == pytest.approx(figures, rel=1e-4)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'levels': 1}, 'levels >= 2'),
    ({'beta': -1.0}, 'beta >= 0, not 5 and -1.0'),
    ({'input_key': 'picture'}, "unknown input of the batch 'picture'"),
  ],
)
def test_bad_input_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    objective = vae(Linear(), **{'levels': LEVELS, **options})
    objective.init(KEY, {'image': jnp.asarray(PICTURES)})


def test_a_module_that_says_something_else_is_named():
  with pytest.raises(ValueError, match=r'returns \(2, 3, 2, 1, 1\), not \(2, 3, 2, 1, 2\)'):
    likelihood(jnp.zeros((2, 3, 2, 1, 1)), jnp.zeros((2, 3, 2, 1)))
