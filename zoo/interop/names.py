"""Parameter names that do not match, said in one line: what is missing, unexpected or misshapen."""

import difflib
from collections.abc import Iterable, Mapping

Shapes = Mapping[str, tuple[int, ...]]


def check_names(what: str, found: Shapes, expected: Shapes) -> None:
  """Refuses a set of parameters that is not exactly the one expected.

  Args:
    what: whose parameters they are and what they should fit, for the message.
    found: shapes by name, of what there is.
    expected: shapes by name, of what there should be.

  Raises:
    ValueError: one line that lists the missing names, each with the most similar of the unexpected
      ones; the unexpected names, likewise; and both shapes where they differ.
  """
  missing = [name for name in expected if name not in found]
  extra = [name for name in found if name not in expected]
  misshapen = [
    f'{name} is {shown(found[name])}, not {shown(expected[name])}'
    for name in expected
    if name in found and tuple(found[name]) != tuple(expected[name])
  ]
  faults = []
  if missing:
    faults.append(
      'missing ' + listed([name + nearest(name, extra) for name in missing[:4]], len(missing))
    )
  if extra:
    known = missing or list(expected)
    faults.append(
      'unexpected ' + listed([name + nearest(name, known) for name in extra[:4]], len(extra))
    )
  if misshapen:
    faults.append('wrong shape: ' + listed(misshapen))
  if faults:
    raise ValueError(f'{what}: {"; ".join(faults)}')


def nearest(name: str, candidates: Iterable[str]) -> str:
  """' (nearest: ...)', or nothing where no candidate is similar."""
  found = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
  return f' (nearest: {found[0]})' if found else ''


def listed(names: Iterable[str], total: int | None = None, limit: int = 4) -> str:
  """'a, b, c, d and 7 more'."""
  names = list(names)
  more = (len(names) if total is None else total) - limit
  return ', '.join(names[:limit]) + (f' and {more} more' if more > 0 else '')


def shown(shape: Iterable[int]) -> str:
  return '[' + ', '.join(str(size) for size in shape) + ']'
