import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.benchmark.measurements_test import workload
from zoo.benchmark.verify import Trained, compare, nudge, verify


def made(strategy, loss):
  """A workload that learns by another loss: (params, batch, key) -> scalar."""
  work = workload(strategy)

  def full(params, extras, batch, key):
    value = loss(params, batch, key)
    return value, (extras, {'loss': value})

  return work._replace(objective=work.objective._replace(loss=full))


def error(params, batch):
  return batch['x'] @ params - batch['y']


def mean(params, batch, key):
  return jnp.mean(error(params, batch) ** 2)


def total(params, batch, key):
  """Which is no mean: devices average the sums of their shares."""
  return jnp.sum(error(params, batch) ** 2) / 16


def noisy(params, batch, key):
  return jnp.mean((error(params, batch) + jax.random.normal(key, batch['y'].shape)) ** 2)


def test_a_mean_is_learnt_alike_everywhere_in_one_compilation():
  found = verify(lambda strategy: made(strategy, mean), steps=3)
  assert [v.strategy for v in found] == ['pmap', 'sharded']
  assert all(v.agrees and v.against == 'jit' and v.traces == 1 for v in found)


def test_a_sum_is_found_out_under_pmap():
  pmap, sharded = verify(lambda strategy: made(strategy, total), steps=3)
  assert not pmap.agrees and pmap.error > 0.5 and pmap.loss_error > 0.5
  assert sharded.agrees
  assert 'DIFFERS from jit' in str(pmap)


def test_what_draws_is_compared_with_its_shares_on_one_device():
  pmap, sharded = verify(lambda strategy: made(strategy, noisy), steps=3)
  assert pmap.agrees and 'its shares on one device' in pmap.against
  assert sharded.agrees and sharded.against == 'jit'


@pytest.mark.parametrize('strategy', ['pmap', 'sharded'])
def test_only_what_was_asked_for_is_verified(strategy):
  assert [v.strategy for v in verify(lambda s: made(s, mean), 1, [strategy])] == [strategy]


@pytest.mark.parametrize(('noise', 'agrees'), [(0.0, False), (1e-3, False), (2e-2, True)])
def test_nothing_better_is_asked_of_a_strategy_than_a_rounding_allows(noise, agrees):
  before, losses = {'w': np.zeros(2)}, np.ones(1)
  expected = Trained(before, {'w': np.array([1.0, 2.0])}, losses, 1)
  found = Trained(before, {'w': np.array([1.0, 2.02])}, losses, 1)
  verdict = compare('pmap', 'jit', found, expected, noise)
  assert verdict.error == pytest.approx(1e-2)
  assert verdict.agrees == agrees
  assert f'a rounding makes {noise:.1e}' in str(verdict)


def test_a_nudge_is_a_rounding():
  params = {'w': np.linspace(-3, 3, 100, dtype=np.float32), 'n': np.arange(3)}
  nudged = nudge(params)
  np.testing.assert_array_equal(nudged['n'], params['n'])
  assert nudged['w'].dtype == np.float32
  assert np.all((nudged['w'] != params['w']) | (params['w'] == 0))
  np.testing.assert_allclose(nudged['w'], params['w'], rtol=3e-7)
