"""Episodes of a run from the command line."""

import re

import pytest

from tests.scripts import command

CATCH = f'--config={command.ROOT / "configs" / "catch_dqn.py"}'
SHORT = ['--config.train.steps=20', '--config.train.steps_per_call=20']
SHORT += ['--config.train.eval_every=20', '--config.train.checkpoint_every=20']
SHORT += ['--config.train.log_every=20', '--config.train.seeds=2']


@pytest.mark.slow
def test_episodes_are_played_and_drawn(tmp_path):
  command.train_to_end(tmp_path / 'run', CATCH, *SHORT)
  gif = tmp_path / 'catch.gif'
  args = [f'--workdir={tmp_path / "run"}', '--episodes=3', '--member=1']
  done = command.run('play', *args, f'--gif={gif}')
  assert done.returncode == 0, done.stderr
  found = re.findall(r'^episode \d: return (-?1) in 9 steps$', done.stdout, re.MULTILINE)
  assert len(found) == 3
  assert f'mean {sum(map(int, found)) / 3:.2f}' in done.stdout
  assert gif.read_bytes().startswith(b'GIF89a')
  assert command.run('play', *args).stdout == done.stdout.partition('drawn')[0]  # the same again

  said = command.refusal(command.run('play', f'--workdir={command.finished()}'))
  assert 'holds a classification, which plays nothing' in said
