import jax
import jax.numpy as jnp
import pytest

from tests.benchmark.measurements_test import workload
from zoo.benchmark.verify import verify


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
