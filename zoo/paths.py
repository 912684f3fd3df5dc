"""Parameters by name: paths such as 'Conv_0/kernel', patterns over them, and what is a weight."""

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax

from zoo.types import PyTree


def path_str(path: tuple) -> str:
  """The keys of a leaf's path, joined by '/'."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
  """Every leaf with its path, in the order of `jax.tree.leaves`."""
  return [(path_str(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def map_named(fn: Callable[[str, Any], Any], tree: PyTree) -> PyTree:
  """`jax.tree.map` of fn(path, leaf)."""
  return jax.tree_util.tree_map_with_path(lambda path, leaf: fn(path_str(path), leaf), tree)


def match(pattern: str, path: str) -> bool:
  """Whether the regular expression matches the *whole* path.

  So that 'Dense_1/.*' does not also take 'Dense_10/kernel'.
  """
  return re.fullmatch(pattern, path) is not None


def check_patterns(kind: str, patterns: Iterable[str], tree: PyTree) -> None:
  """Refuses a pattern that matches no leaf: what it was meant for would silently stay as it is.

  Args:
    kind: what the patterns are for, for the message.
    patterns: regular expressions over whole paths.
    tree: arrays, or their shapes.

  Raises:
    ValueError: naming the pattern and the path most like it.
  """
  paths = [path for path, _ in named_leaves(tree)]
  if not paths:  # optax.tree_map_params calls init with a stand-in that has no leaves
    return
  for pattern in patterns:
    try:
      found = any(match(pattern, path) for path in paths)
    except re.error as error:
      raise ValueError(f'{kind} pattern {pattern!r} is no regular expression: {error}') from None
    if not found:
      nearest = difflib.get_close_matches(pattern, paths, n=1, cutoff=0.0)[0]
      raise ValueError(
        f'{kind} pattern {pattern!r} matches no parameter; the nearest is {nearest!r}'
      )


def is_weight(path: str, leaf: Any) -> bool:
  """Whether a parameter is a weight: what decays and what an L1 or L2 penalty counts.

  Neither rule is enough alone. Fewer than two axes: a bias or a gain under whatever name. A name
  that ends in 'bias' or 'scale': one with more axes, such as the (heads, features) bias of an
  attention projection, or those of layers stacked along an axis by `nn.scan`.

  References:
    Goyal et al. 2017, Accurate, Large Minibatch SGD, section 5.1: no decay of the normalisation's
    parameters. He et al. 2019, Bag of Tricks for Image Classification, section 3.1: nor of biases.
  """
  return leaf.ndim >= 2 and not path.endswith(('bias', 'scale'))


def weight_mask(params: PyTree) -> PyTree:
  """`is_weight` of every leaf, as a tree of bool."""
  return map_named(is_weight, params)
