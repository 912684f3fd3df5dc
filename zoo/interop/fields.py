"""Reading the fields of a Hugging Face `config.json`, with errors that name the field."""

from collections.abc import Mapping
from typing import Any


def size(config: Mapping[str, Any], name: str) -> int:
  """A field that must be there and be a whole number above 0.

  Raises:
    ValueError: it is not.
  """
  value = config.get(name)
  if not isinstance(value, int) or isinstance(value, bool) or value < 1:
    raise ValueError(f'config.json: {name} must be a whole number above 0, not {value!r}')
  return value


def sizes(config: Mapping[str, Any], name: str) -> tuple[int, ...]:
  """A field that must be there and be a list of whole numbers above 0.

  Raises:
    ValueError: it is not.
  """
  value = config.get(name)
  if not isinstance(value, list | tuple) or not value:
    raise ValueError(f'config.json: {name} must be whole numbers above 0, not {value!r}')
  return tuple(size({name: x}, name) for x in value)


def labels(count: int) -> dict[str, Any]:
  """The fields that name classes, of which we know the number."""
  names = [f'LABEL_{i}' for i in range(count)]
  return {
    'id2label': {str(i): name for i, name in enumerate(names)},
    'label2id': {name: i for i, name in enumerate(names)},
  }


def shared_evenly(width: int, num_heads: int, head_dim: int | None) -> None:
  """Refuses heads that are not even shares of the width, which no published layout can hold.

  Raises:
    NotImplementedError: naming the numbers.
  """
  if head_dim is not None and num_heads * head_dim != width:
    raise NotImplementedError(
      f'no published layout has {num_heads} heads of {head_dim} channels in a width of {width}'
    )


def rate(config: Mapping[str, Any], name: str, default: float) -> float:
  """A field in [0, 1), such as a dropout rate.

  Raises:
    ValueError: it is something else.
  """
  value = config.get(name, default)
  if not isinstance(value, (int, float)) or not 0 <= value < 1:
    raise ValueError(f'config.json: {name} must be in [0, 1), not {value!r}')
  return float(value)


def only(config: Mapping[str, Any], name: str, supported: tuple, default: Any) -> None:
  """Refuses a field whose value our module cannot do, and would silently compute otherwise.

  Raises:
    ValueError: naming the field and what is supported.
  """
  value = config.get(name, default)
  if value not in supported:
    values = ' or '.join(repr(x) for x in supported)
    raise ValueError(f'config.json: {name} = {value!r} is not supported, only {values}')
