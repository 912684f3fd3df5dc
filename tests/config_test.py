"""What a section may say is read off the signature of what it configures."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import pytest
from ml_collections import config_dict

from zoo.config import alternatives, complete, describe, fits, options_of


def scale(module, batch, factor: float = 2.0, *, sides: tuple[int, ...] = (), axis: str = 'x'):
  """Two arguments without a default, and three options."""


class Network(nn.Module):
  width: int = 8
  activation: str = 'relu'
  num_classes: int = 10


@dataclasses.dataclass(frozen=True)
class Settings:
  steps: int = 3
  rate: float | None = None
  hidden: int = dataclasses.field(default=1, init=False)


def test_options_of_a_function_are_its_arguments_with_defaults():
  assert options_of(scale, given=('axis',)) == {
    'factor': (float, 2.0),
    'sides': (tuple[int, ...], ()),
  }


def test_options_of_a_module_are_its_fields_but_not_those_of_linen():
  assert options_of(Network, given=('num_classes',)) == {
    'width': (int, 8),
    'activation': (str, 'relu'),
  }


def test_options_of_a_dataclass_are_what_its_constructor_takes():
  assert options_of(Settings) == {'steps': (int, 3), 'rate': (float | None, None)}


@pytest.mark.parametrize(
  ('value', 'hint', 'expected'),
  [
    (1, int, True),
    (True, int, False),
    (1.0, int, False),
    (1, float, True),
    (True, float, False),
    ('1', float, False),
    (None, float | None, True),
    (None, float, False),
    ('a', Literal['a', 'b'], True),
    ('c', Literal['a', 'b'], False),
    ((1, 2, 3), tuple[int, ...], True),
    ((), tuple[int, ...], True),
    ((1, 'a'), tuple[int, ...], False),
    (3, tuple[int, ...], False),
    ((0.5, 1), tuple[float, float], True),
    ((0.5,), tuple[float, float], False),
    ({'a': 1}, Mapping, True),
    ({'a': 1}, Mapping[str, int], True),
    (1, Mapping, False),
    (object(), Any, True),
    (True, bool, True),
    (1, bool, False),
  ],
)
def test_fits(value, hint, expected):
  assert fits(value, hint) is expected


def test_alternatives_and_names_of_types():
  assert alternatives(int | None) == (int, type(None))
  assert alternatives(tuple[int, ...]) == (tuple,)
  assert describe(int) == 'int'
  assert describe(type(None)) == 'None'
  assert describe(tuple[float, ...]) == 'tuple[float, ...]'
  assert describe(Mapping[str, int]) == 'Mapping[str, int]'


OPTIONS = {'rate': (float, 0.5), 'widths': (tuple[int, ...], (8,)), 'limit': (int | None, None)}


def test_complete_keeps_what_is_said_and_adds_the_rest():
  full = complete('data', {'rate': 1}, OPTIONS)
  assert full.to_dict() == {'rate': 1.0, 'widths': (8,), 'limit': None}
  assert type(full.rate) is float  # or an override by 0.5 would be refused


def test_lists_are_tuples_as_they_come_from_json():
  assert complete('data', {'widths': [4, 4]}, OPTIONS).widths == (4, 4)


def test_none_keeps_its_type_so_that_it_can_be_overridden():
  full = complete('data', {}, OPTIONS)
  full.limit = 3
  assert full.limit == 3
  with pytest.raises(TypeError):
    full.limit = 'many'


def test_completing_twice_changes_nothing():
  once = complete('data', {'limit': 3}, OPTIONS).to_dict()
  assert complete('data', once, OPTIONS).to_dict() == once


def test_a_section_within_a_section_is_a_config():
  full = complete('data', {'more': {'a': 1}}, {'more': (Mapping, {})})
  assert isinstance(full.more, config_dict.ConfigDict)


def test_an_unknown_option_is_answered_with_the_nearest():
  with pytest.raises(ValueError, match=r"option of config\.data 'widhts'; did you mean 'widths'"):
    complete('data', {'widhts': (8,)}, OPTIONS)


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'rate': 'fast'}, r"config\.data\.rate must be float, not 'fast'"),
    ({'rate': True}, r'config\.data\.rate must be float, not True'),
    ({'widths': (8, 2.5)}, r'config\.data\.widths must be tuple\[int, \.\.\.\], not \(8, 2\.5\)'),
    ({'widths': 8}, r'config\.data\.widths must be tuple'),
    ({'limit': 0.5}, r'config\.data\.limit must be int \| None, not 0\.5'),
  ],
)
def test_a_wrong_type_is_named(values, message):
  with pytest.raises(ValueError, match=message):
    complete('data', values, OPTIONS)
