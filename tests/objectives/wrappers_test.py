"""The wrappers around a linear objective, against formulas by hand."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.objectives.wrappers import with_augmentation, with_ema, with_penalty, with_transform
from zoo.types import Objective


def init(key, batch):
  kernel = jax.random.normal(key, (batch['features'].shape[1], 1))
  params = {'Dense_0': {'kernel': kernel, 'bias': jnp.ones(1)}}
  return params, {'seen': jnp.zeros(()), 'refreshed': jnp.zeros(())}


def outputs(params, batch):
  return batch['features'] @ params['Dense_0']['kernel'] + params['Dense_0']['bias'][None]


def loss(params, extras, batch, key):
  value = jnp.mean(jnp.square(outputs(params, batch)))
  scalars = {'loss': value, 'noise': jax.random.uniform(key)}
  return value, (extras | {'seen': extras['seen'] + 1}, scalars)


def evaluate(params, extras, batch, key) -> Any:
  return {'sum': jnp.sum(outputs(params, batch)), 'seen': extras['seen']}


def refresh(extras, params, step):
  return extras | {'refreshed': step}


def predict(params, extras, batch):
  return outputs(params, batch) + extras['seen']


LINEAR = Objective(init, loss, evaluate, refresh, predict)
BATCH = {'features': jnp.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.0], [-2.0, 4.0]])}
KEY = jax.random.key(0)
PARAMS, EXTRAS = init(KEY, BATCH)


def scaled(factor):
  return lambda batch: {'features': batch['features'] * factor}


# --- with_transform, with_augmentation


def test_a_transform_is_applied_everywhere():
  wide = with_transform(LINEAR, lambda b: {'features': jnp.tile(b['features'], (1, 2))})
  params, extras = wide.init(KEY, BATCH)
  assert params['Dense_0']['kernel'].shape == (4, 1)
  double = with_transform(LINEAR, scaled(2.0))
  two = scaled(2.0)(BATCH)
  chex.assert_trees_all_equal(
    double.loss(PARAMS, EXTRAS, BATCH, KEY), LINEAR.loss(PARAMS, EXTRAS, two, KEY)
  )
  chex.assert_trees_all_equal(
    double.evaluate(PARAMS, EXTRAS, BATCH, KEY), LINEAR.evaluate(PARAMS, EXTRAS, two, KEY)
  )
  assert double.refresh(extras, params, jnp.int32(3))['refreshed'] == 3


def test_an_augmentation_is_applied_in_the_loss_alone():
  noisy = with_augmentation(
    LINEAR, lambda key, b: {'features': b['features'] + jax.random.normal(key, (4, 2))}
  )
  chex.assert_trees_all_equal(noisy.init(KEY, BATCH), LINEAR.init(KEY, BATCH))
  chex.assert_trees_all_equal(
    noisy.evaluate(PARAMS, EXTRAS, BATCH, KEY), LINEAR.evaluate(PARAMS, EXTRAS, BATCH, KEY)
  )
  values = [noisy.loss(PARAMS, EXTRAS, BATCH, jax.random.key(i))[0] for i in (1, 1, 2)]
  assert values[0] == values[1] != values[2] != LINEAR.loss(PARAMS, EXTRAS, BATCH, KEY)[0]


def test_the_augmentation_and_the_loss_have_different_keys():
  seen = []

  def record(key, batch):
    seen.append(jax.random.uniform(key))
    return batch

  both = with_augmentation(with_augmentation(LINEAR, record), record)
  _, (_, scalars) = both.loss(PARAMS, EXTRAS, BATCH, KEY)
  draws = {*map(float, seen), float(scalars['noise']), float(jax.random.uniform(KEY))}
  assert len(seen) == 2 and len(draws) == 4


def test_the_outermost_changes_the_batch_first():
  add_one = lambda key, b: {'features': b['features'] + 1}
  scale_then_add = with_transform(with_augmentation(LINEAR, add_one), scaled(2.0))
  add_then_scale = with_augmentation(with_transform(LINEAR, scaled(2.0)), add_one)
  x = np.asarray(BATCH['features'])
  w, b = (np.asarray(PARAMS['Dense_0'][k]) for k in ('kernel', 'bias'))
  for objective, inputs in ((scale_then_add, 2 * x + 1), (add_then_scale, 2 * (x + 1))):
    got = objective.loss(PARAMS, EXTRAS, BATCH, KEY)[0]
    np.testing.assert_allclose(got, np.mean((inputs @ w + b) ** 2), rtol=1e-5)


# --- with_ema


@pytest.mark.parametrize('warmup', [False, True])
def test_ema_after_n_steps(warmup):
  objective = with_ema(LINEAR, 0.75, warmup=warmup)
  params, extras = objective.init(KEY, BATCH)
  want = np.asarray(params['Dense_0']['kernel'], np.float64)
  refresh = jax.jit(objective.refresh)
  for n in range(1, 41):
    params = jax.tree.map(lambda p: p * 0.9 + 0.2, params)
    extras = refresh(extras, params, jnp.int32(n))
    decay = min(0.75, (1 + n) / (10 + n)) if warmup else 0.75
    want = decay * want + (1 - decay) * np.asarray(params['Dense_0']['kernel'])
    if n in (1, 5, 40):
      np.testing.assert_allclose(extras['ema']['Dense_0']['kernel'], want, rtol=1e-5)
  assert extras['inner']['refreshed'] == 40


def test_ema_is_evaluated_and_the_parameters_are_trained():
  objective = with_ema(LINEAR, 0.5)
  params, extras = objective.init(KEY, BATCH)
  extras['ema'] = jax.tree.map(jnp.zeros_like, params)
  value, (extras, scalars) = objective.loss(params, extras, BATCH, KEY)
  want, (inner, want_scalars) = LINEAR.loss(params, EXTRAS, BATCH, KEY)
  chex.assert_trees_all_equal((value, scalars, extras['inner']), (want, want_scalars, inner))
  metrics: Any = objective.evaluate(params, extras, BATCH, KEY)
  assert metrics['sum'] == 0  # of the average, zero
  assert metrics['seen'] == 1  # the objective's own extras, as they are


@pytest.mark.parametrize('compiled', [False, True])
def test_ema_starts_as_a_copy_that_can_be_donated(compiled):
  objective = with_ema(with_ema(LINEAR, 0.9), 0.5)
  make = jax.jit(objective.init) if compiled else objective.init
  params, extras = make(KEY, BATCH)
  chex.assert_trees_all_equal(params, extras['ema'], extras['inner']['ema'])

  def step(params, extras, batch):
    gradient, (extras, _) = jax.grad(objective.loss, has_aux=True)(params, extras, batch, KEY)
    params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    return params, objective.refresh(extras, params, jnp.int32(1))

  new_params, new_extras = jax.jit(step, donate_argnums=(0, 1))(params, extras, BATCH)
  chex.assert_trees_all_equal_shapes_and_dtypes(new_params, new_extras['ema'])


def test_ema_keeps_the_type_of_low_precision_parameters():
  objective = with_ema(LINEAR, 0.9, warmup=True)
  params, extras = objective.init(KEY, BATCH)
  params, extras = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (params, extras))
  new = jax.jit(objective.refresh)(extras, params, jnp.int32(1))
  chex.assert_trees_all_equal_shapes_and_dtypes(new['ema'], extras['ema'])


# --- with_penalty


def test_penalty_counts_kernels_alone():
  objective = with_penalty(LINEAR, l1=0.3, l2=0.2)
  params = {'Dense_0': {'kernel': jnp.array([[2.0], [-3.0]]), 'bias': jnp.array([7.0])}}
  value, (_, scalars) = objective.loss(params, EXTRAS, BATCH, KEY)
  plain, (_, plain_scalars) = LINEAR.loss(params, EXTRAS, BATCH, KEY)
  want = 0.3 * (2 + 3) + 0.2 / 2 * (4 + 9)
  np.testing.assert_allclose(scalars['penalty'], want, rtol=1e-6)
  np.testing.assert_allclose(value, plain + want, rtol=1e-6)
  assert scalars['loss'] == plain_scalars['loss']
  gradient, plain_gradient = (
    jax.grad(f, has_aux=True)(params, EXTRAS, BATCH, KEY)[0]['Dense_0']
    for f in (objective.loss, LINEAR.loss)
  )
  added = gradient['kernel'] - plain_gradient['kernel']
  np.testing.assert_allclose(added, [[0.3 + 0.2 * 2], [-0.3 - 0.2 * 3]], rtol=1e-4)
  np.testing.assert_array_equal(gradient['bias'], plain_gradient['bias'])


@pytest.mark.parametrize('spread', ['vmap', 'pmap'])
def test_penalty_is_the_same_when_the_batch_is_spread(spread):
  objective = with_penalty(LINEAR, l1=0.3, l2=0.2)
  grad = jax.value_and_grad(objective.loss, has_aux=True)
  (value, (_, scalars)), gradient = jax.jit(grad)(PARAMS, EXTRAS, BATCH, KEY)

  def device(params, batch):
    (value, (_, scalars)), gradient = grad(params, EXTRAS, batch, KEY)
    return jax.lax.pmean((value, scalars, gradient), 'data')

  split = jax.tree.map(lambda x: x.reshape(2, 2, 2), BATCH)
  mapped = {'vmap': jax.vmap, 'pmap': jax.pmap}[spread]
  got = mapped(device, in_axes=(None, 0), out_axes=None, axis_name='data')(PARAMS, split)
  chex.assert_trees_all_close(got, (value, scalars, gradient), rtol=1e-5)


# --- together


def test_predict_sees_the_transformed_batch_and_the_average():
  scale_ema = with_ema(with_penalty(with_transform(LINEAR, scaled(2.0)), l2=0.1), 0.5)
  objective = with_augmentation(scale_ema, lambda key, b: scaled(9.0)(b))
  params, extras = objective.init(KEY, BATCH)
  extras['ema'] = jax.tree.map(jnp.ones_like, params)
  assert objective.predict is not None
  x = np.asarray(BATCH['features'])
  want = (2 * x).sum(axis=1, keepdims=True) + 1
  np.testing.assert_allclose(objective.predict(params, extras, BATCH), want, rtol=1e-6)


def test_what_cannot_predict_still_cannot():
  mute = LINEAR._replace(predict=None)
  assert with_transform(mute, scaled(2.0)).predict is None
  assert with_ema(mute, 0.5).predict is None


def test_wrappers_compose():
  objective = with_ema(with_penalty(with_transform(LINEAR, scaled(2.0)), l2=0.1), 0.9)
  params, extras = jax.jit(objective.init)(KEY, BATCH)
  value, (extras, scalars) = jax.jit(objective.loss)(params, extras, BATCH, KEY)
  np.testing.assert_allclose(value, scalars['loss'] + scalars['penalty'], rtol=1e-6)
  assert extras['inner']['seen'] == 1


@pytest.mark.parametrize('decay', [-0.1, 1.0])
def test_a_decay_out_of_range_is_one_line(decay):
  with pytest.raises(ValueError, match=rf'^decay must be in \[0, 1\), got {decay}$'):
    with_ema(LINEAR, decay)


def test_a_negative_penalty_is_one_line():
  with pytest.raises(ValueError, match=r'^l1 and l2 must be >= 0, got -1 and 0.0$'):
    with_penalty(LINEAR, l1=-1)
