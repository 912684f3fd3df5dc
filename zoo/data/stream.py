"""Records into training data: collected whole, streamed without end, or passed once.

Records are a random-access sequence of examples (`zoo/data/tfds.py`, `zoo/data/folder.py`). What
fits in memory is `collect`ed and put on the device; what does not is decoded on the host, batch by
batch, in an order that Grain computes: batch i depends on the seed and i alone, so "where the data
is" is one integer, whatever was killed in between.
"""

import concurrent.futures
import functools
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np

from zoo.types import Source

KEYS = ('image', 'label')
_NARROW = {np.dtype(np.int64): np.int32, np.dtype(np.float64): np.float32}


class Records(Protocol):
  """A random-access sequence of examples, each a dict of numpy values."""

  @property
  def name(self) -> str:
    """What messages call the data."""
    ...

  @property
  def num_classes(self) -> int | None:
    """Every 'label' is in [0, num_classes); None if there are no classes."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> dict[str, Any]: ...

  def where(self, index: int, /) -> str:
    """Names a record in a message: its file."""
    ...


def collect(
  records: Records, keys: Sequence[str] = KEYS, workers: int = 0
) -> dict[str, np.ndarray]:
  """Decodes all records once, for data that fits in memory.

  Args:
    records: N examples of one shape.
    keys: the fields to take; they must be numbers.
    workers: as in `stream`.

  Returns:
    An array [N, ...] per key; 64-bit values become 32-bit, as JAX has them.

  Raises:
    ValueError: if a record has another shape than the first, a label outside [0, num_classes), or
      a value that is not finite; the message names the record.
  """
  return _reader(records, keys, workers)(np.arange(len(records)))


def stream(
  records: Records,
  batch_size: int,
  *,
  keys: Sequence[str] = KEYS,
  shuffle: bool = True,
  shard: tuple[int, int] = (0, 1),
  workers: int = 0,
) -> Source:
  """An endless source of batches that are decoded on the host, reshuffled in every epoch.

  The state is {'seed': uint32 [], 'index': int64 []}: batch `index` of the order that the key given
  to `init` determines. Bad records raise as in `collect`, when they are read.

  Args:
    records: examples of one shape.
    batch_size: examples per batch, of this process. A batch may span two epochs.
    keys: the fields to take.
    shuffle: whether the order is random; otherwise it is that of the records.
    shard: (index, count): this process draws from records index, index + count, ... only.
    workers: threads that decode one batch. They help where decoding releases the GIL for long, as
      for photographs (on 2 cores 1.3 times); small pictures are faster with 0 (no threads).

  Returns:
    The source.

  Raises:
    ValueError: if there are fewer records than `batch_size`, or no such field.
  """
  index, count = shard
  available = len(range(index, len(records), count))
  if not 0 < batch_size <= available:
    raise ValueError(
      f'batch size {batch_size} does not fit {records.name}: '
      f'{available} records' + (f' for process {index} of {count}' if count > 1 else '')
    )
  read = _reader(records, keys, workers)

  @functools.lru_cache(maxsize=1)
  def order(seed: int) -> Any:
    import grain

    positions = grain.MapDataset.range(len(records)).seed(seed)[index::count]
    positions = positions.shuffle() if shuffle else positions
    return positions.repeat().batch(batch_size)

  def init(key):
    return {'seed': np.asarray(jax.random.bits(key)), 'index': np.zeros((), np.int64)}

  def next_batch(state, params, data):
    del params, data
    batch = read(order(int(state['seed']))[int(state['index'])])
    return {'seed': state['seed'], 'index': np.asarray(int(state['index']) + 1, np.int64)}, batch

  return Source(_batch_spec(records, keys, batch_size), init, next_batch, on_device=False)


def one_pass(
  records: Records,
  batch_size: int,
  *,
  keys: Sequence[str] = KEYS,
  shard: tuple[int, int] = (0, 1),
  workers: int = 0,
) -> Source:
  """A source that goes through the records once and in order, for evaluation.

  Every batch has a field 'weight', float32 [batch_size]: 1 for an example, 0 for the zeros that
  fill the last batch. The state is {'index': int64 []}. Every process has the same `num_batches`.

  Args:
    records: as in `stream`.
    batch_size: as in `stream`.
    keys: as in `stream`.
    shard: as in `stream`.
    workers: as in `stream`.

  Returns:
    The source.
  """
  if batch_size < 1:
    raise ValueError(f'batch size must be positive, not {batch_size}')
  index, count = shard
  positions = np.arange(index, len(records), count)
  num_batches = -(-len(range(0, len(records), count)) // batch_size)
  read = _reader(records, keys, workers)
  spec = _batch_spec(records, keys, batch_size)
  spec['weight'] = jax.ShapeDtypeStruct((batch_size,), np.float32)

  def init(key):
    del key
    return {'index': np.zeros((), np.int64)}

  def next_batch(state, params, data):
    del params, data
    i = int(state['index'])
    if i >= num_batches:
      raise IndexError(f'{records.name}: the pass has {num_batches} batches, there is no batch {i}')
    chosen = positions[i * batch_size : (i + 1) * batch_size]
    batch = {leaf: np.zeros(spec[leaf].shape, spec[leaf].dtype) for leaf in spec}
    for leaf, values in read(chosen).items():
      batch[leaf][: len(chosen)] = values
    batch['weight'][: len(chosen)] = 1
    return {'index': np.asarray(i + 1, np.int64)}, batch

  return Source(spec, init, next_batch, on_device=False, num_batches=num_batches)


def _batch_spec(records, keys, batch_size) -> dict[str, jax.ShapeDtypeStruct]:
  return {
    key: jax.ShapeDtypeStruct((batch_size, *v.shape), _NARROW.get(v.dtype, v.dtype))
    for key, v in _first(records, keys).items()
  }


def _first(records: Records, keys: Sequence[str]) -> dict[str, np.ndarray]:
  """The fields of the first record, which fix the shapes and dtypes of all."""
  if len(records) == 0:
    raise ValueError(f'{records.name} has no records')
  example = records[0]
  for key in keys:
    if key not in example:
      raise ValueError(f"{records.name} has no field '{key}'; it has {', '.join(example)}")
    if np.asarray(example[key]).dtype.kind not in 'biuf':
      kind = type(example[key]).__name__
      raise ValueError(f"{records.name}: field '{key}' is {kind}, not numbers of one shape")
  return {key: np.asarray(example[key]) for key in keys}


def _reader(records: Records, keys: Sequence[str], workers: int):
  """Builds the function (record indices [B]) -> checked batch, decoded by `workers` threads."""
  first = _first(records, keys)
  pool = concurrent.futures.ThreadPoolExecutor(workers) if workers > 0 else None

  def fill(batch, rows, indices):
    for row, index in zip(rows, indices, strict=True):
      example = records[int(index)]
      for key, like in first.items():
        value = np.asarray(example[key])
        if value.shape != like.shape:
          raise ValueError(
            f"{records.where(int(index))}: '{key}' has shape {value.shape}, "
            f'but {records.where(0)} has {like.shape}'
          )
        batch[key][row] = value

  def read(indices):
    batch = {k: np.empty((len(indices), *v.shape), v.dtype) for k, v in first.items()}
    if pool is None:
      fill(batch, range(len(indices)), indices)
    else:
      parts = np.array_split(np.arange(len(indices)), workers)
      futures = [pool.submit(fill, batch, rows, indices[rows]) for rows in parts]
      for future in futures:
        future.result()
    return {key: _checked(records, key, values, indices) for key, values in batch.items()}

  return read


def _checked(records: Records, key: str, values: np.ndarray, indices: np.ndarray) -> np.ndarray:
  """Narrows `values` [B, ...] to 32 bits; refuses what is not finite or not a class."""
  with np.errstate(over='ignore'):  # a float64 beyond float32 becomes infinite, and is refused
    narrow = values.astype(_NARROW.get(values.dtype, values.dtype), copy=False)
  if values.dtype.kind == 'f':
    bad, rule = ~np.isfinite(narrow), 'must be finite'
  elif key == 'label' and records.num_classes is not None:
    bad = (values < 0) | (values >= records.num_classes)
    rule = f'must be in [0, {records.num_classes})'
  elif narrow is values:
    return values
  else:
    bad, rule = narrow != values, 'must fit in 32 bits'
  if bad.any():
    at = np.argwhere(bad)[0]
    raise ValueError(
      f"{records.where(int(indices[at[0]]))}: '{key}' is {values[tuple(at)]}, but {rule}"
    )
  return narrow
