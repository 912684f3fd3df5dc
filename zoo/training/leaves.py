"""The leaves of a checkpoint: their names, what they are, and what they are restored into."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.types import PyTree


def collect(state: PyTree, source_state: PyTree) -> dict[tuple[str, ...], Any]:
  """The leaves of both trees by path, in order: ('state', 'params', 'Dense_0', 'kernel')."""
  leaves = {}
  for root, tree in (('state', state), ('source', source_state)):
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
      name = (root, *(jax.tree_util.keystr((key,), simple=True) for key in path))
      if name in leaves:
        raise ValueError(f'two leaves are named {"/".join(name)}')
      leaves[name] = leaf
  return leaves


def kind_of(leaf: Any) -> str | None:
  """What a leaf is, or is to become; None for a ShapeDtypeStruct that does not say."""
  if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
    return 'jax' if getattr(leaf, 'sharding', None) is not None else None
  if isinstance(leaf, np.ndarray | np.generic):
    return 'numpy' if isinstance(leaf, np.ndarray) else 'scalar'
  return type(leaf).__name__


def spec_of(name: tuple[str, ...], leaf: Any) -> str:
  """Dtype and shape of a leaf: 'float32[3,4]'.

  Raises:
    ValueError: it is no array of numbers.
  """
  dtype = leaf.dtype if hasattr(leaf, 'dtype') else np.asarray(leaf).dtype
  if not any(jnp.issubdtype(dtype, t) for t in (np.number, np.bool_, jax.dtypes.prng_key)):
    raise ValueError(f'{"/".join(name)} cannot be saved: it is a {type(leaf).__name__} ({dtype})')
  return f'{dtype}[{",".join(map(str, np.shape(leaf)))}]'


def difference(saved: dict[str, str], targets: dict[tuple[str, ...], Any]) -> str:
  """Says what of the leaves asked for differs first from those saved; '' if nothing does."""
  wanted = {'/'.join(name): spec_of(name, leaf) for name, leaf in targets.items()}
  for name, spec in wanted.items():
    if name not in saved:
      return f'it has no {name}, expected {spec}'
    if spec != saved[name].split(' ')[1]:
      return f'{name} is {saved[name].split(" ")[1]}, expected {spec}'
  extra = next((name for name in saved if name not in wanted), None)
  return f'it has {extra}, {saved[extra].split(" ")[1]}, not expected' if extra else ''


def blank(leaf: Any, kind: str) -> Any:
  """What Orbax is to restore into; without elements, the leaf itself."""
  if kind != 'jax':
    return np.empty(np.shape(leaf), getattr(leaf, 'dtype', type(leaf)))
  sharding = getattr(leaf, 'sharding', None)
  sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  if leaf.size == 0:
    return jax.device_put(np.empty(leaf.shape, leaf.dtype), sharding)
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def finish(value: Any, kind: str) -> Any:
  if kind in ('jax', 'numpy'):
    return value
  return value[()] if kind == 'scalar' else value.item()
