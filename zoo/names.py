"""The one way in which the zoo says that it does not know a name."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, valid: Iterable[str]) -> ValueError:
  """Returns the error for a name that is not valid: one line with the nearest valid one.

  Args:
    kind: what it should have named: 'model', 'optimizer option'.
    name: what was asked for.
    valid: all names there are.
  """
  valid = sorted(valid)
  near = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
  hint = f'did you mean {near[0]!r}? ' if near else ''
  shown = ', '.join(valid[:20]) + (', ...' if len(valid) > 20 else '')
  return ValueError(f'unknown {kind} {name!r}; {hint}there are: {shown}')
