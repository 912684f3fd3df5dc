import pytest

from tests.scripts import command


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    ((), '--row is missing'),
    (('--row=digits_cnm',), "unknown --row 'digits_cnm'; did you mean 'digits_cnn'?"),
    (('--row=digits_cnn/seed99',), 'there is no results/digits_cnn/seed99.json'),
    (('--row=gpt_f32', '--config.train.steps=1'), 'scripts/peers.py has no config to change'),
  ],
)
def test_bad_input(flags, words):
  assert words in command.refusal(command.run('reproduce', *flags))


@pytest.mark.slow
def test_a_row_holds_and_a_worse_run_does_not(tmp_path):
  done = command.run('reproduce', '--row=digits_mlp')
  assert done.returncode == 0 and 'digits_mlp: accuracy' in done.stdout and 'holds' in done.stdout
  worse = ('--config.train.steps=200', '--config.optimizer.learning_rate=1e-5')
  done = command.run('reproduce', '--row=digits_mlp', f'--workdir={tmp_path}', *worse)
  assert done.returncode == 1 and 'DOES NOT HOLD' in done.stdout
