import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo import benchmark
from zoo.benchmark import Workload, measure, synthetic_batch
from zoo.training import build, parallelize
from zoo.types import Objective, Source

DATA = {'x': np.arange(48, dtype=np.float32).reshape(16, 3), 'y': np.ones(16, np.float32)}


def workload(strategy='jit', on_device=True, steps_per_call=1):
  """A linear regression, which compiles fast, on all the data in every batch."""
  parallel = parallelize(strategy)

  def loss(params, extras, batch, key):
    value = jnp.mean((batch['x'] @ params - batch['y']) ** 2)
    return value, (extras, {'loss': value})

  objective = Objective(
    init=lambda key, batch: (jnp.zeros(3), {}),
    loss=loss,
    evaluate=lambda params, extras, batch, key: {},  # pyright: ignore[reportArgumentType]
    predict=lambda params, extras, batch: batch['x'] @ params,
  )
  spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), DATA)
  source = Source(
    spec,
    # The device makes its share of a batch from its share of the slots.
    init=lambda key: jnp.arange(16, dtype=jnp.int32),
    next=lambda state, params, data: (state, jax.tree.map(lambda x: x[state], data)),
    on_device=on_device,
    data=DATA,
  )
  return Workload(objective, optax.sgd(1e-4), source, parallel, steps_per_call)


def test_a_synthetic_batch_fits_its_spec_and_is_always_the_same():
  spec = {
    'image': jax.ShapeDtypeStruct((64, 3, 3, 1), jnp.uint8),
    'label': jax.ShapeDtypeStruct((64,), jnp.int32),
    'weight': jax.ShapeDtypeStruct((64,), jnp.bfloat16),
  }
  batch, again = synthetic_batch(spec), synthetic_batch(spec)
  for name, leaf in spec.items():
    assert (batch[name].shape, batch[name].dtype) == (leaf.shape, leaf.dtype)
    np.testing.assert_array_equal(batch[name], again[name])
  assert batch['image'].max() > 200
  assert set(batch['label']) == {0, 1}  # classes that every classifier has
  weight = batch['weight'].astype(np.float32)
  assert weight.min() >= 0 and np.unique(weight).size > 10


@pytest.mark.parametrize('on_device', [True, False])
@pytest.mark.parametrize(
  'make', [benchmark.train, benchmark.loop, lambda work: [benchmark.plain(work)]]
)
def test_a_block_makes_its_calls_on_one_state_that_it_keeps(make, on_device, monkeypatch):
  seen = []

  class Counted:
    def __init__(self, step):
      self.step, self.lower = step, step.lower

    def __call__(self, state, *rest):
      seen.append(int(state.step))
      return self.step(state, *rest)

  def counting(*args):
    program = build(*args)
    return program._replace(step=Counted(program.step))

  monkeypatch.setattr(benchmark, 'build', counting)
  for contestant in make(workload(on_device=on_device)):
    seen.clear()
    contestant.block(3)
    contestant.block(2)
    assert seen == [0, 1, 2, 3, 4], contestant.what


@pytest.mark.parametrize('strategy', ['jit', 'pmap', 'sharded'])
@pytest.mark.parametrize('on_device', [True, False])
def test_train_forward_and_loop_run_everywhere(strategy, on_device):
  work = workload(strategy, on_device)
  whats = {what: measure(what, work, steps=4) for what in ('train', 'forward', 'loop')}
  assert [row.what for rows in whats.values() for row in rows] == [
    *('train', 'forward', 'bare step', 'loop')
  ]
  for row in (row for rows in whats.values() for row in rows):
    assert (row.parallel, row.batch_size, row.steps) == (strategy, 16, 4)
    assert row.devices == (1 if strategy == 'jit' else 8)
    assert 0 < row.step_ms['p10'] <= row.step_ms['median'] <= row.step_ms['p90']
    assert row.memory_bytes['peak'] > 0
  assert set(whats['loop'][1].speed) == {'bare step'}


def test_scan_measures_the_steps_per_call_of_the_workload_or_32():
  rows = measure('scan', workload(steps_per_call=4), steps=8)
  assert [row.what for row in rows] == ['plain loop', 'loop, 1 a call', 'loop, 4 a call']
  assert [row.steps_per_call for row in rows] == [1, 1, 4]
  assert set(rows[2].speed) == {'plain loop', 'loop, 1 a call'}
  assert measure('scan', workload(), steps=32)[2].steps_per_call == 32


def test_what_cannot_be_measured_says_why():
  work = workload()
  with pytest.raises(ValueError, match='no predict'):
    measure('forward', work._replace(objective=work.objective._replace(predict=None)), steps=1)
  with pytest.raises(ValueError, match='needs a source on the device'):
    measure('scan', workload(on_device=False), steps=1)
