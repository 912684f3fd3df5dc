import re

import pytest

from zoo.interop.names import check_names, listed

EXPECTED = {'wte.weight': (7, 4), 'h.0.ln_1.weight': (4,), 'h.0.ln_1.bias': (4,)}


def test_equal_names_and_shapes_pass_in_any_order():
  check_names('file', dict(reversed(EXPECTED.items())), EXPECTED)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      lambda found: {'h.0.ln1.weight': found.pop('h.0.ln_1.weight'), **found},
      'file: missing h.0.ln_1.weight (nearest: h.0.ln1.weight); '
      'unexpected h.0.ln1.weight (nearest: h.0.ln_1.weight)',
    ),
    (lambda found: found | {'zzz': (1,)}, 'file: unexpected zzz'),
    (lambda found: found | {'wte.weight': (4, 7)}, 'wrong shape: wte.weight is [4, 7], not [7, 4]'),
    (lambda found: {}, 'missing wte.weight, h.0.ln_1.weight, h.0.ln_1.bias'),
    (
      lambda found: found | {f'extra.{i}': () for i in range(6)},
      'unexpected extra.0, extra.1, extra.2, extra.3 and 2 more',
    ),
  ],
)
def test_every_fault_is_in_one_line(change, message):
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    check_names('file', change(dict(EXPECTED)), EXPECTED)
  assert '\n' not in str(error.value)


def test_long_lists_are_cut():
  assert listed('abcd') == 'a, b, c, d'
  assert listed('abcdefg') == 'a, b, c, d and 3 more'
