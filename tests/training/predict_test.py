import jax
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo.data import arrays
from zoo.training import build, parallelize
from zoo.training.predict import examples_of, make_predict


@pytest.mark.parametrize('strategy', ['jit', 'pmap', 'sharded'])
def test_every_example_comes_once_in_order_and_beside_its_own_prediction(strategy):
  parallel = parallelize(strategy)
  predict = lambda params, extras, batch: {'double': 2 * batch['x'], 'sum': batch['x'].sum(-1)}
  objective = toy.objective(parallel.axis_name)._replace(predict=predict)
  data = toy.data(37)
  program = build(objective, optax.sgd(0.1), arrays.epochs(data, 8), parallel)
  state, _ = program.init(jax.random.key(0))
  over_split = make_predict(objective, arrays.one_pass(data, 8), parallel, program.state)
  examples, outputs = over_split(state)
  np.testing.assert_array_equal(examples['x'], data['x'])
  np.testing.assert_array_equal(examples['label'], data['label'])
  np.testing.assert_array_equal(outputs['double'], 2 * data['x'])
  np.testing.assert_allclose(outputs['sum'], data['x'].sum(-1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('limit', [5, 16, 37, 100])
def test_the_first_examples_come_in_order_and_without_padding(limit):
  data = toy.data(37)
  found = examples_of(arrays.one_pass(data, 8), limit)
  for name, x in data.items():
    np.testing.assert_array_equal(found[name], x[:limit])


def test_an_objective_that_does_not_predict_is_refused():
  parallel = parallelize('jit')
  with pytest.raises(ValueError, match='predictions need an objective with predict'):
    make_predict(toy.objective(), arrays.one_pass(toy.data(8), 8), parallel, None)
