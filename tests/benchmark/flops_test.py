import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo import models, objectives
from zoo.benchmark import flops

KEY = jax.random.key(0)


def array(*shape, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(shape, dtype)


def test_a_product_takes_two_operations_a_term():
  product = lambda x, y: jnp.einsum('bij,bjk->bik', x, y)
  assert flops.count(product, array(3, 4, 5), array(3, 5, 6)) == {'float32': 2 * 3 * 4 * 5 * 6}


def test_types_are_told_apart_and_the_one_of_most_operations_is_the_main_one():
  def both(x, y):
    return x @ x, y @ y

  found = flops.count(both, array(4, 4), array(8, 8, dtype=jnp.bfloat16))
  assert found == {'float32': 2 * 4**3, 'bfloat16': 2 * 8**3}
  assert flops.main_dtype(found) == 'bfloat16'
  assert flops.main_dtype({}) is None


def test_a_convolution_counts_its_window_and_a_transposed_one_what_is_not_zero():
  numbers = ('NHWC', 'HWIO', 'NHWC')

  def forwards(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (2, 2), 'VALID', dimension_numbers=numbers)

  x, kernel = array(2, 9, 9, 3), array(3, 3, 3, 8)
  once = 2 * (2 * 4 * 4 * 8) * (3 * 3 * 3)
  assert flops.count(forwards, x, kernel) == {'float32': once}

  def to_x(dy, kernel):
    return jax.linear_transpose(lambda x: forwards(x, kernel), x)(dy)[0]

  # 81 places, of which a window of nine meets 9/4 that are no zeros; borders count as the middle.
  backwards = flops.count(to_x, array(2, 4, 4, 8), kernel)['float32']
  assert backwards == pytest.approx(2 * (2 * 9 * 9 * 3) * (9 / 4 * 8))


def test_loops_count_as_often_as_they_run_and_branches_as_the_dearest():
  def looped(x):
    return jax.lax.scan(lambda c, _: (c @ x, None), x, length=7)[0]

  assert flops.count(looped, array(4, 4)) == {'float32': 7 * 2 * 4**3}

  def branched(flag, x):
    return jax.lax.cond(flag, lambda x: x @ x @ x, lambda x: x, x)

  assert flops.count(branched, array(dtype=bool), array(4, 4)) == {'float32': 2 * 2 * 4**3}


B, T, V, L, D = 2, 16, 32, 3, 8
SPEC = {name: array(B, T, dtype=np.int32) for name in ('tokens', 'targets')}


def gpt(**options):
  sizes = {'vocab_size': V, 'context_length': T, 'num_layers': L, 'width': D, 'num_heads': 2}
  return objectives.language_model(models.GPT2(**sizes, **options))


@pytest.mark.parametrize('options', [{}, {'scan_layers': True}, {'remat': True}])
def test_a_transformer_takes_what_the_formula_says_whatever_is_computed_again(options):
  """PaLM, appendix B: 6 N + 12 L T d a token, N without the table of what is looked up."""
  products = 12 * L * D**2 + V * D
  expected = B * T * (6 * products + 12 * L * T * D)
  assert flops.of_training(gpt(**options), SPEC) == {'float32': expected}


def test_the_shares_of_devices_add_up_to_the_batch():
  module = models.CNN(widths=(4,), num_classes=3, axis_name='data')
  spec = {'image': array(8, 8, 8, 1), 'label': array(8, dtype=np.int32)}
  make = lambda axis: objectives.classification(
    module.clone(axis_name=axis), num_classes=3, axis_name=axis
  )
  alone = flops.of_training(make(None), spec)
  assert alone['float32'] > 0
  assert flops.of_training(make('data'), spec, 'data', 4) == alone
