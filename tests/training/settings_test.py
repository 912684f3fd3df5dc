import re

import pytest

from zoo.training.settings import TrainSettings


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'steps': 0}, 'config.train.steps must be at least 1, not 0'),
    ({'eval_every': -1}, 'config.train.eval_every must not be negative, but is -1'),
    (
      {'steps': 64, 'log_every': 20, 'steps_per_call': 32},
      'config.train.log_every=20 is no multiple of steps_per_call=32',
    ),
    ({'on_nonfinite': 'ignore'}, "config.train.on_nonfinite must be halt or skip, not 'ignore'"),
  ],
)
def test_what_makes_no_sense_is_named(options, message):
  with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
    TrainSettings(**options)


def test_zero_means_at_the_end_alone_and_divides_by_everything():
  TrainSettings(steps=64, log_every=32, steps_per_call=32, eval_every=0, checkpoint_every=0)
