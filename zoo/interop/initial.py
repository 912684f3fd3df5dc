"""Starting a run from parameters that were trained before: a checkpoint, or another run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo import paths
from zoo.interop.names import check_names
from zoo.types import PyTree

TABLE = 'token_embedding/embedding'  # the only one that models pad


def match_params(
  target: PyTree, loaded: PyTree, ignore: Sequence[str] = (), vocab_size: int = 0
) -> PyTree:
  """Places loaded values in a freshly initialised tree; nothing stays untrained unasked.

  Layers 'blocks_0', 'blocks_1', ... of the one may be stacked as 'blocks' in the other.

  Args:
    target: parameters of the new model.
    loaded: parameters of the old one.
    ignore: regular expressions over whole paths of either ('head/.*'): such a parameter of the
      target keeps its value, and one that was loaded is dropped.
    vocab_size: of both models, if they may have padded TABLE to different sizes: rows behind it are
      not loaded. 0 if not.

  Returns:
    A tree like the target and of its types, with NumPy arrays where values were loaded.

  Raises:
    ValueError: one line that lists what is missing, unexpected or of another shape; or a pattern
      that matches nothing.
  """
  old, new = dict(paths.named_leaves(loaded)), dict(paths.named_leaves(target))
  paths.check_patterns('ignore', ignore, old | new)
  ignored = [p for p in old | new if any(paths.match(pattern, p) for pattern in ignore)]
  new = {path: x for path, x in new.items() if path not in ignored}
  old = {path: x for path, x in old.items() if path not in ignored}
  old = relayered(old, new)
  if vocab_size:
    old = {path: repadded(path, x, new, vocab_size) for path, x in old.items()}
  check_names(
    'the loaded parameters do not fit the model',
    {path: x.shape for path, x in old.items()},
    {path: x.shape for path, x in new.items()},
  )
  return paths.map_named(lambda p, x: np.asarray(old[p], x.dtype) if p in old else x, target)


def relayered(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
  """Stacks or unstacks layers where the new tree has them otherwise."""
  old = dict(old)
  for path in [p for p in old if p.startswith('blocks/') and p not in new]:
    leaves, rest = old.pop(path), path.removeprefix('blocks/')
    old |= {f'blocks_{i}/{rest}': x for i, x in enumerate(leaves)}
  for path in [p for p in new if p.startswith('blocks/') and p not in old]:
    layers = [f'blocks_{i}/{path.removeprefix("blocks/")}' for i in range(len(new[path]))]
    if all(layer in old for layer in layers):
      old[path] = np.stack([old.pop(layer) for layer in layers])
  return old


def repadded(path: str, old: Any, new: dict[str, Any], vocab_size: int) -> Any:
  """The rows of a token table up to `vocab_size`, and behind them those of the new one."""
  table = new.get(path)
  if table is None or old.shape == table.shape or path != TABLE:
    return old
  if min(len(old), len(table)) < vocab_size or old.shape[1:] != table.shape[1:]:
    return old
  return np.concatenate([old[:vocab_size], table[vocab_size:]])
