import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from zoo.benchmark import Workload, measure, measurements, synthetic_batch
from zoo.benchmark.workload import from_model
from zoo.experiment import complete_config, make_experiment
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
  'make', [measurements.train, measurements.loop, lambda work: [measurements.plain(work)]]
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

  monkeypatch.setattr(measurements, 'build', counting)
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


def test_input_measures_batches_and_their_augmentation_and_neither_trains(monkeypatch):
  drawn = []

  def next_batch(state, params, data):
    drawn.append(state)
    return state + 1, DATA

  work = workload(on_device=False)
  host = work.source._replace(init=lambda key: 0, next=next_batch)
  flip = lambda key, batch: {**batch, 'x': -batch['x']}
  work = work._replace(source=host, augment=flip, workers=3)
  rows = measure('input', work, steps=4)
  assert [(row.what, row.workers) for row in rows] == [('host batches', 3), ('augmentation', 0)]
  assert drawn == list(range(2 + 4))  # the first two to warm up
  assert rows[0].memory_bytes == {} and rows[1].memory_bytes['peak'] > 0
  for row in rows:
    assert row.cores > 0 and row.examples_per_core_second > 0
  assert len(measure('input', work._replace(augment=None), steps=1)) == 1


@pytest.mark.parametrize('strategy', ['jit', 'pmap'])
def test_every_call_augments_by_another_key_and_every_batch_is_the_next(strategy):
  keys, firsts = [], []
  work = workload(strategy)

  def noise(key, batch):
    jax.debug.callback(lambda x: keys.append(x.tobytes()), jax.random.key_data(key))
    return {'drawn': jax.random.uniform(key, batch['y'].shape)}

  def next_batch(state, params, data):
    jax.debug.callback(lambda x: firsts.append(int(x)), state[0])
    return state + 1, jax.tree.map(lambda x: x[state], data)

  work = work._replace(source=work.source._replace(next=next_batch), augment=noise)
  rows = measure('input', work, steps=3)
  jax.effects_barrier()
  assert [row.what for row in rows] == ['device batches', 'augmentation']
  calls, shares = 2 + 3, rows[0].devices  # of two calls to warm up; each device makes its share
  assert len(keys) == calls * shares and len(set(keys)) == calls
  expected = [i + 16 // shares * share for i in range(calls) for share in range(shares)]
  assert sorted(firsts) == sorted(expected)


def pictures(folder):
  """JPEG and PNG files of one colour each."""
  for name, colour in (('red', (200, 0, 0)), ('green', (0, 200, 0))):
    (folder / name).mkdir()
    for i in range(4):
      suffix = ('jpg', 'png')[i % 2]
      Image.new('RGB', (9, 8), colour).save(folder / name / f'{i}.{suffix}')
  return folder


def test_pictures_are_decoded_by_the_host_and_augmented_as_the_loss_has_it(tmp_path):
  values = {
    'model': {'name': 'mlp'},
    'objective': {'name': 'classification'},
    'data': {
      'name': f'folder:{pictures(tmp_path)}',
      'test': '',
      'image_size': (4, 6),
      'batch_size': 8,
      'on_device': False,
      'augment': {'cutout': {'size': 2, 'fill': 0.25}},
    },
    'train': {'parallel': 'jit', 'workers': 2},
  }
  made = make_experiment(complete_config(values))
  _, batch = made.dataset.train.next(made.dataset.train.init(jax.random.key(0)), None, ())
  assert isinstance(batch['image'], np.ndarray) and batch['image'].shape == (8, 4, 6, 3)
  assert made.augment is not None
  after = made.augment(jax.random.key(0), batch)['image']
  blank = np.all(np.asarray(after) == 0.25, axis=-1)
  assert set(blank.sum((1, 2))) <= {1, 2, 4}  # of 2 x 2 pixels, cut off at the border
  np.testing.assert_allclose(after[~blank], batch['image'][~blank] / np.float32(255), rtol=1e-6)

  work = Workload(
    *(made.objective, made.tx, made.dataset.train, made.parallel), augment=made.augment, workers=2
  )
  rows = measure('input', work, steps=2)
  assert [(row.what, row.workers) for row in rows] == [('host batches', 2), ('augmentation', 0)]
  assert all(row.examples_per_core_second > 0 for row in rows)
  values['data']['augment'] = {}
  assert make_experiment(complete_config(values)).augment is None


def test_scan_measures_the_steps_per_call_of_the_workload_or_32():
  rows = measure('scan', workload(steps_per_call=4), steps=8)
  assert [row.what for row in rows] == ['plain loop', 'loop, 1 a call', 'loop, 4 a call']
  assert [row.steps_per_call for row in rows] == [1, 1, 4]
  assert set(rows[2].speed) == {'plain loop', 'loop, 1 a call'}
  assert measure('scan', workload(), steps=32)[2].steps_per_call == 32


def test_runs_side_by_side_are_measured_against_one():
  rows = measure('seeds', workload(), steps=4)
  assert [row.what for row in rows] == ['one run', '8 runs']
  assert set(rows[1].speed) == {'one run'}
  rates = [row.per_second['examples_of_all_runs'] / row.examples_per_second for row in rows]
  assert rates == pytest.approx([1, 8])
  assert [row.devices for row in rows] == [1, 8]
  with pytest.raises(ValueError, match='one run is measured on one device'):
    measure('seeds', workload('pmap'), steps=1)


def test_generation_counts_tokens_of_every_row():
  small = {'vocab_size': 11, 'num_layers': 1, 'width': 8, 'num_heads': 2}
  work = from_model('gpt2', 'jit', 3, options=small)
  [row] = measure('generate', work, steps=128)
  assert row.steps_per_call == 128 and row.batch_size == 3
  assert row.per_second['tokens'] == pytest.approx(3 / row.step_ms['median'] * 1000)
  with pytest.raises(ValueError, match='only language models generate'):
    measure('generate', from_model('mlp', 'jit', 2), steps=1)


def test_what_cannot_be_measured_says_why():
  work = workload()
  with pytest.raises(ValueError, match='no predict'):
    measure('forward', work._replace(objective=work.objective._replace(predict=None)), steps=1)
  with pytest.raises(ValueError, match='needs a source on the device'):
    measure('scan', workload(on_device=False), steps=1)


def test_a_loop_says_how_long_it_waits_for_input():
  """Batches that take 20 ms to make, of a step that takes less than one."""
  work = workload('jit', on_device=False)

  def slow(*arguments):
    time.sleep(0.02)
    return work.source.next(*arguments)

  starved = work._replace(source=work.source._replace(next=slow))
  bare, loop = measure('loop', starved, steps=8)
  assert bare.input_wait is None
  assert 0.5 < loop.input_wait < 1
  assert measure('loop', workload('jit'), steps=8)[1].input_wait == 0  # made within the step
