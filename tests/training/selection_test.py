from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.training.checkpoint import Restored
from zoo.training.selection import best_of_kept
from zoo.training.settings import TrainSettings
from zoo.types import TrainState

NAN = float('nan')


def choose(figures, mode='max'):
  """Figures [steps, members]: what is chosen of states whose parameters are their steps."""
  count = len(figures[0])
  state = lambda step: TrainState(
    jnp.int32(step), jnp.full((count, 2), step), {}, (), jax.random.key(0)
  )
  checkpoints = SimpleNamespace(
    steps=lambda: [*range(0, 10 * len(figures) + 1, 10)],
    # Where there was no evaluation, as at the first, nothing is known.
    restore=lambda of_state, of_source, step: Restored(
      step, state(step), None, {'validation': figures[step // 10 - 1]} if step else {}
    ),
  )
  settings = TrainSettings(best='score', best_mode=mode)
  return best_of_kept(checkpoints, (None, None), settings, count)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(('mode', 'expected'), [('max', [20, 10, 30]), ('min', [10, 30, 10])])
def test_every_member_is_as_it_was_where_it_did_best_and_first(mode, expected):
  state, steps = choose([[1, 8, 3], [9, 8, 4], [9, 0, 5]], mode)
  assert steps == expected
  np.testing.assert_array_equal(state.params, np.repeat([expected], 2, 0).T)


def test_of_one_run_the_whole_state_is_that_of_its_best_step():
  state, steps = choose([[1], [7], [7]])
  assert (steps, int(state.step)) == ([20], 20)


def test_what_is_not_finite_is_never_best():
  assert choose([[NAN, 2], [1, NAN]])[1] == [20, 10]
  with pytest.raises(ValueError, match='no checkpoint has a finite score'):
    choose([[NAN, 2], [NAN, 1]])
