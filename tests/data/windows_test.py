import chex
import jax
import numpy as np
import pytest

from zoo.data import windows
from zoo.data.corpus import Tokens

KINDS = pytest.mark.parametrize('on_device', [True, False], ids=['device', 'host'])


def corpus(size, dtype=np.int32):
  """Every token says where it is."""
  return Tokens(np.arange(size).astype(dtype), size, 0, 'counted')


def draw(source, count, state=None, key=0):
  """`count` batches, and the state after them."""
  state = source.init(jax.random.key(key)) if state is None else state
  step = jax.jit(source.next) if source.on_device else source.next
  batches = []
  for _ in range(count):
    state, batch = step(state, None, source.data)
    batches.append(jax.device_get(batch))
  return batches, state


def counted(batches, size):
  """How often each token was a target that counts."""
  counts = np.zeros(size, int)
  for batch in batches:
    rows = batch.get('weight', np.ones(len(batch['targets'])))[:, None]
    counts += np.bincount(
      batch['targets'].ravel(),
      weights=(batch.get('mask', np.ones_like(batch['targets'])) * rows).ravel(),
      minlength=size,
    ).astype(int)
  return counts


@KINDS
@pytest.mark.parametrize('random_offset', [True, False])
@pytest.mark.parametrize(('size', 'length'), [(60, 5), (61, 5), (7, 5), (1, 1)])
def test_every_token_is_a_target_once_an_epoch(on_device, random_offset, size, length):
  num_windows = -(-size // length)
  source = windows.epochs(
    corpus(size), length, num_windows, on_device=on_device, random_offset=random_offset
  )
  batches, _ = draw(source, 5)
  for batch in batches:  # each is an epoch
    np.testing.assert_array_equal(counted([batch], size), 1)
    # And each is predicted from the one before it, round the circle.
    np.testing.assert_array_equal(batch['tokens'], (batch['targets'] - 1) % size)


@KINDS
def test_batches_straddle_epochs(on_device):
  source = windows.epochs(corpus(44), 4, 3, on_device=on_device)  # 11 windows
  batches, _ = draw(source, 11)
  rows = np.concatenate([batch['targets'] for batch in batches])
  for epoch in rows.reshape(3, 44):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(44))


@KINDS
def test_borders_and_order_differ_between_epochs(on_device):
  source = windows.epochs(corpus(1000), 10, 100, on_device=on_device)
  batches, _ = draw(source, 6)
  starts = [batch['targets'][:, 0] for batch in batches]
  assert len({int(s[0] % 10) for s in starts}) > 2  # where the borders are
  fixed = windows.epochs(corpus(1000), 10, 100, on_device=on_device, random_offset=False)
  starts = [batch['targets'][:, 0] for batch in draw(fixed, 6)[0]]
  assert all((s % 10 == 0).all() for s in starts)
  assert len({tuple(s) for s in starts}) == 6
  assert all(np.abs(np.diff(s)).mean() > 200 for s in starts)  # shuffled: 333 on average


@KINDS
def test_a_window_continues_the_text(on_device):
  source = windows.epochs(corpus(97), 8, 4, on_device=on_device)
  for batch in draw(source, 20)[0]:
    np.testing.assert_array_equal(batch['targets'][:, :-1], batch['tokens'][:, 1:])
    assert ((batch['targets'][:, :1] + np.arange(8)) % 97 == batch['targets']).all()


@KINDS
def test_a_saved_state_goes_on_where_it_was(on_device):
  source = windows.epochs(corpus(103), 4, 5, on_device=on_device)
  _, state = draw(source, 7, key=3)
  saved = jax.tree.map(lambda x: x.copy(), state)
  expected, _ = draw(source, 9, state)
  again, _ = draw(windows.epochs(corpus(103), 4, 5, on_device=on_device), 9, saved)
  chex.assert_trees_all_equal(again, expected)
  other, _ = draw(source, 9, key=4)
  assert (other[0]['targets'] != draw(source, 1, key=3)[0][0]['targets']).any()


def test_the_host_state_is_that_of_streams():
  _, state = draw(windows.epochs(corpus(103), 4, 5, on_device=False), 3)
  assert {k: (v.dtype, v.shape) for k, v in state.items()} == {
    'seed': (np.uint32, ()),
    'index': (np.int64, ()),
  }
  assert state['index'] == 3


@pytest.mark.parametrize('make', [windows.epochs, windows.one_pass])
def test_shares_of_the_state_make_shares_of_the_batch(make):
  source = make(corpus(95), 6, 8, eos_id=3)
  _, state = draw(source, 1)
  step = jax.jit(source.next)
  _, whole = step(state, None, source.data)
  shares = [
    step(state | {'slot': state['slot'][i : i + 2]}, None, source.data)[1] for i in range(0, 8, 2)
  ]
  chex.assert_trees_all_equal(
    jax.tree.map(lambda *leaves: np.concatenate(leaves), *shares), jax.device_get(whole)
  )


def test_processes_share_out_an_epoch():
  size = 103  # 26 windows: 9, 9 and 8
  counts = np.zeros(size, int)
  for index, own in enumerate((9, 9, 8)):
    source = windows.epochs(corpus(size), 4, own, on_device=False, shard=(index, 3))
    batches, _ = draw(source, 2)
    counts += counted(batches[1:], size)  # the second epoch, from the same offset in each
  np.testing.assert_array_equal(counts, 1)


@KINDS
@pytest.mark.parametrize(('size', 'length'), [(60, 5), (61, 5), (3, 5)])
def test_one_pass_has_every_token_once_and_in_order(on_device, size, length):
  source = windows.one_pass(corpus(size), length, 4, on_device=on_device)
  assert source.num_batches == -(-size // (length * 4))
  batches, _ = draw(source, source.num_batches)
  np.testing.assert_array_equal(counted(batches, size), 1)
  targets = np.concatenate([batch['targets'] for batch in batches]).ravel()
  np.testing.assert_array_equal(targets[:size], np.arange(size))
  weights = np.concatenate([batch['weight'] for batch in batches])
  assert weights.tolist() == [1] * -(-size // length) + [0] * (len(weights) - -(-size // length))


def test_one_pass_has_as_many_batches_in_every_process():
  counts, num_batches = np.zeros(61, int), set()
  for index in range(3):
    source = windows.one_pass(corpus(61), 5, 2, on_device=False, shard=(index, 3))
    num_batches.add(source.num_batches)
    batches, state = draw(source, source.num_batches)
    counts += counted(batches, 61)
  assert num_batches == {3}  # 13 windows: 5, 4 and 4
  np.testing.assert_array_equal(counts, 1)
  with pytest.raises(IndexError, match='counted: the pass has 3 batches, there is no batch 3'):
    source.next(state, None, source.data)


@KINDS
@pytest.mark.parametrize('make', [windows.epochs, windows.one_pass])
@pytest.mark.parametrize('size', [60, 61])
@pytest.mark.parametrize('eos_id', [None, 3])
def test_spec_says_what_next_gives(on_device, make, size, eos_id):
  source = make(corpus(size, np.uint16), 5, 4, on_device=on_device, eos_id=eos_id)
  (batch,), _ = draw(source, 1)
  chex.assert_trees_all_equal_shapes_and_dtypes(source.spec, batch)
  assert set(batch) - {'weight'} == (
    {'tokens', 'targets'}
    | ({'mask'} if size % 5 else set())
    | ({'segments'} if eos_id is not None else set())
  )


def documents(sizes):
  """Documents 10, 11, ... of given sizes, each ended by 0; and of which document each token is."""
  parts = [np.append(np.full(size, 10 + i), 0) for i, size in enumerate(sizes)]
  owners = np.repeat(np.arange(len(sizes)), [size + 1 for size in sizes])
  return Tokens(np.concatenate(parts).astype(np.uint16), 0, 0, 'documents'), owners


@KINDS
def test_segments_by_hand(on_device):
  tokens, _ = documents([3, 1, 0, 4])  # 10 10 10 . 11 . . 13 13 13 13 .
  source = windows.one_pass(tokens, 7, 2, on_device=on_device, eos_id=0)
  (batch,), _ = draw(source, 1)
  assert batch['tokens'].tolist() == [[0, 10, 10, 10, 0, 11, 0], [0, 13, 13, 13, 13, 0, 10]]
  assert batch['targets'].tolist() == [[10, 10, 10, 0, 11, 0, 0], [13, 13, 13, 13, 0, 10, 10]]
  # An end begins, as an input, the document it stands before.
  assert batch['segments'].tolist() == [[1, 1, 1, 1, 2, 2, 3], [1, 1, 1, 1, 1, 0, 0]]
  assert batch['mask'].tolist() == [[1] * 7, [1] * 5 + [0] * 2]


@KINDS
def test_packing_keeps_documents_apart_and_loses_no_token(on_device):
  rng = np.random.default_rng(0)
  tokens, owners = documents(rng.integers(1, 30, 40).tolist())
  size = len(owners)
  row = Tokens(np.arange(size).astype(np.int32), 0, 0, 'where')  # the same windows, by position
  # Ends are told by their id, which here is where they are: compare with windows over the text.
  options = {'on_device': on_device, 'random_offset': True}
  packed = windows.epochs(tokens, 16, 8, eos_id=0, **options)
  plain = windows.epochs(row, 16, 8, **options)
  count = -(-size // 16)
  batches, places = (draw(source, count)[0] for source in (packed, plain))  # 8 epochs
  np.testing.assert_array_equal(counted(places, size), 8)
  for batch, place in zip(batches, places, strict=True):
    np.testing.assert_array_equal(batch['targets'], tokens.ids[place['targets']])
    owner = owners[place['targets']]  # whose token is predicted
    valid = batch.get('mask', np.ones_like(owner)) > 0
    np.testing.assert_array_equal(batch['segments'] > 0, valid)
    same = batch['segments'][:, :, None] == batch['segments'][:, None, :]
    both = valid[:, :, None] & valid[:, None, :]
    np.testing.assert_array_equal(same & both, (owner[:, :, None] == owner[:, None, :]) & both)
    # What a position may see is of the document that it predicts, but for the end before it.
    inputs = owners[place['tokens']]
    first = batch['tokens'] == 0
    np.testing.assert_array_equal((inputs == owner)[valid], ~first[valid])


@pytest.mark.slow
def test_a_memory_map_is_read_where_it_is_needed(tmp_path):
  path, size = tmp_path / 'tokens.bin', 5 * 10**9  # 10 GB, of which none is on the disk
  with path.open('wb') as file:
    file.truncate(2 * size)
  mapped = np.memmap(path, np.uint16, mode='r+')
  middle = size // 2
  mapped[middle - 3 : middle + 2] = [1, 2, 3, 4, 5]
  mapped.flush()
  tokens = Tokens(np.memmap(path, np.uint16, mode='r'), 0, 0, 'large')
  source = windows.epochs(tokens, 1000, 32, on_device=False)
  before = resident()
  batches, _ = draw(source, 3)
  evaluation = windows.one_pass(tokens, 1000, 4, on_device=False)
  state = {'index': np.asarray(middle // 4000, np.int64)}
  _, batch = evaluation.next(state, None, ())
  assert batch['tokens'][0, :2].tolist() == [3, 4]
  assert batch['targets'][0, :3].tolist() == [4, 5, 0]
  assert batches[0]['tokens'].shape == (32, 1000)
  assert resident() - before < 64 * 2**20
  with pytest.raises(ValueError, match='large has 5,000,000,000 tokens, too many for the device'):
    windows.epochs(tokens, 1000, 32)


def resident():
  """Bytes of this process in memory."""
  with open('/proc/self/statm') as file:
    return int(file.read().split()[1]) * 4096


@KINDS
def test_bad_input_is_named(on_device):
  options = {'on_device': on_device}
  with pytest.raises(ValueError, match='counted has 6 tokens, which is less than one window of 7'):
    windows.epochs(corpus(6), 7, 2, **options)
  for make in (windows.epochs, windows.one_pass):
    with pytest.raises(ValueError, match='counted is empty: it has no tokens'):
      make(corpus(0), 7, 2, **options)
    with pytest.raises(ValueError, match='window length must be at least 1, not 0'):
      make(corpus(6), 0, 2, **options)
    with pytest.raises(ValueError, match='batch size must be at least 1, not -1'):
      make(corpus(6), 2, -1, **options)


def test_every_process_needs_a_window():
  with pytest.raises(ValueError, match='counted has 2 windows for 3 processes'):
    windows.epochs(corpus(6), 3, 2, on_device=False, shard=(2, 3))
