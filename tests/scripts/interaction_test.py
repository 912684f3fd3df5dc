"""A run that acts: killed and gone on with it ends the same, and it shows what it does."""

import json
import signal
import time

import pytest

from tests.scripts import command

CATCH = f'--config={command.ROOT / "configs" / "catch_dqn.py"}'
SHORT = [
  *('--config.train.steps=400', '--config.train.checkpoint_every=100'),
  *('--config.train.steps_per_call=20', '--config.train.eval_every=100'),
  *('--config.train.log_every=20', '--config.data.prioritized=True', '--config.data.stack=2'),
]


@pytest.mark.slow
def test_a_run_that_acts_is_killed_and_ends_the_same(tmp_path):
  """Replay, priorities, environments, the share of random actions, and all figures."""
  straight, killed = tmp_path / 'straight', tmp_path / 'killed'
  command.train_to_end(straight, CATCH, *SHORT)
  process = command.start('train', f'--workdir={killed}', CATCH, *SHORT)
  while not (killed / 'checkpoints' / '100').exists() and process.poll() is None:
    time.sleep(0.01)
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  assert 'going on from step' in command.train_to_end(killed, CATCH, *SHORT)
  command.assert_same_run(killed, straight)
  summary = json.loads((straight / 'summary.json').read_text())
  assert set(summary['metrics']['test']) >= {'episode_return', 'episode_length'}
  assert (straight / 'previews' / 'episode_00000400.gif').read_bytes().startswith(b'GIF89a')
