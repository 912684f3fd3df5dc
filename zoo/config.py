"""What a config may say, read off the signatures of what it configures.

An experiment's config has sections, and most sections name a thing (`model.name = 'cnn'`). The
options of such a section are the keyword arguments of that thing: their names, types and defaults
are written once, where they are used. So a config file lists only what it sets, every option can be
overridden on the command line, and a misspelt one is answered with the nearest.
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import config_dict

from zoo.names import unknown

Options = dict[str, tuple[Any, Any]]  # name -> (type, default)


def options_of(target: Callable[..., Any], *, given: tuple[str, ...] = ()) -> Options:
  """Reads the options of a function, or of a Linen module or other dataclass.

  Args:
    target: what is configured.
    given: arguments that something else provides, and a config must not.
  """
  hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
  if dataclasses.is_dataclass(target):
    hints = typing.get_type_hints(target)
    hidden = {*given, 'parent', 'name'}  # every Linen module has these two
    return {
      f.name: (hints[f.name], f.default)
      for f in dataclasses.fields(target)
      if f.init and f.name not in hidden
    }
  return {
    name: (hints.get(name, Any), p.default)
    for name, p in inspect.signature(target).parameters.items()
    if name not in given and p.default is not inspect.Parameter.empty
  }


def complete(section: str, values: Mapping[str, Any], options: Options) -> config_dict.ConfigDict:
  """Fills a section up with defaults, after checking what it says.

  Raises:
    ValueError: an option that does not exist, or a value of the wrong type; one line.
  """
  full = config_dict.ConfigDict()
  values = {name: with_tuples(value) for name, value in values.items()}
  for name, value in values.items():
    if name not in options:
      raise unknown(f'option of config.{section}', name, options)
    if not fits(value, options[name][0]):
      raise ValueError(
        f'config.{section}.{name} must be {describe(options[name][0])}, not {value!r}'
      )
  for name, (hint, default) in options.items():
    value = values.get(name, default)
    if float in alternatives(hint) and type(value) is int:
      value = float(value)
    if value is None:  # keeps its type, so that it can be overridden
      value = config_dict.placeholder(next(t for t in alternatives(hint) if t is not type(None)))
    full[name] = config_dict.ConfigDict(value) if isinstance(value, Mapping) else value
  return full


def with_tuples(value: Any) -> Any:
  """A value whose lists, as JSON has them, are tuples."""
  return tuple(map(with_tuples, value)) if isinstance(value, list | tuple) else value


def alternatives(hint: Any) -> tuple[Any, ...]:
  """The members of a union, or the type alone; tuple[int, ...] counts as tuple."""
  union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  members = typing.get_args(hint) if union else (hint,)
  return tuple(typing.get_origin(m) or m for m in members)


def fits(value: Any, hint: Any) -> bool:
  """Whether a value has the type; an int passes for a float, a bool for nothing but a bool."""
  origin, args = typing.get_origin(hint), typing.get_args(hint)
  if hint is Any:
    return True
  if origin in (typing.Union, types.UnionType):
    return any(fits(value, arg) for arg in args)
  if origin is typing.Literal:
    return value in args
  if origin is tuple:
    same = len(args) == 2 and args[1] is Ellipsis
    return isinstance(value, tuple) and (
      all(fits(v, args[0]) for v in value)
      if same
      else len(value) == len(args) and all(map(fits, value, args))
    )
  kind = origin or hint
  if kind is float:
    return isinstance(value, int | float) and not isinstance(value, bool)
  if kind is int:
    return isinstance(value, int) and not isinstance(value, bool)
  if inspect.isclass(kind) and issubclass(kind, Mapping):
    return isinstance(value, Mapping)
  return isinstance(value, kind)


def describe(hint: Any) -> str:
  """A type as a person would write it."""
  if typing.get_origin(hint) is None and inspect.isclass(hint):
    return 'None' if hint is type(None) else hint.__name__
  return str(hint).replace('typing.', '').replace('collections.abc.', '')
