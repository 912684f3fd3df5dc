"""What layouts of torch modules have in common: names by rules, kernels as [out, in, ...]."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from zoo import paths
from zoo.interop import fields
from zoo.interop.names import check_names
from zoo.types import PyTree

Rules = Sequence[tuple[str, str]]

# Hugging Face's names of activations that we have, the usual one of each first.
ACTIVATIONS = {
  'gelu': 'gelu_exact',
  'gelu_new': 'gelu',
  'gelu_pytorch_tanh': 'gelu',
  'relu': 'relu',
  'silu': 'silu',
  'swish': 'swish',
}


def to_params(what: str, found: Mapping[str, np.ndarray], shapes: PyTree, rules: Rules) -> PyTree:
  """Makes parameters, or collections of variables, float32, of tensors.

  Args:
    what: whose tensors they are, for messages.
    found: arrays by name.
    shapes: of the parameters.
    rules: see `name_of`.

  Raises:
    ValueError: missing, unexpected or misshapen tensors.
  """
  names = {path: name_of(path, rules) for path, _ in paths.named_leaves(shapes)}
  expected = {
    names[path]: tuple(x.shape[axis] for axis in torch_axes(path, x.ndim))
    for path, x in paths.named_leaves(shapes)
  }
  check_names(f'{what} tensors', {name: x.shape for name, x in found.items()}, expected)
  flat = {
    path: jnp.asarray(
      found[name].transpose(np.argsort(torch_axes(path, found[name].ndim))), jnp.float32
    )
    for path, name in names.items()
  }
  return flax.traverse_util.unflatten_dict(flat, sep='/')


def to_tensors(what: str, params: PyTree, shapes: PyTree, rules: Rules) -> dict[str, np.ndarray]:
  """Makes tensors, float32, of parameters; the inverse of `to_params`.

  Raises:
    ValueError: missing, unexpected or misshapen parameters.
  """
  flat = dict(paths.named_leaves(params))
  shape_of = lambda named: {path: x.shape for path, x in named}
  check_names(f'{what} parameters', shape_of(flat.items()), shape_of(paths.named_leaves(shapes)))
  tensors = {}
  for path, x in flat.items():
    x = np.asarray(x, np.float32)
    tensors[name_of(path, rules)] = np.ascontiguousarray(x.transpose(torch_axes(path, x.ndim)))
  return tensors


def name_of(path: str, rules: Rules) -> str:
  """A tensor's name from a parameter's path, by each (pattern, replacement) in turn."""
  for pattern, replacement in rules:
    path = re.sub(pattern, replacement, path)
  return path


def torch_axes(path: str, ndim: int) -> tuple[int, ...]:
  """Where torch has the axes of a parameter: a kernel [..., in, out] is [out, in, ...] there."""
  axes = tuple(range(ndim))
  return axes[-1:] + axes[-2:-1] + axes[:-2] if path.endswith('/kernel') else axes


def shapes_of(module: Any, *args: Any, method: Any = None) -> PyTree:
  """Shapes of a module's parameters, without making any."""
  init = lambda: module.init(jax.random.key(0), *args, method=method)
  return jax.eval_shape(init)['params']


def merge(found: dict[str, np.ndarray], aliases: Mapping[str, str]) -> None:
  """Removes second names of tied tensors; where there is but the second name, it becomes the first.

  Raises:
    ValueError: a tensor that differs from the one it should be tied to.
  """
  for alias, name in aliases.items():
    if alias in found:
      tensor = found.pop(alias)
      if not np.array_equal(found.setdefault(name, tensor), tensor):
        raise ValueError(f'{alias} is not {name}: only tied ones are supported')


def activation(config: Mapping[str, Any], name: str, default: str) -> str:
  """Our name of the activation in a field of config.json.

  Raises:
    ValueError: one that we do not have.
  """
  fields.only(config, name, tuple(ACTIVATIONS), default)
  return ACTIVATIONS[config.get(name, default)]


def their_activation(name: str) -> str:
  """Hugging Face's name of our activation.

  Raises:
    NotImplementedError: one that it does not have.
  """
  for theirs, ours in ACTIVATIONS.items():
    if ours == name:
      return theirs
  raise NotImplementedError(f'no published layout has activation {name!r}')


def token_id(config: Mapping[str, Any], name: str, default: int) -> int:
  """The field that says which token has a role; the default where it is absent or null.

  Raises:
    ValueError: it is not a whole number.
  """
  value = config.get(name)
  if value is None:
    return default
  if not isinstance(value, int) or isinstance(value, bool) or value < 0:
    raise ValueError(f'config.json: {name} must be a token, not {value!r}')
  return value


def num_layers(config: Mapping[str, Any], name: str, found: Mapping[str, Any]) -> int:
  """The field that says how many layers there are: not more than tensors, as a damaged one might.

  Raises:
    ValueError: it is something else.
  """
  value = fields.size(config, name)
  if value > len(found):
    raise ValueError(f'config.json: {name} = {value}, but there are {len(found)} tensors')
  return value
