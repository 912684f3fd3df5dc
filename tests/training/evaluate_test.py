import re

import jax
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.data import arrays
from zoo.objectives import with_ema
from zoo.training import build, make_evaluate, parallelize

STRATEGIES = ('jit', 'pmap', 'sharded')


@pytest.mark.parametrize('strategy', STRATEGIES)
def test_evaluation_counts_every_example_once_whatever_the_batches(strategy):
  parallel = parallelize(strategy)
  test = toy.data(101, seed=1)
  objective = toy.objective(parallel.axis_name)
  program, state, _, _ = toy.trained(parallel, optax.sgd(0.3))
  figures = []
  for batch_size in (8, 32, 128):
    source = arrays.one_pass(test, batch_size)
    figures.append(make_evaluate(objective, source, parallel, program.state)(state))
  whole = objective.evaluate(
    jax.device_get(state.params),
    jax.device_get(state.extras),
    test | {'weight': np.ones(101, np.float32)},
    jax.random.key(0),
  )
  assert int(whole.count) == 101
  for figure in figures:
    assert figure['accuracy'] == pytest.approx(whole.compute()['accuracy'], abs=1e-7)
    assert figure['loss'] == pytest.approx(whole.compute()['loss'], rel=1e-5)


def test_an_endless_source_is_refused():
  parallel = parallelize('jit')
  with pytest.raises(ValueError, match=re.escape('this one has no num_batches')):
    make_evaluate(toy.objective(), arrays.epochs(toy.data(8), 8), parallel, None)


@pytest.mark.parametrize('acts', [True, False])
def test_who_acts_to_be_judged_acts_by_what_is_used(acts):
  """As an average of the parameters is, where there is one."""
  parallel = parallelize('jit')
  test, given = toy.data(8), []
  one = arrays.one_pass(test, 8)

  def next_batch(state, params, data):
    jax.debug.callback(lambda x: given.append(float(x)), jax.tree.leaves(params)[0].ravel()[0])
    return one.next(state, params, data)

  objective = with_ema(toy.objective(), 0.5)
  train = arrays.epochs(toy.data(100), 32)
  program = build(objective, optax.sgd(0.3), train, parallel)
  state, source_state = program.init(jax.random.key(0))
  state, *_ = program.step(state, source_state, program.data)
  source = one._replace(next=next_batch, acts=acts)
  make_evaluate(objective, source, parallel, program.state)(state)
  jax.effects_barrier()
  first = lambda tree: float(jax.tree.leaves(tree)[0].ravel()[0])
  average, trained = first(state.extras['ema']), first(state.params)
  assert average != trained
  assert given == [average if acts else trained]
