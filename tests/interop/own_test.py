import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.interop.own import from_own, to_own
from zoo.models import CNN, MLP

INPUTS = jnp.ones((2, 5))
SMALL = MLP(widths=(4, 6), norm='batch', num_classes=3, axis_name='data')


def test_any_model_comes_back_with_its_fields_and_all_its_variables():
  init = jax.jit(SMALL.clone(axis_name=None).init, static_argnames='train')
  variables = init(jax.random.key(1), INPUTS, train=False)
  tensors, config = to_own(SMALL, variables)
  assert {'params/Dense_0/kernel', 'batch_stats/BatchNorm_0/mean'} < tensors.keys()
  module, again = from_own(tensors, config)
  assert module == SMALL.clone(axis_name=None)  # an axis is of a run's devices, not of the model
  chex.assert_trees_all_equal(again, variables)
  np.testing.assert_array_equal(
    module.apply(again, INPUTS, train=False), module.apply(variables, INPUTS, train=False)
  )


def test_options_take_the_place_of_fields():
  tensors, config = to_own(MLP(widths=(3,)), {'params': {'w': np.ones(2)}})
  module, _ = from_own(tensors, config, dropout=0.5)
  assert module == MLP(widths=(3,), dropout=0.5)


@pytest.mark.parametrize(
  ('change', 'tensors', 'message'),
  [
    ({'module': 'CNM'}, {}, "unknown module 'CNM'; did you mean 'CNN'?"),
    ({'module': '__builtins__'}, {}, "unknown module '__builtins__'"),
    ({'module': ['CNN']}, {}, 'unknown module'),
    ({'fields': 3}, {}, 'fields must be an object'),
    ({'fields': {'width': (3,)}}, {}, "unknown field of MLP 'width'; did you mean 'widths'?"),
    ({'fields': {'parent': 3}}, {}, "unknown field of MLP 'parent'"),
    ({}, {'Conv_0/kernel': np.ones(1)}, "no tensor's name starts with 'params/'"),
    (
      {},
      {'params/a': np.ones(1), 'params/a/b': np.ones(1)},
      'params/a is a tensor and a group of tensors',
    ),
  ],
)
def test_what_does_not_fit_is_named(change, tensors, message):
  _, config = to_own(SMALL, {'params': {}})
  with pytest.raises(ValueError, match=re.escape(message)):
    from_own(tensors, config | change)


def test_modules_of_others_are_refused():
  class Own(CNN):
    pass

  with pytest.raises(ValueError, match="unknown module 'Own'"):
    to_own(Own(), {'params': {'w': jnp.ones(1)}})
