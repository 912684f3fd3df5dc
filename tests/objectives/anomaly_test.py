"""The anomaly objective around modules whose restoration is known; alike on eight devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.data import arrays
from zoo.models import MLPAutoencoder
from zoo.objectives.anomaly import anomaly
from zoo.training import build, make_evaluate, parallelize, run

KEY = jax.random.key(0)


class Shrink(nn.Module):
  """Restores what the best linear denoiser does, of data with unit variance: x / (1 + noise^2)."""

  factor: float

  @nn.compact
  def __call__(self, x, *, train):
    return x * self.param('factor', nn.initializers.constant(self.factor), ())


class Wide(nn.Module):
  """Forgets what it should return."""

  @nn.compact
  def __call__(self, x, *, train):
    return nn.Dense(5)(x)


X = jnp.array([[3.0, 4.0], [0.0, 1.0], [0.0, 2.0]])
BATCH = {'features': X, 'label': jnp.array([1, 0, 0]), 'weight': jnp.array([1.0, 1.0, 0.0])}
HALF = {'factor': jnp.array(0.5)}


def of_half(**options):
  return anomaly(Shrink(0.5), input_key='features', **options)


def test_without_noise_the_score_is_the_error_of_reconstruction():
  objective = of_half()
  # Half of (3, 4) is missing: (1.5^2 + 2^2) / 2.
  np.testing.assert_allclose(objective.predict(HALF, {}, BATCH), [3.125, 0.125, 0.5])
  value, _ = objective.loss(HALF, {}, {'features': X}, KEY)
  np.testing.assert_allclose(value, (3.125 + 0.125 + 0.5) / 3)
  value, _ = objective.loss(HALF, {}, BATCH, KEY)
  np.testing.assert_allclose(value, (3.125 + 0.125) / 2)  # padding does not count


def test_kinds_are_averaged_apart_and_padding_is_neither():
  figures = of_half().evaluate(HALF, {}, BATCH, KEY).compute()
  assert figures == pytest.approx({'loss': 0.125, 'anomaly_loss': 3.125})
  unlabelled = {'features': X}
  figures = of_half().evaluate(HALF, {}, unlabelled, KEY).compute()
  assert figures['loss'] == pytest.approx(1.25) and np.isnan(figures['anomaly_loss'])


def test_with_noise_the_score_is_what_noise_and_shrinking_cost():
  # x + n e -> (x + n e) / 2: the error is x^2 / 4 + n^2 / 4 on average.
  objective = of_half(noise=0.6, draws=20_000)
  expected = np.mean(np.square(X), axis=1) / 4 + 0.36 / 4
  np.testing.assert_allclose(objective.predict(HALF, {}, BATCH), expected, atol=0.05)


def test_a_score_depends_on_its_example_alone():
  objective = anomaly(MLPAutoencoder(widths=(8,), latent=2), input_key='features', noise=0.5)
  params, _ = objective.init(KEY, BATCH)
  scores = objective.predict(params, {}, BATCH)
  alone = [objective.predict(params, {}, {'features': X[i : i + 1]}) for i in (2, 0, 1)]
  np.testing.assert_allclose(jnp.concatenate(alone), scores[jnp.array([2, 0, 1])], rtol=1e-5)


def test_what_is_far_from_the_training_data_scores_higher():
  rng = np.random.default_rng(0)
  normal = np.stack([rng.normal(size=400), np.zeros(400)], axis=1).astype(np.float32)
  objective = anomaly(MLPAutoencoder(widths=(32,), latent=1), input_key='features', noise=0.3)
  program, source = built(objective, normal, parallelize('jit', jax.devices()[:1]))
  state = program.init(KEY)
  for *state, _ in run(program, source, *state, steps=300, steps_per_call=10):
    pass
  odd = np.stack([normal[:50, 0], np.full(50, 1.5)], axis=1).astype(np.float32)
  score = jax.jit(objective.predict)
  params = jax.device_get(state[0].params)
  assert score(params, {}, {'features': odd}).min() > score(params, {}, {'features': normal}).mean()


def built(objective, x, parallel):
  source = arrays.epochs({'features': x}, 32)
  return build(objective, optax.sgd(0.1), source, parallel, steps_per_call=10), source


@pytest.mark.slow
def test_jit_pmap_and_sharded_train_and_judge_alike():
  rng = np.random.default_rng(1)
  x = rng.normal(size=(100, 6)).astype(np.float32)
  judged = {'features': x, 'label': np.arange(100) % 2}
  states, figures = {}, {}
  for strategy in ('jit', 'pmap', 'sharded'):
    parallel = parallelize(strategy)
    module = MLPAutoencoder(widths=(8,), latent=2)
    objective = anomaly(module, input_key='features', axis_name=parallel.axis_name)
    program, source = built(objective, x, parallel)
    state, source_state = program.init(KEY)
    for state, source_state, _ in run(
      program, source, state, source_state, steps=20, steps_per_call=10
    ):
      pass
    noisy = anomaly(module, input_key='features', noise=0.5, axis_name=parallel.axis_name)
    judge = make_evaluate(noisy, arrays.one_pass(judged, 16), parallel, program.state)
    states[strategy], figures[strategy] = state.params, judge(state)
  for strategy in ('pmap', 'sharded'):
    toy.assert_same(states[strategy], states['jit'])
    assert figures[strategy] == pytest.approx(figures['jit'], rel=1e-5)


def test_bad_options_and_modules_are_named():
  with pytest.raises(ValueError, match='noise must be >= 0'):
    of_half(noise=-1.0)
  with pytest.raises(ValueError, match='draws must be at least 1'):
    of_half(draws=0)
  wide = anomaly(Wide(), input_key='features')
  params, _ = wide.init(KEY, BATCH)
  with pytest.raises(ValueError, match=r'returns \(3, 5\), not the shape \(3, 2\)'):
    wide.predict(params, {}, BATCH)
