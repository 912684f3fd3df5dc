"""Datasets that fit on the device: placed there whole, shuffled and indexed inside jit.

Nothing crosses from the host while training, and a position in the stream is two integers.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from zoo.types import Array, Batch, PyTree, Source

ROUNDS = (
  8  # of the permutation; 4 are enough in theory (Luby and Rackoff 1988), with ideal functions
)


def epochs(arrays: dict[str, np.ndarray], batch_size: int) -> Source:
  """An endless source: every epoch holds each example once, in an order of its own.

  Epochs follow one another without a gap: a batch may hold the end of one and the start of another.
  The state is {key: typed key [], epoch: int32 [], offset: int32 [], slot: int32 [batch_size]};
  the slots, 0, 1, 2 ..., say which part of the batch a device makes.

  Args:
    arrays: examples stacked along the leading axis, [N, ...] each.
    batch_size: examples in a batch; may exceed N.

  Raises:
    ValueError: no examples, arrays of different lengths, or a batch size below 1.
  """
  size = num_examples(arrays, batch_size)

  def init(key: Array) -> PyTree:
    zero = jnp.zeros((), jnp.int32)
    return {
      'key': key,
      'epoch': zero,
      'offset': zero,
      'slot': jnp.arange(batch_size, dtype=jnp.int32),
    }

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del params
    position = state['offset'] + state['slot']
    index = permute(state['key'], state['epoch'] + position // size, position % size, size)
    end = state['offset'] + batch_size
    state = state | {'epoch': state['epoch'] + end // size, 'offset': end % size}
    return state, jax.tree.map(lambda x: x[index], data)

  return Source(batch_spec(arrays, batch_size), init, next_batch, on_device=True, data=arrays)


def one_pass(arrays: dict[str, np.ndarray], batch_size: int) -> Source:
  """A source for evaluation: every example once, in order.

  The last batch is filled up with repetitions of the first example whose `batch['weight']` is 0;
  all others weigh 1 (or what `arrays['weight']` says). The state is {offset: int32 [], slot: int32
  [batch_size]}.
  """
  size = num_examples(arrays, batch_size)
  weighted = {'weight': np.ones(size, np.float32)} | arrays

  def init(key: Array) -> PyTree:
    del key
    return {'offset': jnp.zeros((), jnp.int32), 'slot': jnp.arange(batch_size, dtype=jnp.int32)}

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del params
    position = state['offset'] + state['slot']
    batch = jax.tree.map(lambda x: x[jnp.where(position < size, position, 0)], data)
    batch['weight'] = jnp.where(position < size, batch['weight'], 0.0)
    return state | {'offset': state['offset'] + batch_size}, batch

  return Source(
    batch_spec(weighted, batch_size),
    init,
    next_batch,
    on_device=True,
    data=weighted,
    num_batches=math.ceil(size / batch_size),
  )


def num_examples(arrays: dict[str, np.ndarray], batch_size: int) -> int:
  """The number of examples, after checking that there are some and a batch size fits."""
  sizes = {name: len(x) for name, x in arrays.items()}
  if len(set(sizes.values())) != 1:
    raise ValueError(f'arrays must hold equally many examples, these hold {sizes}')
  size = next(iter(sizes.values()))
  if size == 0:
    raise ValueError('there are no examples')
  if batch_size < 1:
    raise ValueError(f'batch size must be at least 1, not {batch_size}')
  return size


def batch_spec(arrays: dict[str, np.ndarray], batch_size: int) -> PyTree:
  return {
    name: jax.ShapeDtypeStruct((batch_size, *x.shape[1:]), jax.dtypes.canonicalize_dtype(x.dtype))
    for name, x in arrays.items()
  }


def permute(key: Array, epoch: Array, index: Array, size: int) -> Array:
  """A pseudorandom permutation of 0 .. size-1 for each epoch, computed one index at a time.

  A Feistel network over pairs (left, right) with left < a, right < b and a x b barely above `size`:
  each round adds to one half a hash of the other, so it can be undone, and the whole is one-to-one.
  A result that is out of range is permuted again until it is not ("cycle walking"), which keeps it
  one-to-one. No array of N is stored or sorted, and each device computes just its own indices.

  Args:
    key: typed key [].
    epoch: int32 [B], which permutation.
    index: int32 [B], in 0 .. size-1.
    size: N.

  Returns:
    int32 [B], in 0 .. size-1.

  References:
    Luby and Rackoff, How to construct pseudorandom permutations from pseudorandom functions, 1988.
    Black and Rogaway, Ciphers with arbitrary finite domains, 2002: such halves, and cycle walking.
  """
  a = max(math.isqrt(size), 1)
  b = -(-size // a)
  words = jax.random.bits(key, (ROUNDS,), jnp.uint32)
  salt = mix(epoch.astype(jnp.uint32) * jnp.uint32(0x9E3779B9))

  def scramble(index: Array) -> Array:
    left, right = index // b, index % b
    for i in range(0, ROUNDS, 2):
      left = (left + mix(right ^ words[i] ^ salt) % a) % a
      right = (right + mix(left ^ words[i + 1] ^ salt) % b) % b
    return left * b + right

  walk = lambda x: jnp.where(x < size, x, scramble(x))
  start = scramble(index.astype(jnp.uint32))
  return jax.lax.while_loop(lambda x: (x >= size).any(), walk, start).astype(jnp.int32)


def mix(x: Array) -> Array:
  """Spreads every bit of a uint32 over all 32 (the finaliser of MurmurHash3, by A. Appleby)."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)
