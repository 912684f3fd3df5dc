import pytest

from tests.scripts import command
from zoo.catalog import list_models


@pytest.mark.slow
def test_all_models_are_listed():
  _, *rows = listed().splitlines()
  assert [row.split()[0] for row in rows] == list_models()


def test_a_model_is_listed_with_its_parameters():
  title, row = listed('mlp').splitlines()
  assert title.split() == ['name', 'parameters', 'example', 'source']
  # 784 inputs, two hidden layers of 128, 10 classes.
  assert f'{784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10:,}' in row
  assert 'Rumelhart' in row


def listed(*patterns):
  done = command.run('models', *patterns)
  assert done.returncode == 0, done.stderr
  assert not done.stderr
  return done.stdout


def test_a_pattern_that_matches_nothing_is_named():
  message = command.refusal(command.run('models', 'ccn'))
  assert message.startswith("models.py: error: unknown model 'ccn'; did you mean 'cnn'?")
