"""Adversarial training: hand-derived values, one gradient for both networks, who moves when."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.data import arrays
from zoo.losses import ADVERSARIAL
from zoo.models import DCGAN
from zoo.objectives import gan
from zoo.objectives.collapse import diversity
from zoo.optim import make_optimizer
from zoo.training import build, init_state, make_train_step, parallelize, run
from zoo.training.checkpoint import Checkpoints

KEY = jax.random.key(0)
B = 16
BATCH = {
  'image': jax.random.uniform(jax.random.key(1), (B, 8, 8, 1)),
  'label': jnp.arange(B, dtype=jnp.int32) % 3,
}
SMALL = {'resolution': 8, 'channels': 1, 'width': 4, 'latent_size': 3, 'num_classes': 3}


@pytest.fixture
def quick_compilation():
  """Compiling is nearly all of the time."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


class Lines(nn.Module):
  """Makes a z + b of numbers z; scores c x. So that all can be derived by hand."""

  latent_size: int = 1

  def setup(self):
    self.generator = Affine()
    self.discriminator = Affine()

  def generate(self, z, label=None, *, train=False):
    return self.generator(z)

  def discriminate(self, x, label=None, *, train=False):
    return self.discriminator(x)[:, 0]

  def __call__(self, z, label=None, *, train=False):
    return self.discriminate(self.generate(z))


class Affine(nn.Module):
  @nn.compact
  def __call__(self, x):
    scale = self.param('scale', nn.initializers.ones, ())
    return scale * x + self.param('bias', nn.initializers.zeros, ())


def lines(scale, bias, slope, offset=0.0):
  return {
    'generator': {'scale': jnp.float32(scale), 'bias': jnp.float32(bias)},
    'discriminator': {'scale': jnp.float32(slope), 'bias': jnp.float32(offset)},
  }


POINTS = {'image': jnp.array([[1.0], [3.0]])}
NOTHING = {'collections': {}}


def of_lines(params, batch=POINTS, extras=NOTHING, **options):
  value, (_, scalars) = gan(Lines(), **options).loss(params, extras, batch, KEY)
  return float(value), {k: float(v) for k, v in scalars.items()}


def value_and_grad(objective, params, extras, batch=BATCH):
  grad_fn = jax.value_and_grad(objective.loss, has_aux=True)
  return jax.jit(grad_fn)(params, extras, batch, KEY)


# --- values by hand


def test_adversarial_losses_by_hand():
  real, fake = jnp.array([0.0, 2.0]), jnp.array([0.0, -0.5])
  log = np.log
  critic, generator = ADVERSARIAL['non_saturating'](real, fake)
  np.testing.assert_allclose(
    critic, [2 * log(2), log(1 + np.exp(-2)) + log(1 + np.exp(-0.5))], rtol=1e-6
  )
  np.testing.assert_allclose(generator, [log(2), log(1 + np.exp(0.5))], rtol=1e-6)
  critic, generator = ADVERSARIAL['hinge'](real, fake)
  np.testing.assert_allclose(critic, [1 + 1, 0 + 0.5])
  np.testing.assert_allclose(generator, [0, 0.5])
  critic, generator = ADVERSARIAL['wasserstein'](real, fake)
  np.testing.assert_allclose(critic, [0, -2.5])
  np.testing.assert_allclose(generator, [0, 0.5])


def test_the_loss_is_the_sum_of_both_and_the_accuracies_count_signs():
  # All that is made is -1, scored -2 + 1; real points 1 and 3 are scored 3 and 7.
  value, scalars = of_lines(lines(0, -1, 2, 1), adversarial_loss='hinge')
  assert scalars['discriminator_loss'] == pytest.approx(0)
  assert scalars['generator_loss'] == pytest.approx(1)
  assert value == pytest.approx(1)
  assert scalars['real_accuracy'] == scalars['fake_accuracy'] == 1
  _, scalars = of_lines(lines(0, -1, -2, 3), adversarial_loss='hinge')  # 1, -3; made: 5
  assert scalars['real_accuracy'] == 0.5 and scalars['fake_accuracy'] == 0
  assert scalars['discriminator_loss'] == pytest.approx((0 + 4) / 2 + 6)


def test_penalties_of_a_line_are_those_of_its_slope():
  free, _ = of_lines(lines(1, 0, 3))
  value, scalars = of_lines(lines(1, 0, 3), gradient_penalty=10.0)
  assert value - free == pytest.approx(10 * (3 - 1) ** 2, rel=1e-5)
  assert scalars['penalty'] == pytest.approx(40, rel=1e-5)
  value, _ = of_lines(lines(1, 0, 3), r1=0.5)
  assert value - free == pytest.approx(0.5 / 2 * 9, rel=1e-5)


def test_r1_of_every_fourth_step_is_four_times_as_heavy():
  found = [
    of_lines(lines(1, 0, 3), extras=NOTHING | {'step': jnp.int32(step)}, r1=0.5, r1_every=4)
    for step in (0, 1, 3, 4)
  ]
  penalties = [scalars['penalty'] for _, scalars in found]
  assert penalties == pytest.approx([9, 0, 0, 9])
  objective = gan(Lines(), r1=0.5, r1_every=4)
  params, extras = objective.init(KEY, POINTS)
  assert objective.refresh(extras, params, jnp.int32(7))['step'] == 7


# --- how varied


def test_diversity_by_hand():
  real = jnp.array([[0.0], [2.0], [5.0]])  # pairs 2, 3, 5; nearest 2, 2, 3
  fake = jnp.array([[1.0], [1.0], [7.0]])  # pairs 0, 6, 6; nearest 0, 0, 6
  found = diversity(real, fake)
  assert float(found['spread']) == pytest.approx(np.sqrt((36 + 36) / (4 + 9 + 25)), rel=1e-5)
  assert float(found['nearest']) == pytest.approx(6 / 7, rel=1e-5)
  same = diversity(real, real + 40)
  assert [float(x) for x in same.values()] == pytest.approx([1, 1], rel=1e-5)


def test_the_alarm_is_raised_by_one_point_and_by_a_few_far_apart():
  real = jax.random.normal(KEY, (32, 8))
  corners = jnp.repeat(3 * jnp.eye(8)[:4], 8, axis=0)
  assert (
    float(diversity(real, corners)['spread']) > 0.5 > float(diversity(real, corners)['nearest'])
  )
  batch = {'image': jax.random.normal(KEY, (32, 1))}
  assert of_lines(lines(0, 2, 1), batch)[1]['collapsed'] == 1
  assert of_lines(lines(1, 0, 1), batch, collapse_below=0.3)[1]['collapsed'] == 0


def test_a_batch_of_one_is_refused():
  with pytest.raises(ValueError, match='two examples or more'):
    of_lines(lines(1, 0, 1), {'image': jnp.ones((1, 1))})


# --- one gradient for both


@pytest.mark.usefixtures('quick_compilation')
@pytest.mark.parametrize(
  ('options', 'fields'),
  [
    ({'adversarial_loss': 'non_saturating'}, {'condition': 'concat'}),
    pytest.param(
      {'adversarial_loss': 'hinge', 'r1': 1.0},
      {'condition': 'projection', 'spectral_norm': True, 'discriminator_norm': 'none'},
      marks=pytest.mark.slow,
    ),
    pytest.param(
      {'adversarial_loss': 'wasserstein', 'gradient_penalty': 10.0},
      {'discriminator_norm': 'layer'},
      marks=pytest.mark.slow,
    ),
  ],
)
def test_the_gradient_of_the_sum_is_the_two_separate_gradients(options, fields):
  """Each network's own loss, with the other as a constant, in a formula of its own."""
  module = DCGAN(**SMALL, **fields)
  objective = gan(module, **options)
  params, extras = jax.jit(objective.init)(KEY, BATCH)
  _, grads = value_and_grad(objective, params, extras)
  z_key, _, _, between_key = jax.random.split(KEY, 4)
  z, label = jax.random.normal(z_key, (B, 3)), BATCH['label']

  def call(params, collections, *inputs, method):
    variables, names = {'params': params, **collections}, list(collections)
    return module.apply(variables, *inputs, train=True, method=method, mutable=names)

  def scores(generator, discriminator):
    params = {'generator': generator, 'discriminator': discriminator}
    made, state = call(params, extras['collections'], z, label, method='generate')
    real, state = call(params, state, BATCH['image'], label, method='discriminate')
    score = lambda x: call(params, state, x, label, method='discriminate')[0]
    return real, score(made), made, score

  def generator_loss(generator):
    real, fake, _, _ = scores(generator, params['discriminator'])
    return ADVERSARIAL[options['adversarial_loss']](real, fake)[1].mean()

  def discriminator_loss(discriminator):
    real, fake, made, score = scores(params['generator'], discriminator)
    value = ADVERSARIAL[options['adversarial_loss']](real, fake)[0].mean()
    slopes = lambda x: jnp.sqrt((jax.grad(lambda x: score(x).sum())(x) ** 2).sum((1, 2, 3)))
    if 'r1' in options:
      value += options['r1'] / 2 * (slopes(BATCH['image']) ** 2).mean()
    if 'gradient_penalty' in options:
      t = jax.random.uniform(between_key, (B, 1, 1, 1))
      between = (1 - t) * BATCH['image'] + t * made
      value += options['gradient_penalty'] * ((slopes(between) - 1) ** 2).mean()
    return value

  separate = {
    'generator': jax.jit(jax.grad(generator_loss))(params['generator']),
    'discriminator': jax.jit(jax.grad(discriminator_loss))(params['discriminator']),
  }
  toy.assert_same(grads, separate, rtol=1e-3)
  assert float(optax.tree.norm(separate['generator'])) > 1e-4


@pytest.mark.slow
def test_both_terms_score_what_is_made_once():
  """The second scoring of the same pictures by the same weights is not computed."""
  module = DCGAN(**SMALL, discriminator_norm='none')
  objective = gan(module)
  params, extras = objective.init(KEY, BATCH)
  forward = lambda params: objective.loss(params, extras, BATCH, KEY)[0]
  convolutions = jax.jit(forward).lower(params).compile().as_text().count(' convolution(')
  assert convolutions == 1 + 1 + 1  # picture; real and fake through one layer each


# --- what is averaged, and what is used


@pytest.mark.usefixtures('quick_compilation')
def test_the_average_follows_its_formula_and_makes_the_pictures():
  objective = gan(DCGAN(**SMALL), generator_ema=0.9)
  tx = optax.sgd(0.5)
  spec = jax.eval_shape(lambda: BATCH)
  state = jax.jit(lambda key: init_state(objective, tx, spec, key))(KEY)
  expected = jax.device_get(state.params['generator'])
  step = jax.jit(make_train_step(objective, tx))
  for _ in range(3):
    state, _ = step(state, BATCH)
    expected = jax.tree.map(
      lambda e, p: e + (1 - 0.9) * (p - e), expected, jax.device_get(state.params['generator'])
    )
  chex.assert_trees_all_close(state.extras['ema'], expected, rtol=1e-5, atol=1e-7)
  used = objective.variables(state.params, state.extras)
  chex.assert_trees_all_equal(used['params']['generator'], state.extras['ema'])
  chex.assert_trees_all_equal(used['params']['discriminator'], state.params['discriminator'])
  evaluate = jax.jit(objective.evaluate)
  other = state.params | {'generator': jax.tree.map(jnp.zeros_like, state.params['generator'])}
  chex.assert_trees_all_equal(
    evaluate(state.params, state.extras, BATCH, KEY), evaluate(other, state.extras, BATCH, KEY)
  )
  weights = jax.tree.map(jnp.ones_like, state.params)
  params, extras = objective.adopt(state.params, state.extras, {'params': weights})
  chex.assert_trees_all_equal(objective.variables(params, extras)['params'], weights)


def test_evaluation_leaves_padding_out_and_measures_the_spread():
  objective = gan(Lines())
  params, extras = lines(0, 2, 1), NOTHING
  batch = {'image': jnp.array([[-1.0], [3.0], [50.0]]), 'weight': jnp.array([1.0, 1.0, 0.0])}
  figures = objective.evaluate(params, extras, batch, KEY).compute()
  assert figures['real_accuracy'] == 0.5 and figures['fake_accuracy'] == 0
  assert figures['spread'] == pytest.approx(0, abs=1e-3)
  softplus = lambda x: np.log1p(np.exp(x))
  expected = (softplus(1) + softplus(-3)) / 2 + softplus(2) + softplus(-2)
  assert figures['loss'] == pytest.approx(expected, rel=1e-5)
  wide = objective.evaluate(lines(1, 0, 1), extras, {'image': jnp.ones((4, 1)) * 3}, KEY)
  assert wide.compute()['spread'] != wide.compute()['spread']  # real ones do not vary: unknown


@pytest.mark.slow
def test_augmentation_is_of_both_kinds_and_the_generator_learns_through_it():
  shift = lambda key, batch: batch | {'image': 2 * batch['image'] + 1}
  value, _ = of_lines(lines(1, 0, 1), augment=shift)
  expected, _ = of_lines(lines(2, 1, 1), {'image': POINTS['image'] * 2 + 1})
  assert value == pytest.approx(expected, rel=1e-6)
  grad = lambda augment: jax.grad(
    lambda p: gan(Lines(), adversarial_loss='hinge', augment=augment).loss(p, NOTHING, POINTS, KEY)[
      0
    ]
  )(lines(1, 0, 1))
  double, plain = grad(shift)['generator'], grad(None)['generator']
  chex.assert_trees_all_close(double, jax.tree.map(lambda g: 2 * g, plain), rtol=1e-5)


# --- who moves when


@pytest.mark.usefixtures('quick_compilation')
def test_the_generator_waits_for_its_critic():
  objective = gan(DCGAN(**SMALL))
  tx = make_optimizer('adam', groups=(('generator/.*', {'every': 3}),))
  spec = jax.eval_shape(lambda: BATCH)
  state = jax.jit(lambda key: init_state(objective, tx, spec, key))(KEY)
  step = jax.jit(make_train_step(objective, tx))
  for n in range(6):
    before = jax.device_get(state.params)
    state, scalars = step(state, BATCH)
    same = jax.tree.map(lambda x, y: bool((x == y).all()), before, jax.device_get(state.params))
    waits = (n + 1) % 3 != 0
    assert all(jax.tree.leaves(same['generator'])) == waits
    assert not any(jax.tree.leaves(same['discriminator']))
    assert scalars['generator_grad_norm'] > 0 and scalars['discriminator_grad_norm'] > 0
    total = scalars['generator_grad_norm'] ** 2 + scalars['discriminator_grad_norm'] ** 2
    np.testing.assert_allclose(scalars['grad_norm'] ** 2, total, rtol=1e-5)


@pytest.mark.slow  # tests/strategies_test.py has the GAN too
def test_jit_pmap_and_sharded_train_alike_with_two_optimisers():
  """Under SGD: Adam hides a gradient that is n times too big. Latents differ, so they are given."""
  states = {}
  for strategy in ('jit', 'pmap', 'sharded'):
    parallel = parallelize(strategy)
    module = DCGAN(**SMALL, condition='projection', axis_name=parallel.axis_name)
    objective = gan(Given(module), adversarial_loss='hinge', generator_ema=0.5)
    groups = (('generator/.*', {'learning_rate_multiplier': 0.5, 'every': 2}),)
    tx = make_optimizer('sgd', learning_rate=0.2, groups=groups)
    data = jax.tree.map(np.asarray, BATCH)
    source = arrays.epochs(data, B)
    program = build(objective, tx, source, parallel)
    state, source_state = program.init(KEY)
    start = jax.device_get(state.params)
    for state, source_state, _ in run(program, source, state, source_state, steps=4):
      pass
    states[strategy] = jax.device_get((state.params, state.extras))
    moved = optax.tree.norm(optax.tree.sub(states[strategy][0], start))
    assert moved > 0.01
  for strategy in ('pmap', 'sharded'):
    chex.assert_trees_all_close(states[strategy], states['jit'], rtol=1e-3, atol=1e-5)


class Given:
  """A module whose latents come from the labels, not from the key, which devices do not share."""

  def __init__(self, module):
    self.init, self.latent_size, self._module = module.init, module.latent_size, module

  def apply(self, variables, first, label, **options):
    if options['method'] == 'generate':
      n = label.astype(jnp.float32)[:, None]
      first = jnp.sin(n * jnp.arange(1, 1 + self.latent_size, dtype=jnp.float32)[None])
    return self._module.apply(variables, first, label, **options)


@pytest.mark.slow
@pytest.mark.usefixtures('quick_compilation')
def test_a_checkpoint_gives_back_singular_vectors_average_and_count(tmp_path):
  module = DCGAN(**SMALL, spectral_norm=True, discriminator_norm='none')
  objective = gan(module, r1=1.0, r1_every=2, generator_ema=0.9)
  tx = make_optimizer('adam', groups=(('generator/.*', {'every': 2}),))
  source = arrays.epochs(jax.tree.map(np.asarray, BATCH), B)
  program = build(objective, tx, source, parallelize('jit'))
  state, source_state = program.init(KEY)
  assert set(state.extras) == {'collections', 'ema', 'step'}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, state, program.merge_source(source_state))
    checkpoints.wait()
    restored = checkpoints.restore(*program.abstract)
  assert restored is not None
  plain = lambda state: jax.device_get(state.replace(key=jax.random.key_data(state.key)))
  chex.assert_trees_all_equal(plain(restored.state), plain(state))


# --- what does not fit


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'adversarial_loss': 'hing'}, "unknown adversarial_loss 'hing'; did you mean 'hinge'"),
    ({'r1': -1.0}, 'gradient_penalty and r1 must be >= 0'),
    ({'r1_every': 0}, 'r1_every must be at least 1'),
    ({'generator_ema': 1.0}, r'generator_ema must be in \[0, 1\)'),
  ],
)
def test_options_out_of_range_are_refused_at_once(options, message):
  with pytest.raises(ValueError, match=message):
    gan(Lines(), **options)


def test_pictures_of_another_size_are_refused_before_training():
  objective = gan(DCGAN(**SMALL | {'resolution': 16}))
  with pytest.raises(ValueError, match=r'makes pictures of \(16, 16, 1\), but those of the data'):
    jax.eval_shape(objective.init, KEY, BATCH)
