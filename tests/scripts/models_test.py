from tests.scripts import command
from zoo.catalog import list_models


def test_all_models_are_listed_with_their_parameters():
  done = command.run('models')
  assert done.returncode == 0, done.stderr
  assert not done.stderr
  title, *rows = done.stdout.splitlines()
  assert title.split() == ['name', 'parameters', 'example', 'source']
  assert [row.split()[0] for row in rows] == list_models()
  mlp = next(row for row in rows if row.startswith('mlp'))
  # 784 inputs, two hidden layers of 128, 10 classes.
  assert f'{784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10:,}' in mlp
  assert 'Rumelhart' in mlp


def test_a_pattern_that_matches_nothing_is_named():
  message = command.refusal(command.run('models', 'ccn'))
  assert message.startswith("models.py: error: unknown model 'ccn'; did you mean 'cnn'?")
