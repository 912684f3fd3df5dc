"""Heads that are taken out of the attentions of a network, which leaves a smaller dense one.

For networks whose attentions have the parameters of `layers.MultiHeadAttention` ('query', 'key',
'value' and 'out') or of `models.GPT2` ('qkv' and 'attention_out'), wherever they stand: of ViT,
BERT, GPT-2 and the Transformer. What is left is such a network with fewer heads of the same size,
see its `head_dim`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo.names import unknown
from zoo.types import PyTree

CRITERIA = ('l1', 'l2')


class Maps(NamedTuple):
  """The names of an attention's linear maps: to queries, keys and values; and from the heads."""

  inputs: tuple[str, ...]
  out: str


LAYOUTS = (Maps(('query', 'key', 'value'), 'out'), Maps(('qkv',), 'attention_out'))
# (path, the linear maps of an attention by name, what they are called) -> other ones.
Change = Callable[[str, dict[str, Any], Maps], dict[str, Any]]


class Slim(NamedTuple):
  """A network without some of its heads.

  Attributes:
    variables: {'params': ...}, and what other collections there were.
    num_heads: of each attention.
    head_dim: channels of a head.
    kept: by the path of each attention the heads that are left, int [num_heads], in their order. A
      layer of stacked ones ends the path by its number.
  """

  variables: PyTree
  num_heads: int
  head_dim: int
  kept: dict[str, np.ndarray]


def slim(variables: PyTree, keep: float, num_heads: int, *, by: str = 'l2') -> Slim:
  """Keeps a share of the heads of each attention: those that matter most, as many in each.

  All others are cut out of the maps to queries, keys and values, and out of the map that reads
  them. What is left computes what the whole network does with these heads silent, see `masked`.

  Args:
    variables: {'params': ...} and other collections.
    keep: share of the heads, in (0, 1]; at least one is kept.
    num_heads: H, of every attention.
    by: 'l2' or 'l1', see `scores`.

  Raises:
    ValueError: an option out of its range, or a network without attention.

  References:
    Michel et al. 2019, Are Sixteen Heads Really Better than One? Voita et al. 2019, Analyzing
    Multi-Head Self-Attention. They choose by gradients, and by gates that are trained; here it is
    by weights, which needs no data.
  """
  if not 0 < keep <= 1:
    raise ValueError(f'keep must be in (0, 1], not {keep}')
  if by not in CRITERIA:
    raise unknown('criterion', by, CRITERIA)
  count = max(1, round(keep * num_heads))
  kept: dict[str, np.ndarray] = {}
  sizes: set[int] = set()

  def cut(path: str, maps: dict[str, Any], names: Maps) -> dict[str, Any]:
    score = scores(maps, names, num_heads, by)
    kept[path] = heads = np.sort(np.argsort(-score, kind='stable')[:count])
    kernel = maps[names.out]['kernel']  # [H N, D]
    sizes.add(len(kernel) // num_heads)
    read = kernel.reshape(num_heads, -1, kernel.shape[-1])[heads].reshape(-1, kernel.shape[-1])

    def fewer(x: np.ndarray) -> np.ndarray:  # [..., 3 H N], or of one of the three
      split = x.reshape(*x.shape[:-1], 3 // len(names.inputs), num_heads, -1)
      return split[..., heads, :].reshape(*x.shape[:-1], -1)

    inputs = {name: jax.tree.map(fewer, maps[name]) for name in names.inputs}
    return inputs | {names.out: {**maps[names.out], 'kernel': read}}

  params = changed(variables['params'], cut)
  if not kept:
    raise ValueError('only a network with attention has heads to take out; it has none')
  return Slim({**variables, 'params': params}, count, sizes.pop(), kept)


def scores(maps: dict[str, Any], names: Maps, num_heads: int, by: str) -> np.ndarray:
  """How much each head can write, float64 [H], by the product of its value and output matrices.

  That is the [D, D] matrix by which what a head attends to joins the residual. 'l2' is the root of
  the sum of its squares, 'l1' the sum of its absolute values.

  Raises:
    ValueError: heads that do not divide the channels.
  """
  write = np.asarray(maps[names.out]['kernel'], np.float64)
  if num_heads < 1 or len(write) % num_heads:
    raise ValueError(f'{num_heads} heads do not divide {len(write)} channels')
  read = np.asarray(maps[names.inputs[-1]]['kernel'], np.float64)[:, -len(write) :]  # of the values
  read = read.reshape(len(read), num_heads, -1)
  write = write.reshape(num_heads, -1, write.shape[-1])
  products = (read[:, head] @ write[head] for head in range(num_heads))
  size = np.abs if by == 'l1' else np.square
  found = np.array([size(product).sum() for product in products])
  return found if by == 'l1' else np.sqrt(found)


def masked(variables: PyTree, kept: Mapping[str, np.ndarray], num_heads: int) -> PyTree:
  """The whole network with all but the kept heads silent: nothing reads them."""

  def silence(path: str, maps: dict[str, Any], names: Maps) -> dict[str, Any]:
    out = maps[names.out]
    keeps = np.isin(np.arange(num_heads), kept[path])
    rows = np.repeat(keeps, len(out['kernel']) // num_heads)
    return maps | {names.out: {**out, 'kernel': out['kernel'] * rows[:, None]}}

  return {**variables, 'params': changed(variables['params'], silence)}


def changed(tree: PyTree, change: Change, path: str = '') -> PyTree:
  """The parameters with other linear maps in every attention.

  Layers that are stacked (`GPT2.scan_layers`) are taken apart and put together again.
  """
  if not isinstance(tree, Mapping):
    return tree
  new = {name: changed(x, change, f'{path}/{name}'.lstrip('/')) for name, x in tree.items()}
  for names in LAYOUTS:
    if not {*names.inputs, names.out} <= tree.keys():
      continue
    maps = {name: jax.tree.map(np.asarray, tree[name]) for name in (*names.inputs, names.out)}
    kernel = maps[names.out]['kernel']
    if kernel.ndim == 2:
      new |= change(path, maps, names)
    else:
      layers = [
        change(f'{path}/{i}', jax.tree.map(lambda x, i=i: x[i], maps), names)
        for i in range(len(kernel))
      ]
      new |= jax.tree.map(lambda *leaves: np.stack(leaves), *layers)
  return new
