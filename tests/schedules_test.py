"""Schedules against values by hand and optax's own; the learning rate as a leaf of the state."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.schedules import (
  learning_rate,
  make_schedule,
  scale_by_learning_rate,
  scheduled_learning_rate,
  set_learning_rate,
)


def values(steps, *args, **kwargs):
  return np.asarray(jax.jit(jax.vmap(make_schedule(*args, **kwargs)))(jnp.asarray(steps)))


def test_warmup_learns_from_the_first_step_and_peaks_at_its_last():
  got = values([0, 1, 2, 3, 4, 100], 'constant', warmup_steps=4)
  np.testing.assert_allclose(got, [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-6)


def test_cosine():
  got = values([0, 1, 2, 4, 6, 10, 12], 'cosine', total_steps=10, warmup_steps=2, final_scale=0.1)
  middle = 0.1 + 0.9 * 0.5  # half-way between step 2 and step 10
  quarter = 0.1 + 0.9 * (1 + np.sqrt(0.5)) / 2
  np.testing.assert_allclose(got, [0.5, 1, 1, quarter, middle, 0.1, 0.1], rtol=1e-5)


def test_linear():
  got = values([0, 1, 2, 6, 10, 12], 'linear', total_steps=10, warmup_steps=2, final_scale=0.5)
  np.testing.assert_allclose(got, [0.5, 1, 1, 0.75, 0.5, 0.5], rtol=1e-6)


def test_cosine_and_linear_equal_optax_without_warmup():
  steps = jnp.arange(40)
  np.testing.assert_allclose(
    values(steps, 'cosine', total_steps=30, final_scale=0.2),
    optax.cosine_decay_schedule(1.0, 30, alpha=0.2)(steps),
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    values(steps, 'linear', total_steps=30, final_scale=0.2),
    optax.linear_schedule(1.0, 0.2, 30)(steps),
    rtol=1e-5,
  )


def test_step_falls_on_its_boundaries():
  got = values([0, 2, 3, 4, 5, 9], 'step', boundaries=(3, 5), decay_factor=0.1)
  np.testing.assert_allclose(got, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_rsqrt_is_the_schedule_of_the_transformer():
  s, w = np.arange(1, 50), 8  # the paper's step number and warm-up
  paper = np.minimum(s**-0.5, s * w**-1.5)
  np.testing.assert_allclose(values(s - 1, 'rsqrt', warmup_steps=w), paper / paper.max(), rtol=1e-6)


def test_every_schedule_peaks_at_one_and_is_strongly_typed():
  for name in ('constant', 'cosine', 'linear', 'step', 'rsqrt'):
    for warmup in (0, 5):
      options = {'total_steps': 50, 'warmup_steps': warmup, 'boundaries': (20,)}
      curve = values(np.arange(60), name, **options)
      np.testing.assert_allclose(curve.max(), 1, rtol=1e-6)
      assert np.argmax(curve) <= warmup and (curve >= 0).all()
      out = jax.eval_shape(make_schedule(name, **options), jnp.int32(3))
      assert out.dtype == jnp.float32 and not out.weak_type


@pytest.mark.parametrize(
  ('kwargs', 'message'),
  [
    ({'name': 'cosin'}, r"unknown schedule 'cosin'; did you mean 'cosine'\? there are: constant, "),
    ({'name': 'cosine'}, "schedule 'cosine' needs total_steps"),
    ({'name': 'step'}, "schedule 'step' needs boundaries"),
    ({'warmup_steps': -1}, 'warmup_steps must be >= 0, got -1'),
    ({'warmup_steps': 9, 'total_steps': 9}, r'total_steps must be > warmup_steps \(9\), got 9'),
    ({'final_scale': 1.5}, r'final_scale must be in \[0, 1\], got 1.5'),
    ({'decay_factor': -0.1}, r'decay_factor must be in \[0, 1\], got -0.1'),
  ],
)
def test_bad_input_is_one_line(kwargs, message):
  with pytest.raises(ValueError, match=f'^{message}') as error:
    make_schedule(**kwargs)
  assert '\n' not in str(error.value)


def step_of(tx) -> Any:
  return lambda state: tx.update(jnp.array([1.0, -2.0]), state, jnp.ones(2))


def test_scale_is_minus_the_rate_times_the_schedule():
  tx = scale_by_learning_rate(0.5, make_schedule('linear', total_steps=4))
  state = tx.init(jnp.ones(2))
  step = jax.jit(step_of(tx))
  assert scheduled_learning_rate(state) == 0.5
  for expected in (0.5, 0.375, 0.25, 0.125, 0):
    updates, state = step(state)
    np.testing.assert_allclose(updates, [-expected, 2 * expected], rtol=1e-6)
    np.testing.assert_allclose(scheduled_learning_rate(state), expected, rtol=1e-6)
    assert learning_rate(state) == 0.5


def test_setting_the_rate_keeps_the_callers_array_when_the_state_is_donated():
  tx = scale_by_learning_rate(0.5, make_schedule())
  rate = jnp.float32(0.25)
  state = set_learning_rate(tx.init(jnp.ones(2)), rate)
  step = jax.jit(step_of(tx), donate_argnums=0)
  updates, state = step(state)
  np.testing.assert_allclose(updates, [-0.25, 0.5])
  assert rate == 0.25 and learning_rate(state) == 0.25


def test_setting_the_rate_keeps_type_and_placement():
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ('data',))
  placed = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  tx = scale_by_learning_rate(0.5, make_schedule())
  state = jax.device_put(tx.init(jnp.ones(2)), placed)
  changed = set_learning_rate(state, 0.1)
  chex.assert_trees_all_equal_shapes_and_dtypes(state, changed)
  assert learning_rate(changed).sharding == placed
  assert not learning_rate(changed).weak_type
  step: Any = jax.jit(step_of(tx))
  _, state = step(state)
  step(set_learning_rate(state, 0.1))
  assert step._cache_size() == 1
