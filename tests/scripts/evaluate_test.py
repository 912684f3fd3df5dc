import json
import shutil

import pytest

from tests.scripts import command


@pytest.fixture(scope='module')
def moved(tmp_path_factory):
  """A finished run at another place: all that evaluation needs lies in it."""
  return shutil.copytree(command.finished(), tmp_path_factory.mktemp('run') / 'moved')


def test_the_last_checkpoint_has_the_figures_of_the_summary(moved):
  done = command.run('evaluate', f'--workdir={moved}', '--json')
  assert done.returncode == 0, done.stderr
  assert not done.stderr
  report = json.loads(done.stdout)
  assert report['step'] == command.STEPS
  assert report['metrics'] == json.loads((moved / 'summary.json').read_text())['metrics']


@pytest.mark.slow
def test_the_best_checkpoint_has_the_best_logged_accuracy(moved):
  log = [json.loads(line) for line in (moved / 'metrics.jsonl').read_text().splitlines()]
  saved = [r for r in log if 'validation/accuracy' in r and r['step'] % 4 == 0]
  best = max(saved, key=lambda r: (r['validation/accuracy'], -r['step']))
  done = command.run('evaluate', f'--workdir={moved}', '--step=best')
  assert done.returncode == 0, done.stderr
  title, validation, test = done.stdout.splitlines()
  assert title.endswith(f'at step {best["step"]}')
  assert f'accuracy {best["validation/accuracy"]:.4f}' in validation
  assert test.startswith('test ')


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--workdir={}/nowhere'], 'no run in {}/nowhere: it has no config.json'),
    (['--workdir={}', '--step=7'], 'no good checkpoint of step 7 in {}/checkpoints; there are: '),
    (['--workdir={}', '--step=bets'], "--step must be 'last', 'best' or a number, not 'bets'"),
    (
      ['--workdir={}', '--inception=x'],
      '--inception is for what a GAN makes, not for classification',
    ),
    (['--workdir={}', '--config.train.seed=1'], 'the config comes from the run directory'),
  ],
)
def test_bad_input_is_one_line(moved, args, message):
  done = command.run('evaluate', *(arg.format(moved) for arg in args))
  assert message.format(moved) in command.refusal(done)
