"""Starting from what was trained before: a checkpoint, or another run."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo import paths
from zoo.interop.hub import PathLike, load_pretrained
from zoo.interop.names import check_names
from zoo.types import Array, PyTree

TABLE = 'token_embedding/embedding'  # the only one that models pad


def with_weights(
  module: nn.Module,
  source: PathLike,
  inputs: Sequence[jax.ShapeDtypeStruct],
  options: Mapping[str, Any],
  key: Array,
) -> tuple[nn.Module, PyTree]:
  """Loads a model that was trained before, with a fresh head if it is to have other classes.

  The head is all whose shape depends on `num_classes`. Nothing else is made anew: what the file
  lacks or has too much is refused.

  Args:
    module: what the model should be.
    source: see `hub.load_pretrained`.
    inputs: of the module, as shapes.
    options: fields that the caller asks for. All others are those of the file; they agree with the
      module's wherever its parameters depend on them.
    key: for the head.

  Returns:
    The module, and its variables.

  Raises:
    ValueError: as `hub.load_pretrained`; or one line of the parameters that do not fit.
  """
  loaded, variables, _ = load_pretrained(source)
  classes = getattr(loaded, 'num_classes', None)
  if classes is not None and 'num_classes' not in options:
    module = module.clone(num_classes=classes)
  shapes, fresh = shapes_of(module, inputs), set()
  if classes != getattr(module, 'num_classes', None):
    old, new = (
      {p: x.shape for p, x in paths.named_leaves(v['params'])} for v in (variables, shapes)
    )
    heads = head_of(module, inputs) | head_of(loaded, inputs)
    fresh = {path for path in heads if old.get(path) != new.get(path)}
  try:
    matched = match_variables(shapes, variables, [re.escape(path) for path in fresh])
  except ValueError as error:
    raise ValueError(f'{source}: {error}') from None

  def init(key: Array) -> dict[str, Array]:
    zeros = [jnp.zeros(x.shape, x.dtype) for x in inputs]
    params = module.init(key, *zeros, train=False)['params']
    return {path: x for path, x in paths.named_leaves(params) if path in fresh}

  made = jax.jit(init)(key) if fresh else {}  # of all else that init computes nothing is left
  value = lambda path, x: made.get(path.removeprefix('params/'), x)
  return loaded.clone(**options), jax.tree.map(jnp.asarray, paths.map_named(value, matched))


def head_of(module: nn.Module, inputs: Sequence[jax.ShapeDtypeStruct]) -> set[str]:
  """The paths of parameters that would not be the same if there were one more class."""
  one_more = module.clone(num_classes=getattr(module, 'num_classes', 0) + 1)
  leaves = [
    {(path, x.shape) for path, x in paths.named_leaves(shapes_of(m, inputs)['params'])}
    for m in (module, one_more)
  ]
  return {path for path, _ in leaves[0] ^ leaves[1]}


def shapes_of(module: nn.Module, inputs: Sequence[jax.ShapeDtypeStruct]) -> PyTree:
  """Shapes of a module's variables."""
  init = lambda *inputs: module.init(jax.random.key(0), *inputs, train=False)
  return jax.eval_shape(init, *inputs)


def match_variables(
  target: PyTree, loaded: PyTree, ignore: Sequence[str] = (), vocab_size: int = 0
) -> PyTree:
  """`match_params` of all collections: parameters, and batch statistics where there are some.

  Args:
    target: {'params': ...} and what else the new model has.
    loaded: likewise of the old one.
    ignore: over paths within the collections. So a pattern for a block is also for its statistics.
    vocab_size: see `match_params`.

  Raises:
    ValueError: as `match_params`.
  """
  collections = sorted({**loaded, **target}, key=lambda name: name != 'params')  # which says most
  leaves = {
    name: {p for tree in (target, loaded) for p, _ in paths.named_leaves(tree.get(name, {}))}
    for name in collections
  }
  paths.check_patterns('ignore', ignore, {p: 0 for found in leaves.values() for p in found})
  matched = {}
  for name, found in leaves.items():
    its = [pattern for pattern in ignore if any(paths.match(pattern, path) for path in found)]
    what, size = ('parameters', vocab_size) if name == 'params' else (name, 0)
    trees = (target.get(name, {}), loaded.get(name, {}))
    matched[name] = match_params(*trees, its, size, what)
  return {name: matched[name] for name in target}


def match_params(
  target: PyTree,
  loaded: PyTree,
  ignore: Sequence[str] = (),
  vocab_size: int = 0,
  what: str = 'parameters',
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
    what: they are, for messages.

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
    f'the loaded {what} do not fit the model',
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
