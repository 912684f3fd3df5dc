import jax.numpy as jnp
import pytest

from zoo.training.watch import NonFiniteError, Watch

PARAMS = {'a': jnp.zeros(2), 'b': jnp.zeros(3)}
FINE = jnp.array([-1, -1])


def test_halt_names_the_first_bad_step_and_what_it_was():
  watch = Watch('halt')
  for found in (FINE, jnp.array([7, 2]), jnp.array([9, 0])):  # index 2: the gradient of b
    watch.add(found)
  with pytest.raises(NonFiniteError, match=r'^step 7: the gradient of b is not finite$'):
    watch.look(PARAMS)


def test_skip_counts_each_bad_step_once_and_goes_on_from_an_earlier_count():
  watch = Watch('skip', skipped=5)
  for found in (jnp.array([1, 0]), FINE, jnp.array([3, 2])):
    watch.add(found)
  watch.look(PARAMS)
  watch.look(PARAMS)
  assert watch.skipped == 7


def test_an_update_cannot_be_skipped():
  watch = Watch('skip')
  watch.add(jnp.array([3, 4]))
  with pytest.raises(NonFiniteError, match=r'^step 3: the update of b is not finite$'):
    watch.look(PARAMS)
