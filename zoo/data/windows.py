"""Windows of T tokens over a corpus that is one long row of them, on the device or memory-mapped.

Each window predicts T tokens, each from those before it in the window and the one before the
window. The row is a circle: what precedes the first token is the last, which ends a document.

  row      a b . c d e .      ('.' is the end of a document)
  targets  b . c | d e . | a  (T = 3, offset 1; what is missing in the last window is masked)
  tokens   a b . | c d e | .

So in one pass every token is a target exactly once, wherever on the circle it begins.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.data.arrays import mix, permute
from zoo.data.corpus import Tokens
from zoo.types import Array, Batch, PyTree, Source

MOST_ON_DEVICE = 10**9  # tokens: two positions are added in int32


def epochs(
  tokens: Tokens,
  length: int,
  batch_size: int,
  *,
  on_device: bool = True,
  random_offset: bool = True,
  eos_id: int | None = None,
  shard: tuple[int, int] = (0, 1),
) -> Source:
  """An endless source: in every epoch each token is a target once, in windows of random order.

  A batch is {'tokens': int32 [B, T], 'targets': int32 [B, T]}, with 'mask', float32 [B, T], if T
  does not divide the number of tokens, and with 'segments', int32 [B, T], if documents are packed.
  A batch may hold the end of one epoch and the start of another.

  On the device the state is {key: typed key [], epoch: int32 [], offset: int32 [], slot: int32 [B]}
  as in `zoo.data.arrays`, where offset counts windows. On the host it is {seed: uint32 [], index:
  int64 []} as in `zoo.data.stream`, and only the pages that hold the windows of a batch are read.

  Args:
    tokens: at least one window.
    length: T.
    batch_size: B.
    on_device: whether the corpus is put on the device whole.
    random_offset: whether each epoch begins at a random token, so that windows begin elsewhere.
    eos_id: packs documents: 'segments' then number those within a window 1, 2, ... (0 where
      nothing counts), and attention shall not cross them. The end of a document belongs, as an
      input, to the document whose first token it predicts. None does not pack.
    shard: (index, count): this process draws windows index, index + count, ... only. On the host.

  Raises:
    ValueError: fewer tokens than a window or windows than processes, or too many for the device.
  """
  size = check(tokens, length, batch_size, on_device)
  row = np.asarray(tokens.ids)  # of a memory map, a view
  if size < length:
    raise ValueError(f'{tokens.name} has {size} tokens, which is less than one window of {length}')
  num_windows = math.ceil(size / length)
  spec = batch_spec(size, length, batch_size, eos_id)

  def init(key: Array) -> PyTree:
    zero = jnp.zeros((), jnp.int32)
    slot = jnp.arange(batch_size, dtype=jnp.int32)
    return {'key': key, 'epoch': zero, 'offset': zero, 'slot': slot}

  def starts(key: Array, epoch: Array) -> Array:
    word = jax.random.bits(jax.random.fold_in(key, 1), (), jnp.uint32)
    return (mix(word ^ mix(epoch.astype(jnp.uint32))) % np.uint32(size)).astype(jnp.int32)

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del params
    position = state['offset'] + state['slot']
    epoch = state['epoch'] + position // num_windows
    window = permute(state['key'], epoch, position % num_windows, num_windows)
    start = starts(state['key'], epoch) if random_offset else jnp.zeros_like(window)
    end = state['offset'] + batch_size
    state = state | {
      'epoch': state['epoch'] + end // num_windows,
      'offset': end % num_windows,
    }
    return state, cut(jnp, data['ids'], window, start, length, eos_id)

  if on_device:
    return Source(spec, init, next_batch, on_device=True, data={'ids': row})

  own = range(shard[0], num_windows, shard[1])
  if not own:
    raise ValueError(f'{tokens.name} has {num_windows} windows for {shard[1]} processes')

  @functools.lru_cache(maxsize=1)
  def order(seed: int) -> Any:
    import grain

    return grain.MapDataset.range(num_windows).seed(seed)[shard[0] :: shard[1]].shuffle().repeat()

  def init_host(key: Array) -> PyTree:
    return {'seed': np.asarray(jax.random.bits(key)), 'index': np.zeros((), np.int64)}

  def next_on_host(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del params, data
    seed, index = int(state['seed']), int(state['index'])
    positions = range(index * batch_size, (index + 1) * batch_size)
    window = np.array([order(seed)[i] for i in positions], np.int64)
    start = np.zeros_like(window)
    if random_offset:
      draw = lambda epoch: np.random.default_rng([seed, epoch]).integers(size)
      start = np.array([draw(i // len(own)) for i in positions], np.int64)
    batch = cut(np, row, window, start, length, eos_id)
    return {'seed': state['seed'], 'index': np.asarray(index + 1, np.int64)}, batch

  return Source(spec, init_host, next_on_host, on_device=False)


def one_pass(
  tokens: Tokens,
  length: int,
  batch_size: int,
  *,
  on_device: bool = True,
  eos_id: int | None = None,
  shard: tuple[int, int] = (0, 1),
) -> Source:
  """A source for evaluation: every token is a target once, in order.

  Batches are those of `epochs`, with 'weight', float32 [B]: 0 for the windows that fill up the last
  batch. The state is {offset: int32 [], slot: int32 [B]} on the device, {index: int64 []} on the
  host. Every process has the same `num_batches`.

  Args:
    tokens: at least one.
    length: as in `epochs`.
    batch_size: as in `epochs`.
    on_device: as in `epochs`.
    eos_id: as in `epochs`.
    shard: as in `epochs`.

  Raises:
    ValueError: no tokens, or too many for the device.
  """
  size = check(tokens, length, batch_size, on_device)
  row = np.asarray(tokens.ids)
  num_windows = math.ceil(size / length)
  spec = batch_spec(size, length, batch_size, eos_id)
  spec['weight'] = jax.ShapeDtypeStruct((batch_size,), np.float32)
  index, count = (0, 1) if on_device else shard
  num_batches = math.ceil(math.ceil(num_windows / count) / batch_size)

  def batch_of(xp: Any, row: Any, window: Any) -> Batch:
    exists = window < num_windows
    batch = cut(xp, row, xp.where(exists, window, 0), xp.zeros_like(window), length, eos_id)
    return batch | {'weight': exists.astype(np.float32)}

  def init(key: Array) -> PyTree:
    del key
    return {'offset': jnp.zeros((), jnp.int32), 'slot': jnp.arange(batch_size, dtype=jnp.int32)}

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del params
    batch = batch_of(jnp, data['ids'], state['offset'] + state['slot'])
    return state | {'offset': state['offset'] + batch_size}, batch

  def init_host(key: Array) -> PyTree:
    del key
    return {'index': np.zeros((), np.int64)}

  def next_on_host(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del params, data
    i = int(state['index'])
    if i >= num_batches:
      raise IndexError(f'{tokens.name}: the pass has {num_batches} batches, there is no batch {i}')
    window = index + count * (i * batch_size + np.arange(batch_size))
    return {'index': np.asarray(i + 1, np.int64)}, batch_of(np, row, window)

  if on_device:
    return Source(spec, init, next_batch, True, data={'ids': row}, num_batches=num_batches)
  return Source(spec, init_host, next_on_host, False, num_batches=num_batches)


def check(tokens: Tokens, length: int, batch_size: int, on_device: bool) -> int:
  """The number of tokens, after refusing what cannot be cut into windows."""
  size = len(tokens.ids)
  if size == 0:
    raise ValueError(f'{tokens.name} is empty: it has no tokens')
  for name, value in (('window length', length), ('batch size', batch_size)):
    if value < 1:
      raise ValueError(f'{name} must be at least 1, not {value}')
  if on_device and size > MOST_ON_DEVICE:
    raise ValueError(
      f'{tokens.name} has {size:,} tokens, too many for the device: stream it (on_device=False)'
    )
  return size


def batch_spec(size: int, length: int, batch_size: int, eos_id: int | None) -> dict[str, Any]:
  shape = (batch_size, length)
  spec = {name: jax.ShapeDtypeStruct(shape, np.int32) for name in ('tokens', 'targets')}
  if size % length:
    spec['mask'] = jax.ShapeDtypeStruct(shape, np.float32)
  if eos_id is not None:
    spec['segments'] = jax.ShapeDtypeStruct(shape, np.int32)
  return spec


def cut(xp: Any, row: Any, window: Any, start: Any, length: int, eos_id: int | None) -> Batch:
  """Windows out of the circle.

  Args:
    xp: numpy or jax.numpy, which `row`, `window` and `start` belong to.
    row: [N], the tokens.
    window: [B], which windows.
    start: [B], where on the circle the target of window 0 lies.
    length: T.
    eos_id: as in `epochs`.
  """
  size = row.shape[0]
  first = window * length
  before = (start + (size - 1)) % size  # the target of window 0 is preceded by this
  position = (before + first)[:, None] + xp.arange(length + 1, dtype=window.dtype)[None, :]
  values = row[position % size].astype(np.int32)  # [B, T + 1]
  batch = {'tokens': values[:, :-1], 'targets': values[:, 1:]}
  valid = first[:, None] + xp.arange(length, dtype=window.dtype)[None, :] < size
  if size % length:
    batch['mask'] = valid.astype(np.float32)
  if eos_id is not None:
    begins = (batch['tokens'] == eos_id).astype(np.int32)
    segments = 1 + xp.cumsum(begins, axis=1, dtype=np.int32) - begins[:, :1]
    batch['segments'] = xp.where(valid, segments, 0).astype(np.int32)
  return batch
