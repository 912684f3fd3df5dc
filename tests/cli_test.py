"""From a command line to a config; every mistake is one ValueError that names it."""

from typing import Any

import pytest

from tests.scripts import command
from zoo.cli import fail, load_config, separate
from zoo.experiment import complete_config

DIGITS = str(command.ROOT / 'configs' / 'digits_mlp.py')


def load(*overrides, path=DIGITS) -> Any:
  return load_config(path, overrides, complete_config)


def test_separate_tells_flags_from_overrides():
  argv = ['train.py', '--config=a.py', '--config.a.b=1', '--workdir', 'w', '--noconfig.c', '-debug']
  rest, overrides = separate(argv)
  assert rest == ['train.py', '--config=a.py', '--workdir', 'w', '-debug']
  assert overrides == ['--config.a.b=1', '--noconfig.c']


def test_a_value_may_stand_apart():
  rest, overrides = separate(['x', '--config.a.b', '1', '--config.c=', 'stray', '--config.d'])
  assert rest == ['x', 'stray']
  assert overrides == ['--config.a.b=1', '--config.c=', '--config.d']


def test_overrides_keep_the_type_and_the_result_is_locked():
  config = load(
    '--config.optimizer.learning_rate=1',
    '--config.model.widths=(4,)',
    '--config.optimizer.nesterov=true',
    '--config.train.steps=100',
    '--config.data.augment.random_affine.scale=(0.5,2.0)',
  )
  assert config.optimizer.learning_rate == 1.0
  assert type(config.optimizer.learning_rate) is float
  assert config.model.widths == (4,)
  assert config.optimizer.nesterov is True
  assert config.data.augment.random_affine.scale == (0.5, 2.0)
  assert config.is_locked


def test_what_is_not_said_has_its_default():
  config = load()
  assert config.train.on_nonfinite == 'halt'
  assert config.data.normalization == 'standardize'
  assert config.optimizer.momentum is None


@pytest.mark.parametrize(
  'override', [['--config.model.name=cnn'], *[['--config.model.name', 'cnn']]], ids=['=', 'apart']
)
def test_another_model_has_its_own_options(override):
  _, overrides = separate(override)
  config = load(*overrides)
  assert config.model.name == 'cnn'
  assert config.model.kernel_size == 3
  assert config.model.widths == (32, 64)  # the defaults of CNN, not the widths of the file's MLP


def test_an_argument_goes_to_get_config():
  path = str(command.ROOT / 'configs' / 'folder_cnn.py')
  assert load(path=f'{path}:/a/b').data.name == 'folder:/a/b'


@pytest.mark.parametrize(
  ('override', 'message'),
  [
    ('--config.train.stpes=3', "option of config.train 'stpes'; did you mean 'steps'"),
    ('--config.trian.steps=3', "section of config 'trian'; did you mean 'train'"),
    ('--config.train.steps.more=3', "unknown option of config.train.steps 'more'"),
    ('--config.model.name=cmn', "unknown model 'cmn'; did you mean 'cnn'"),
    ('--config.objective.name=clasification', "did you mean 'classification'"),
    ('--config.train.steps=1e3', 'config.train.steps=1e3'),
    ('--config.train.steps=2.5', 'config.train.steps=2.5'),
    ('--config.optimizer.learning_rate=fast', 'config.optimizer.learning_rate=fast'),
    ("--config.model.widths=('a',)", "config.model.widths must be tuple[int, ...], not ('a',)"),
    ('--config.optimizer.nesterov=perhaps', 'config.optimizer.nesterov=perhaps'),
    ('config.train.steps=3', "'config.train.steps=3' is no option"),
  ],
)
def test_a_wrong_override_is_named_in_one_line(override, message):
  with pytest.raises(ValueError) as error:
    load(override)
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('def get_config(: pass', 'SyntaxError'),
    ('import nowhere_to_be_found', 'nowhere_to_be_found'),
    ('x = 1', 'does not define get_config()'),
    ('def get_config(): return {}', 'must return a ConfigDict'),
    (
      'from ml_collections import ConfigDict\n'
      'def get_config(): return ConfigDict({"model": {"name": "mlp"}, "optimiser": {}})',
      "section of config 'optimiser'; did you mean 'optimizer'",
    ),
    (
      'from ml_collections import ConfigDict\n'
      'def get_config(): return ConfigDict({"model": "mlp"})',
      "config.model must be a section of options, not 'mlp'",
    ),
    (
      'from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({})',
      'config.model.name is missing; there are: autoencoder, bert, ',
    ),
  ],
)
def test_a_wrong_config_file_is_named_in_one_line(tmp_path, text, message):
  path = tmp_path / 'mine.py'
  path.write_text(text)
  with pytest.raises(ValueError) as error:
    load(path=str(path))
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) == 1


def test_a_missing_config_file_is_answered_with_those_there_are():
  path = str(command.ROOT / 'configs' / 'digit_cnn.py')
  with pytest.raises(ValueError, match=r'no config file .*digit_cnn\.py; .*digits_cnn\.py'):
    load(path=path)


def test_only_the_first_line_of_an_error_is_shown(capsys):
  assert fail(ValueError('\nthe culprit\nand a page of detail')) == 2
  shown = capsys.readouterr().err
  assert shown.endswith(': error: the culprit\n')
  assert len(shown.splitlines()) == 1


def test_an_error_without_words_is_named_by_its_type(capsys):
  fail(OSError())
  assert capsys.readouterr().err.endswith(': error: OSError\n')
