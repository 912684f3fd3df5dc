import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.training.step import describe_nonfinite, init_state, make_train_step
from zoo.types import Objective, TrainState


def linear(loss=None):
  """Least squares in one weight w: loss (w x - y)^2, so d/dw = 2 x (w x - y)."""

  def init(key, batch):
    del key, batch
    return {'w': jnp.float32(1.0), 'v': jnp.zeros(2)}, {'seen': jnp.float32(0)}

  def default(params, extras, batch, key):
    value = jnp.mean((params['w'] * batch['x'] - batch['y']) ** 2) + jnp.sum(params['v'])
    return value, ({'seen': extras['seen'] + 1}, {'loss': value, 'noise': jax.random.uniform(key)})

  return Objective(
    init, loss or default, lambda *args: {}, lambda e, p, step: e | {'at': p['w'] * step}
  )


SPEC = {k: jax.ShapeDtypeStruct((4,), jnp.float32) for k in 'xy'}
BATCH = {'x': jnp.full(4, 2.0), 'y': jnp.full(4, 6.0)}


def start(objective, tx, seed=0):
  state = jax.jit(lambda key: init_state(objective, tx, SPEC, key))(jax.random.key(seed))
  extras = state.extras | {'at': jnp.float32(0)}
  return state.replace(extras=extras)


def test_one_step_is_the_one_worked_out_by_hand():
  objective, tx = linear(), optax.sgd(0.1)
  state, scalars = jax.jit(make_train_step(objective, tx))(start(objective, tx), BATCH)
  # gradient of w: 2 * 2 * (2 - 6) = -16; of each v: 1. w becomes 1 + 1.6.
  np.testing.assert_allclose(state.params['w'], 2.6, rtol=1e-6)
  np.testing.assert_allclose(state.params['v'], [-0.1, -0.1], rtol=1e-6)
  np.testing.assert_allclose(scalars['grad_norm'], np.sqrt(256 + 2), rtol=1e-6)
  assert scalars['loss'] == 16.0
  assert state.step == 1
  assert state.extras['seen'] == 1  # the loss's change of extras
  np.testing.assert_allclose(
    state.extras['at'], 2.6, rtol=1e-6
  )  # refresh sees new params, new step


def test_key_is_constant_and_every_step_draws_its_own_randomness():
  objective, tx = linear(), optax.sgd(0.0)
  step = jax.jit(make_train_step(objective, tx))
  first = start(objective, tx)
  second, a = step(first, BATCH)
  third, b = step(second, BATCH)
  assert jnp.array_equal(jax.random.key_data(first.key), jax.random.key_data(third.key))
  assert a['noise'] != b['noise']
  again, c = step(first, BATCH)
  assert a['noise'] == c['noise']
  chex.assert_trees_all_equal(again.params, second.params)


def test_parameters_and_run_draw_from_different_keys():
  objective, tx = linear(), optax.sgd(0.1)
  key = jax.random.key(7)
  state = init_state(objective, tx, SPEC, key)
  assert not jnp.array_equal(jax.random.key_data(state.key), jax.random.key_data(key))


def test_state_has_no_weak_types_so_that_the_second_step_does_not_compile():
  objective, tx = linear(), optax.sgd(optax.linear_schedule(0.1, 0.0, 10), momentum=0.9)
  step = jax.jit(chex.assert_max_traces(make_train_step(objective, tx), n=1))
  state = start(objective, tx)
  for _ in range(3):
    state, _ = step(state, BATCH)
  assert all(not x.weak_type for x in jax.tree.leaves(state) if hasattr(x, 'weak_type'))


@pytest.mark.parametrize(
  ('x', 'lr', 'message'),
  [
    (np.inf, 0.1, 'step 1: the loss is not finite'),
    (1e15, 0.1, 'step 1: the gradient of w is not finite'),  # its square overflows
  ],
)
def test_what_is_not_finite_is_named_and_may_change_nothing_but_the_count(x, lr, message):
  objective = linear()
  tx = optax.sgd(lr, momentum=0.9)
  step = jax.jit(make_train_step(objective, tx, skip_nonfinite=True))
  state = start(objective, tx)
  state, scalars = step(state, BATCH)
  assert describe_nonfinite(scalars['nonfinite'], state.params) is None
  bad = BATCH | {'x': jnp.full(4, x, jnp.float32)}
  after, scalars = step(state, bad)
  assert describe_nonfinite(scalars['nonfinite'], state.params) == message
  assert after.step == state.step + 1
  for name in ('params', 'extras', 'opt_state'):
    chex.assert_trees_all_equal(getattr(after, name), getattr(state, name))
  onward, scalars = step(after, BATCH)  # and the run goes on as if nothing had been
  assert onward.params['w'] != state.params['w']
  assert scalars['nonfinite'][0] == -1
  # Where nothing is held back it is named just so.
  _, scalars = jax.jit(make_train_step(objective, tx))(state, bad)
  assert describe_nonfinite(scalars['nonfinite'], state.params) == message


def test_an_update_that_is_not_finite_is_named_at_once():
  objective, tx = linear(), optax.sgd(np.inf)
  state, scalars = jax.jit(make_train_step(objective, tx))(start(objective, tx), BATCH)
  assert describe_nonfinite(scalars['nonfinite'], state.params) == (
    'step 0: the update of v is not finite'
  )


def test_mean_of_gradients_not_their_sum_under_an_axis():
  objective, tx = linear(), optax.sgd(0.1)
  plain = make_train_step(objective, tx)
  mapped = make_train_step(objective, tx, axis_name='data')
  shares = {'x': jnp.arange(4.0).reshape(2, 2), 'y': jnp.ones((2, 2))}
  whole = {k: v.reshape(4) for k, v in shares.items()}
  state = start(objective, tx)
  expected, want = plain(state, whole)
  got, scalars = jax.vmap(mapped, in_axes=(None, 0), out_axes=None, axis_name='data')(state, shares)
  chex.assert_trees_all_close(got.params, expected.params, rtol=1e-6)
  np.testing.assert_allclose(scalars['grad_norm'], want['grad_norm'], rtol=1e-6)


def test_devices_draw_different_randomness():
  objective, tx = linear(), optax.sgd(0.0)

  def noise(params, extras, batch, key):
    value = params['w'] * jax.random.normal(key)
    return value, (extras, {'loss': value, 'square': value**2})

  step = make_train_step(linear(noise), tx, axis_name='data')
  state = start(objective, tx)
  _, scalars = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name='data')(
    state, {k: jnp.zeros((2, 2)) for k in 'xy'}
  )
  # Equal draws would have the mean of squares equal the square of the mean.
  assert abs(scalars['square'] - scalars['loss'] ** 2) > 1e-3


def test_state_is_a_pytree_of_five():
  assert list(TrainState.__dataclass_fields__) == [
    'step',
    'params',
    'extras',
    'opt_state',
    'key',
  ]
