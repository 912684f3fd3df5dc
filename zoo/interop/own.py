"""Our own layout, for modules that no one else has: flat names, and the module's fields as JSON.

Tensors are named by collection and path: 'params/Conv_0/kernel', 'batch_stats/BatchNorm_0/mean'.
"""

import dataclasses
import inspect
import json
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from zoo import models, paths
from zoo.names import unknown
from zoo.types import PyTree

MODEL_TYPE = 'zoo'
NOT_SAVED = ('parent', 'name', 'axis_name')  # of Linen, and of the devices of a run


def to_own(module: nn.Module, variables: PyTree) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns named arrays, and a config that says what module they are of.

  Raises:
    ValueError: a module that is not among `zoo.models`, or a field that JSON cannot hold.
  """
  name = type(module).__name__
  if classes().get(name) is not type(module):
    raise unknown('module', name, classes())
  values = {f: getattr(module, f) for f in fields_of(type(module))}
  try:
    values = json.loads(json.dumps(values, allow_nan=False))
  except (TypeError, ValueError) as error:
    raise ValueError(f'the fields of {name} have no JSON form: {error}') from None
  tensors = {path: np.asarray(x) for path, x in paths.named_leaves(variables)}
  return tensors, {'model_type': MODEL_TYPE, 'module': name, 'fields': values}


def from_own(
  tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], **options: Any
) -> tuple[nn.Module, PyTree]:
  """Returns the module and its variables, {'params': ...} and what else it had.

  Args:
    tensors: arrays by name, from `to_own`.
    config: from `to_own`.
    **options: fields to be given other values, such as dropout or dtype.

  Raises:
    ValueError: an unknown module or field, or names that are no paths.
  """
  name, values = str(config.get('module')), config.get('fields')
  if name not in classes():
    raise unknown('module', name, classes())
  if not isinstance(values, dict):
    raise ValueError('config.json: fields must be an object')
  values = {**values, **options}
  for field in values:
    if field not in fields_of(classes()[name]):
      raise unknown(f'field of {name}', field, fields_of(classes()[name]))
  module = classes()[name](**{field: tupled(value) for field, value in values.items()})
  if not any(path.startswith('params/') for path in tensors):
    raise ValueError("no tensor's name starts with 'params/'")
  flat = {tuple(path.split('/')): x for path, x in tensors.items()}
  inner = {path[:n] for path in flat for n in range(1, len(path))}
  if both := sorted(inner & flat.keys()):
    raise ValueError(f'{"/".join(both[0])} is a tensor and a group of tensors')
  return module, jax.tree.map(jnp.asarray, flax.traverse_util.unflatten_dict(flat))


def classes() -> dict[str, type[nn.Module]]:
  """The modules there are, by name."""
  named = {name: getattr(models, name) for name in models.__all__}
  return {n: x for n, x in named.items() if inspect.isclass(x) and issubclass(x, nn.Module)}


def fields_of(module: type[nn.Module]) -> list[str]:
  return [f.name for f in dataclasses.fields(module) if f.name not in NOT_SAVED]


def tupled(value: Any) -> Any:
  """Lists as tuples: a module must be hashable, and JSON has no tuples."""
  return tuple(tupled(x) for x in value) if isinstance(value, list) else value
