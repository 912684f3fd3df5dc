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


@pytest.mark.slow
def test_on_the_host_a_killed_run_goes_on_with_new_episodes_and_says_so(tmp_path):
  """Environments of Gymnasium cannot be saved; what was learnt and remembered is."""
  pytest.importorskip('gymnasium')
  config = f'--config={command.ROOT / "configs" / "cartpole_dqn.py"}'
  short = ['--config.data.name=gymnasium:CartPole-v1', '--config.train.steps_per_call=1']
  short += ['--config.train.steps=400', '--config.train.eval_every=100']
  short += ['--config.train.checkpoint_every=100', '--config.data.test=4']
  short += ['--config.data.validation=2']
  process = command.start('train', f'--workdir={tmp_path}', config, *short)
  while not (tmp_path / 'checkpoints' / '100').exists() and process.poll() is None:
    time.sleep(0.01)
  process.kill()
  process.communicate()
  assert process.returncode == -signal.SIGKILL
  done = command.train(tmp_path, config, *short)
  assert done.returncode == 0, done.stderr
  assert 'going on from step' in done.stdout
  assert 'environments are not saved; episodes start anew at frame ' in done.stderr
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert summary['metrics']['test']['episode_length'] > 5
