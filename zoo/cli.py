"""What all scripts share on the command line: configs with overrides, and errors in one line."""

import runpy
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import config_dict, config_flags

from zoo.names import unknown
from zoo.training.checkpoint import CheckpointError
from zoo.training.lock import LockError

EXIT_ERROR = 2

FLAGS = flags.FLAGS
flags.DEFINE_bool('debug', False, 'Show the traceback of an error.')


def run(main: Callable[[list[str]], int | None]) -> None:
  """Runs a script. Bad input ends in one line on stderr and status 2.

  Args:
    main: (arguments without flags and overrides) -> exit status.
  """

  def guarded(argv: list[str]) -> None:
    try:
      status = main(argv)
    except (ValueError, OSError, RuntimeError, CheckpointError, LockError) as error:
      if FLAGS.debug:
        raise
      status = fail(error)
    sys.exit(status)

  def parse(argv: list[str]) -> list[str]:
    logging.set_verbosity(
      logging.WARNING
    )  # the libraries below report much that is as it should be
    rest, overrides = separate(argv)
    try:
      return FLAGS(rest) + overrides
    except flags.Error as error:
      sys.exit(fail(error))

  # Without the line of code that warned.
  warnings.formatwarning = lambda message, *_, **__: f'{script()}: warning: {message}\n'
  app.run(guarded, flags_parser=parse)


def fail(error: Exception) -> int:
  """Prints the first line of an error and returns the exit status."""
  text = str(error)
  if isinstance(error, OSError) and error.filename and error.strerror:
    text = f'{error.strerror}: {error.filename}'
  lines = [line for line in text.splitlines() if line.strip()] or [type(error).__name__]
  print(f'{script()}: error: {lines[0].strip()}', file=sys.stderr)
  return EXIT_ERROR


def script() -> str:
  return Path(sys.argv[0]).name


def separate(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """Splits off the overrides: `--config.a.b=c`, also as `--config.a.b c`, and `--noconfig.a.b`.

  And, likewise, `--sweep.a.b=c,d`.
  """
  rest, overrides = [], []
  open_override = False  # its value may follow
  for arg in argv:
    if arg.startswith('-') and arg != '-':
      is_override = arg.lstrip('-').startswith(('config.', 'noconfig.', 'sweep.'))
      (overrides if is_override else rest).append(arg)
      open_override = is_override and '=' not in arg
    elif open_override:
      overrides[-1] += f'={arg}'
      open_override = False
    else:  # a value that belongs to the flag before it
      rest.append(arg)
  return rest, overrides


def load_config(
  path: str, overrides: Sequence[str], complete: Callable[[dict[str, Any]], config_dict.ConfigDict]
) -> config_dict.ConfigDict:
  """Loads a config file and applies overrides.

  Args:
    path: a Python file that defines `get_config() -> ConfigDict`; `file.py:argument` calls
      `get_config('argument')`.
    overrides: as `separate` returns them.
    complete: checks a config and fills it up with defaults.

  Returns:
    The complete config, locked.

  Raises:
    ValueError: no such file, or an option, name or type that is wrong.
  """
  file, _, argument = path.partition(':')
  if not Path(file).is_file():
    near = sorted(p.name for p in Path(file).parent.glob('*.py'))
    raise ValueError(f'no config file {file}; in its folder there are: {", ".join(near) or "none"}')
  try:
    get_config = runpy.run_path(file).get('get_config')
    if get_config is None:
      raise ValueError('it does not define get_config()')
    values = get_config(argument) if argument else get_config()
    if not isinstance(values, config_dict.ConfigDict):
      raise ValueError(f'get_config() must return a ConfigDict, not a {type(values).__name__}')
    values = values.to_dict()
  except Exception as error:  # whatever a person's file raises; --debug shows where
    raise ValueError(f'config file {file}: {type(error).__name__}: {error}') from error

  swept = [override for override in overrides if override.lstrip('-').startswith('sweep.')]
  overrides = [override for override in overrides if override not in swept]
  if swept:
    values.setdefault('train', {})['sweep'] = tuple(map(sweep_of, swept))

  # Another model or objective has other options: what the file says of the old one is dropped.
  for override in overrides:
    name, _, value = override.partition('=')
    for section in ('model', 'objective'):
      if (
        name.lstrip('-') == f'config.{section}.name'
        and values.get(section, {}).get('name') != value
      ):
        values[section] = {'name': value}

  config = complete(values)
  check_names(config, overrides)
  own = flags.FlagValues()
  config_flags.DEFINE_config_dict('config', config, flag_values=own, sys_argv=['', *overrides])
  try:
    own(['', *overrides])
  except (flags.Error, TypeError) as error:
    raise ValueError(str(error).splitlines()[0]) from error
  return complete(own.config.to_dict()).lock()


def sweep_of(override: str) -> tuple[str, tuple[float, ...]]:
  """The option and the numbers of `--sweep.section.option=1e-3,3e-3`.

  Raises:
    ValueError: what follows the equals sign are no numbers.
  """
  name, _, text = override.partition('=')
  try:
    return name.lstrip('-').removeprefix('sweep.'), tuple(map(float, text.split(',')))
  except ValueError:
    raise ValueError(f'{override} must give numbers, one after a comma') from None


def check_names(config: config_dict.ConfigDict, overrides: Sequence[str]) -> None:
  """Raises ValueError, naming the nearest valid name, for an override of what does not exist."""
  for override in overrides:
    if not override.startswith('-'):
      raise ValueError(f'{override!r} is no option; options look like --config.train.steps=100')
    _, *path = override.partition('=')[0].lstrip('-').split('.')
    node, where = config, 'config'
    for name in path:
      if not isinstance(node, config_dict.ConfigDict) or name not in node:
        valid = node.keys() if isinstance(node, config_dict.ConfigDict) else ()
        raise unknown(
          'option of ' + where if where != 'config' else 'section of config', name, valid
        )
      node, where = node[name], f'{where}.{name}'
