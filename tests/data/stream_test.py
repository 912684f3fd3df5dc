import dataclasses

import chex
import jax
import numpy as np
import pytest

from zoo.data import stream


@dataclasses.dataclass
class Listed:
  """Records from a list of examples."""

  examples: list
  num_classes: int | None = 10
  name: str = 'listed'

  def __len__(self):
    return len(self.examples)

  def __getitem__(self, index):
    return self.examples[index]

  def where(self, index):
    return f'record {index}'


def listed(size):
  return Listed(
    [{'image': np.full((2, 3, 1), i, np.uint8), 'label': i % 10, 'id': b'x'} for i in range(size)]
  )


def draw(source, state, num):
  """The first pixel of every example of `num` batches, which says which record it is."""
  seen = []
  for _ in range(num):
    state, batch = source.next(state, (), ())
    seen.append(batch['image'][:, 0, 0, 0])
  return state, np.concatenate(seen)


@pytest.mark.parametrize('workers', [0, 3])
def test_collect(workers):
  arrays = stream.collect(listed(23), workers=workers)
  np.testing.assert_array_equal(arrays['image'][:, 1, 2, 0], np.arange(23))
  np.testing.assert_array_equal(arrays['label'], np.arange(23) % 10)
  assert (arrays['image'].dtype, arrays['label'].dtype) == (np.uint8, np.int32)
  assert set(arrays) == {'image', 'label'}


@pytest.mark.parametrize('workers', [0, 3])
@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'label': 10}, r"record 17: 'label' is 10, but must be in \[0, 10\)"),
    ({'label': -1}, r"record 17: 'label' is -1, but must be in \[0, 10\)"),
    ({'label': 2**32}, r"record 17: 'label' is 4294967296, but must be in"),
    ({'image': np.zeros((2, 3, 3), np.uint8)}, r"record 17: 'image' has shape \(2, 3, 3\), but"),
    ({'x': np.array([0, np.nan], np.float32)}, "record 17: 'x' is nan, but must be finite"),
    ({'x': np.array([np.inf, 0], np.float64)}, "record 17: 'x' is inf, but must be finite"),
    ({'x': np.array([1e200, 0], np.float64)}, r"record 17: 'x' is 1e\+200, but must be finite"),
    ({'n': 2**40}, "record 17: 'n' is 1099511627776, but must fit in 32 bits"),
  ],
)
def test_bad_records_are_named(workers, change, message):
  records = listed(20)
  for example in records.examples:
    example |= {'x': np.zeros(2, np.float64), 'n': 3}
  records.examples[17] = records.examples[17] | change
  keys = ('image', 'label', 'x', 'n')
  with pytest.raises(ValueError, match=message):
    stream.collect(records, keys, workers)
  source = stream.stream(records, 20, keys=keys, workers=workers)
  with pytest.raises(ValueError, match=message):
    source.next(source.init(jax.random.key(0)), (), ())


def test_fields_must_exist_and_be_numbers():
  with pytest.raises(ValueError, match="listed has no field 'mask'; it has image, label, id"):
    stream.collect(listed(3), ['mask'])
  with pytest.raises(ValueError, match="field 'id' is bytes, not numbers"):
    stream.collect(listed(3), ['id'])
  with pytest.raises(ValueError, match='listed has no records'):
    stream.collect(listed(0))


@pytest.mark.parametrize('workers', [0, 2])
def test_every_epoch_holds_each_record_once_in_a_new_order(workers):
  source = stream.stream(listed(24), 8, workers=workers)
  _, seen = draw(source, source.init(jax.random.key(3)), 6)
  first, second = seen[:24], seen[24:]
  assert sorted(first) == sorted(second) == list(range(24))
  assert list(first) != list(second) != list(range(24))


def test_a_batch_may_span_two_epochs():
  source = stream.stream(listed(10), 4)
  _, seen = draw(source, source.init(jax.random.key(3)), 5)
  assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))


def test_batches_depend_on_key_and_index_alone():
  source = stream.stream(listed(50), 8)
  state, _ = draw(source, source.init(jax.random.key(1)), 4)
  saved = jax.tree.map(np.copy, state)
  _, expected = draw(source, state, 10)
  resumed = stream.stream(listed(50), 8, workers=2)  # another process, say
  _, again = draw(resumed, saved, 10)
  np.testing.assert_array_equal(again, expected)
  _, other = draw(source, source.init(jax.random.key(2)), 4)
  _, first = draw(source, source.init(jax.random.key(1)), 4)
  assert list(other) != list(first)
  assert saved['index'].dtype == np.int64
  assert int(saved['index']) == 4


def test_shards_share_out_the_records():
  seen = []
  for index in range(3):
    source = stream.stream(listed(30), 10, shard=(index, 3))
    _, own = draw(source, source.init(jax.random.key(0)), 3)
    assert set(own) == set(range(index, 30, 3))
    seen.extend(set(own))
  assert sorted(seen) == list(range(30))


def test_without_shuffle_in_order():
  source = stream.stream(listed(6), 4, shuffle=False)
  _, seen = draw(source, source.init(jax.random.key(0)), 3)
  assert seen.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]


def test_spec_is_that_of_the_batches():
  for source in (stream.stream(listed(9), 4), stream.one_pass(listed(9), 4)):
    _, batch = source.next(source.init(jax.random.key(0)), (), ())
    chex.assert_trees_all_equal_shapes_and_dtypes(source.spec, batch)
    assert source.on_device is False
  assert source.spec['label'] == jax.ShapeDtypeStruct((4,), np.int32)


@pytest.mark.parametrize('batch_size', [0, -3, 11])
def test_batch_size_must_fit(batch_size):
  with pytest.raises(ValueError, match=f'batch size {batch_size} does not fit listed: 10 records'):
    stream.stream(listed(10), batch_size)


def test_batch_size_must_fit_the_shard():
  with pytest.raises(ValueError, match='3 records for process 1 of 3'):
    stream.stream(listed(10), 4, shard=(1, 3))


@pytest.mark.parametrize('workers', [0, 2])
def test_one_pass_weighs_every_record_once(workers):
  source = stream.one_pass(listed(10), 4, workers=workers)
  assert source.num_batches == 3
  state, seen, weights = source.init(jax.random.key(0)), [], []
  for _ in range(3):
    state, batch = source.next(state, (), ())
    seen.extend(batch['image'][:, 0, 0, 0])
    weights.extend(batch['weight'])
  assert seen == [*range(10), 0, 0]
  assert weights == [1] * 10 + [0] * 2
  with pytest.raises(IndexError, match='there is no batch 3'):
    source.next(state, (), ())


def test_one_pass_has_as_many_batches_in_every_process():
  total = 0.0
  for index in range(3):
    source = stream.one_pass(listed(7), 2, shard=(index, 3))  # 3, 2 and 2 records
    assert source.num_batches == 2
    state = source.init(jax.random.key(0))
    for _ in range(2):
      state, batch = source.next(state, (), ())
      total += batch['weight'].sum()
  assert total == 7
