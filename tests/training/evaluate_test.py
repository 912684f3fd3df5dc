import re

import jax
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.data import arrays
from zoo.training import make_evaluate, parallelize

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
