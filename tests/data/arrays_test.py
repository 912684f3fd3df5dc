import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from zoo.data import arrays


def batches(source, count, key=0):
  state = source.init(jax.random.key(key))
  step = jax.jit(source.next)
  for _ in range(count):
    state, batch = step(state, None, source.data)
    yield jax.device_get(batch)


@pytest.mark.parametrize('size', [1, 2, 3, 7, 64, 100, 1437])
def test_permutation_is_one_to_one_in_every_epoch(size):
  index = jnp.arange(size, dtype=jnp.int32)
  for epoch in (0, 1, 77):
    out = arrays.permute(jax.random.key(3), jnp.full(size, epoch, jnp.int32), index, size)
    np.testing.assert_array_equal(np.sort(out), index)


def test_an_example_is_equally_likely_at_every_place_and_beside_every_other():
  size, epochs = 23, 4000
  index = jnp.arange(size, dtype=jnp.int32)
  draw = jax.vmap(lambda e: arrays.permute(jax.random.key(0), jnp.full(size, e), index, size))
  orders = np.asarray(draw(jnp.arange(epochs, dtype=jnp.int32)))
  for sample in (orders[:, 0], orders[:, 11], (orders[:, 1] - orders[:, 0]) % size):
    counts = np.bincount(sample, minlength=size)
    expected = np.full(size, epochs / size)
    if counts[0] == 0:  # neighbours differ: no difference is 0
      counts, expected = counts[1:], np.full(size - 1, epochs / (size - 1))
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_every_epoch_holds_each_example_once_though_batches_straddle_epochs():
  data = {'x': np.arange(10)}
  stream = np.concatenate([b['x'] for b in batches(arrays.epochs(data, 4), 10)])
  orders = stream.reshape(4, 10)
  for order in orders:
    np.testing.assert_array_equal(np.sort(order), np.arange(10))
  assert len({tuple(order) for order in orders}) == 4  # and each in an order of its own


def test_a_batch_may_hold_several_epochs():
  stream = next(iter(batches(arrays.epochs({'x': np.arange(3)}, 9), 1)))['x']
  assert np.bincount(stream).tolist() == [3, 3, 3]


def test_order_depends_on_the_key_alone():
  source = arrays.epochs({'x': np.arange(50)}, 10)
  a, b, c = (np.concatenate([x['x'] for x in batches(source, 5, key)]) for key in (1, 1, 2))
  np.testing.assert_array_equal(a, b)
  assert (a != c).any()


def test_leaves_of_an_example_stay_together():
  data = {'x': np.arange(20, dtype=np.float32)[:, None], 'label': np.arange(20)}
  for batch in batches(arrays.epochs(data, 6), 7):
    np.testing.assert_array_equal(batch['x'][:, 0], batch['label'])


def test_shares_of_the_state_make_shares_of_the_batch():
  source = arrays.epochs({'x': np.arange(30)}, 8)
  state = source.init(jax.random.key(0))
  state, _ = source.next(state, None, source.data)
  _, whole = source.next(state, None, source.data)
  shares = [
    source.next(state | {'slot': state['slot'][i : i + 2]}, None, source.data)[1]['x']
    for i in range(0, 8, 2)
  ]
  np.testing.assert_array_equal(np.concatenate(shares), whole['x'])


def test_one_pass_is_in_order_and_pads_with_weight_zero():
  source = arrays.one_pass({'x': np.arange(10)}, 4)
  assert source.num_batches == 3
  got = list(batches(source, 3))
  np.testing.assert_array_equal(np.concatenate([b['x'] for b in got])[:10], np.arange(10))
  np.testing.assert_array_equal(np.concatenate([b['weight'] for b in got]), [1] * 10 + [0, 0])


def test_spec_says_what_next_gives():
  for make in (arrays.epochs, arrays.one_pass):
    source = make({'image': np.zeros((9, 2, 2, 1), np.uint8), 'label': np.zeros(9, np.int64)}, 4)
    batch = next(batches(source, 1))
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {
      k: (v.shape, v.dtype) for k, v in source.spec.items()
    }


@pytest.mark.parametrize(
  ('data', 'batch_size', 'message'),
  [
    (
      {'x': np.arange(3), 'label': np.arange(4)},
      2,
      "hold equally many examples, these hold {'x': 3, 'label': 4}",
    ),
    ({'x': np.zeros((0, 2))}, 2, 'there are no examples'),
    ({'x': np.arange(3)}, -1, 'batch size must be at least 1, not -1'),
  ],
)
def test_bad_input_is_named(data, batch_size, message):
  with pytest.raises(ValueError, match=message):
    arrays.epochs(data, batch_size)
