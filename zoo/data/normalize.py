"""Standardisation: statistics of the training split, their use, and the file that keeps them.

Both read the last axis: channels of an image [H, W, C], features of a vector [F]. uint8 counts as
value / 255 everywhere.
"""

import concurrent.futures
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

Statistics = dict[str, np.ndarray]
_CHUNK = 256  # examples whose sums are taken at once


def statistics(records: Any, key: str, workers: int = 0) -> Statistics:
  """Mean and standard deviation per channel or feature, in one pass that holds few examples.

  Args:
    records: the training split: records, or a dict of arrays [N, ...].
    key: the field, e.g. 'image' [H, W, C] (H and W may differ) or 'features' [F].
    workers: threads that decode records.

  Returns:
    {'mean': float32 [C], 'std': float32 [C]}, the population's; std is 1 where there is no spread.

  Raises:
    ValueError: if there are no examples, or values that are not finite.

  References:
    Chan, Golub, LeVeque, "Algorithms for Computing the Sample Variance" (1983), equation 2.1.
  """
  arrays = records[key] if isinstance(records, Mapping) else None
  size = len(records) if arrays is None else len(arrays)
  if size == 0:
    raise ValueError(f"no examples to take statistics of '{key}' from")

  def chunk(start):
    stop = min(start + _CHUNK, size)
    if arrays is not None:
      return _moments(arrays[start:stop])
    return functools.reduce(
      _merge, (_moments(np.asarray(records[i][key])) for i in range(start, stop))
    )

  with concurrent.futures.ThreadPoolExecutor(max(workers, 1)) as pool:
    count, mean, squares = functools.reduce(_merge, pool.map(chunk, range(0, size, _CHUNK)))
  std = np.sqrt(squares / count)
  if not np.isfinite(std).all():
    raise ValueError(f"'{key}' has values that are not finite: there are no statistics of it")
  # A spread that float32 does not resolve is that of a constant.
  std = np.where(std > np.finfo(np.float32).eps * np.abs(mean), std, 1)
  return {'mean': mean.astype(np.float32), 'std': std.astype(np.float32)}


def standardize(stats: Mapping[str, np.ndarray], key: str) -> Callable[[dict], dict]:
  """Builds batch -> batch whose field `key` is float32 (x - mean) / std; jittable."""

  def apply(batch):
    x = scale(key)(batch)[key]
    if x.shape[-1] != len(stats['mean']):
      raise ValueError(
        f"'{key}' has {x.shape[-1]} channels or features, but the statistics are of "
        f'{len(stats["mean"])}'
      )
    shape = (1,) * (x.ndim - 1) + (-1,)
    mean, std = stats['mean'].reshape(shape), stats['std'].reshape(shape)
    return {**batch, key: (x - mean) / std}

  return apply


def scale(key: str) -> Callable[[dict], dict]:
  """Builds batch -> batch whose field `key` is float32, uint8 brought from 0..255 to [0, 1]."""

  def apply(batch):
    x = jnp.asarray(batch[key])
    factor = 255 if x.dtype == jnp.uint8 else 1
    return {**batch, key: x.astype(jnp.float32) / factor}

  return apply


def save(stats: Mapping[str, np.ndarray], path: str | os.PathLike[str]) -> None:
  """Writes statistics as JSON, whole or not at all; `load` gives the same bits back."""
  text = json.dumps({name: [float(v) for v in values] for name, values in stats.items()}, indent=2)
  partial = Path(f'{os.fspath(path)}.partial')
  partial.write_text(text + '\n')
  partial.replace(path)


def load(path: str | os.PathLike[str]) -> Statistics:
  """Reads what `save` wrote.

  Args:
    path: the file.

  Returns:
    {'mean': float32 [C], 'std': float32 [C]}.

  Raises:
    ValueError: if the file is missing or is not such statistics; the message names it.
  """
  try:
    content = json.loads(Path(path).read_text())
    stats = {name: np.asarray(content[name], np.float32) for name in ('mean', 'std')}
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'{path}: cannot read normalization statistics: {type(error).__name__}: {error}'
    ) from error
  mean, std = stats['mean'], stats['std']
  if mean.ndim != 1 or mean.shape != std.shape or mean.size == 0:
    raise ValueError(f"{path}: 'mean' and 'std' must be lists of one length")
  if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
    raise ValueError(f"{path}: 'mean' and 'std' must be finite, and 'std' positive")
  return stats


def _moments(x: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
  """(count, mean, sum of squared deviations) over all axes but the last, in float64."""
  rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
  if x.dtype == np.uint8:
    rows /= 255
  mean = rows.mean(axis=0)
  return len(rows), mean, np.square(rows - mean).sum(axis=0)


def _merge(a, b):
  """Joins the moments of two sets of values."""
  count = a[0] + b[0]
  delta = b[1] - a[1]
  mean = a[1] + delta * (b[0] / count)
  return count, mean, a[2] + b[2] + np.square(delta) * (a[0] * b[0] / count)
