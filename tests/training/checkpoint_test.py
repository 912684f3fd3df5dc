"""What was saved comes back bit for bit, or its loss is told."""

import dataclasses
import errno
import functools
import json
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from zoo.training import folders, manifest
from zoo.training.checkpoint import CheckpointError, Checkpoints
from zoo.types import TrainState

REPOSITORY = pathlib.Path(manifest.__file__).parents[2]


def mesh_of(count):
  types = (jax.sharding.AxisType.Auto,)
  return jax.make_mesh((count,), ('data',), axis_types=types, devices=jax.devices()[:count])


def placed(count, *spec):
  return NamedSharding(mesh_of(count), P(*spec))


@functools.cache
def small(value):
  """A state and a source state that `value` determines."""
  state = TrainState(
    step=jnp.int32(value),
    params={'w': jax.random.normal(jax.random.key(value), (4, 3))},
    extras={},
    opt_state=(optax.EmptyState(), {'mu': jnp.full((4, 3), value, jnp.bfloat16)}),
    key=jax.random.key(value),
  )
  return state, {'index': np.asarray(value, np.int64)}


def abstract(tree):
  """ShapeDtypeStructs with the shardings of `tree`; numpy and Python leaves as they are."""
  return jax.tree.map(
    lambda x: (
      jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) if isinstance(x, jax.Array) else x
    ),
    tree,
  )


def bits(leaf):
  if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  array = np.asarray(leaf)
  return array.dtype, array.shape, array.tobytes()


def assert_same(actual, expected):
  chex.assert_trees_all_equal_structs(actual, expected)
  for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    assert type(x) is type(y) and bits(x) == bits(y), (x, y)
    if isinstance(y, jax.Array):
      assert x.dtype == y.dtype  # of a key: the implementation


def save(directory, *values, **options):
  with Checkpoints(directory, **options) as checkpoints:
    for value in values:
      checkpoints.save(value, *small(value))


def restore(directory, step=None):
  """Restores what `small` made; returns the step, having compared everything."""
  with Checkpoints(directory) as checkpoints:
    restored = checkpoints.restore(*abstract(small(0)), step=step)
  if restored is None:
    return None
  assert_same((restored.state, restored.source_state), small(restored.step))
  return restored.step


def names(path):
  return sorted(os.listdir(path))


def files(path):
  return sorted(p for p in path.rglob('*') if p.is_file())


# What comes back.


def test_a_real_state_comes_back_bit_for_bit(tmp_path):
  model = nn.Sequential([nn.Dense(5), nn.BatchNorm(use_running_average=False), nn.Dense(2)])
  variables = dict(model.init(jax.random.key(0), jnp.ones((2, 3))))
  labels = {'layers_0': 'adam', 'layers_1': 'frozen', 'layers_2': 'sgd'}
  tx = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.partition(
      {'adam': optax.adam(1e-3), 'sgd': optax.sgd(0.1), 'frozen': optax.set_to_zero()}, labels
    ),
    optax.masked(optax.add_decayed_weights(1e-4), {name: name == 'layers_0' for name in labels}),
  )
  tx = optax.MultiSteps(tx, 2)
  params = variables.pop('params')
  state = TrainState(jnp.int32(7), params, variables, tx.init(params), jax.random.key(3))
  source_state = {'key': jax.random.split(jax.random.key(1), 3), 'index': np.arange(3)}
  info = {'config': {'lr': 0.1, 'layers': [1, 2]}, 'strategy': 'jit', 'none': None}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(7, state, source_state, info)
    restored = checkpoints.restore(abstract(state), abstract(source_state))
  assert restored is not None and restored.step == 7 and restored.info == info
  assert_same(restored.state, state)
  assert_same(restored.source_state, source_state)


def test_every_kind_of_leaf(tmp_path):
  dtypes = (
    'bool int4 int8 int16 int32 uint8 uint16 uint32 '
    'float16 bfloat16 float32 complex64 float8_e4m3fn float8_e5m2'
  )
  raw = np.random.default_rng(0).integers(0, 256, 64, np.uint8).tobytes()  # NaNs of all sorts too
  leaves = {f'jax {d}': jnp.arange(-3, 5).astype(jnp.dtype(d)) for d in dtypes.split()}
  leaves |= {
    'raw bfloat16': jnp.asarray(np.frombuffer(raw, ml_dtypes.bfloat16)),
    'raw float32': np.frombuffer(raw, np.float32),
    'raw float64': np.frombuffer(raw, np.float64),
    'int64': np.array([2**63 - 1, -(2**63)]),
    'uint64': np.array(2**64 - 1, np.uint64),
    'numpy bfloat16': np.array([1.5, -0.0], ml_dtypes.bfloat16),
    'scalar float32': np.float32(0.1),
    'scalar bfloat16': ml_dtypes.bfloat16(0.1),
    'scalar bool': np.bool_(True),
    'scalar int64': np.int64(2**62),
    'int': 2**62,
    'float': 0.1,
    'true': True,
    'complex': 1 - 2j,
    'key': jax.random.key(5),
    'keys': jax.random.split(jax.random.key(5), (2, 3)),
    'rbg': jax.random.key(5, impl='rbg'),
    'no elements': jnp.zeros((0, 3), jnp.bfloat16),
    'no numpy elements': np.zeros((2, 0)),
    'none': None,
    'odd names': {'a/b': jnp.ones(1), 'a.b': jnp.ones(2), 'tuple': (jnp.ones(3), [4], ())},
    'transposed': np.arange(6.0).reshape(2, 3).T,
  }
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(0, small(0)[0], leaves)
    restored = checkpoints.restore(small(0)[0], leaves)  # arrays serve as their own description
    assert restored is not None
    assert_same(restored.source_state, leaves)
    checkpoints.save(
      1, small(1)[0], np.int32(3)
    )  # a source state that is one leaf, and one that is none
    one = checkpoints.restore(small(0)[0], np.int32(0))
    checkpoints.save(2, small(2)[0], ())
    none = checkpoints.restore(small(0)[0], ())
  assert one is not None and type(one.source_state) is np.int32 and one.source_state == 3
  assert none is not None and none.step == 2 and none.source_state == ()


def test_a_description_without_shardings_gives_what_was_saved(tmp_path):
  state, source_state = small(4)
  source_state = {**source_state, 'int': 5, 'jax': jax.device_put(jnp.ones(8), placed(8, 'data'))}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(4, state, source_state)
    shapes = jax.eval_shape(lambda: state)
    index, eight = jax.ShapeDtypeStruct((), np.int64), jax.ShapeDtypeStruct((8,), np.float32)
    restored = checkpoints.restore(shapes, {'index': index, 'int': index, 'jax': eight})
  assert restored is not None
  assert_same(restored.state, state)
  assert type(restored.source_state['index']) is np.ndarray
  assert type(restored.source_state['int']) is int
  assert restored.source_state['jax'].sharding.device_set == {jax.devices()[0]}


def test_from_eight_devices_to_one_and_two_and_back(tmp_path):
  tree = {
    'replicated': jax.device_put(jnp.arange(6.0).reshape(2, 3), placed(8)),
    'split': jax.device_put(jnp.arange(16.0).reshape(8, 2), placed(8, 'data')),
    'keys': jax.device_put(jax.random.split(jax.random.key(0), 8), placed(8, 'data')),
    'key': jax.device_put(jax.random.key(0), placed(8)),
    'pmap': jax.pmap(lambda x: jax.lax.psum(x, 'i'), axis_name='i', out_axes=None)(jnp.arange(8.0)),  # pyright: ignore[reportArgumentType]
  }
  expected = jax.tree.map(bits, tree)
  state = small(0)[0]
  layouts = [
    dict.fromkeys(tree, jax.sharding.SingleDeviceSharding(jax.devices()[0])),
    {name: placed(2, 'data') if name in ('split', 'keys') else placed(2) for name in tree},
    {name: placed(8, 'data') if name in ('split', 'keys') else placed(8) for name in tree},
  ]
  with Checkpoints(tmp_path) as checkpoints:
    for step, layout in enumerate(layouts):
      checkpoints.save(step, state, tree)
      target = {
        k: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout[k]) for k, x in tree.items()
      }
      restored = checkpoints.restore(abstract(state), target)
      assert restored is not None
      tree = restored.source_state
      assert jax.tree.map(bits, tree) == expected
      assert {k: x.sharding for k, x in tree.items()} == layout
    # And as numpy, whole, if that is what was asked for.
    whole = jax.tree.map(lambda x: x, tree) | {'split': np.empty((8, 2), np.float32)}
    restored = checkpoints.restore(abstract(state), whole)
  assert restored is not None and type(restored.source_state['split']) is np.ndarray
  assert bits(restored.source_state['split']) == expected['split']


@pytest.mark.parametrize('spec', [None, (), ('data',)])
def test_what_was_saved_may_be_donated_and_overwritten_at_once(tmp_path, spec):
  overwrite = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
  sharding = jax.devices()[1] if spec is None else placed(8, *spec)
  x = jax.device_put(jnp.full((1024, 256), 3.0), sharding)
  y = np.full((1024, 256), 3.0, np.float32)
  state = small(0)[0]
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(0, state, {'x': x, 'y': y})
    x = overwrite(x)
    y[:] = -1
    restored = checkpoints.restore(state, {'x': x, 'y': y})
  assert restored is not None
  for leaf in restored.source_state.values():
    np.testing.assert_array_equal(leaf, 3.0)


# Which steps are there.


def test_no_checkpoint_is_a_fresh_start_and_writes_nothing(tmp_path):
  assert restore(tmp_path / 'new') is None
  with Checkpoints(tmp_path / 'new') as checkpoints:
    assert checkpoints.steps() == [] and checkpoints.best_step() is None
  assert names(tmp_path) == []


def test_the_last_and_the_best_are_kept(tmp_path):
  accuracies = {1: 0.5, 2: 0.9, 3: float('nan'), 4: 0.9, 5: 0.7, 6: None, 7: 0.2}
  with Checkpoints(tmp_path, keep_last=2, keep_best=1) as checkpoints:
    for step, accuracy in accuracies.items():
      metrics = None if accuracy is None else {'accuracy': accuracy, 'loss': -1}
      checkpoints.save(step, *small(step), metrics=metrics)
      checkpoints.wait()
      assert checkpoints.steps()[-1] == step
    assert checkpoints.steps() == [2, 6, 7]  # of the two with 0.9 the earlier one
    assert checkpoints.best_step() == 2
    with pytest.raises(CheckpointError, match=r'no good checkpoint of step 4.*there are: 2, 6, 7'):
      checkpoints.restore(*small(0), step=4)
  assert names(tmp_path) == ['2', '6', '7']
  assert restore(tmp_path) == 7
  assert restore(tmp_path, step=2) == 2


def test_the_least_can_be_the_best(tmp_path):
  with Checkpoints(tmp_path, keep_last=1, keep_best=2, best='loss', mode='min') as checkpoints:
    for step, loss in enumerate([3.0, 1.0, 2.0, float('-inf'), jnp.float32(5.0)]):
      checkpoints.save(step, *small(step), metrics={'loss': loss})  # pyright: ignore[reportArgumentType]
    checkpoints.wait()
    assert checkpoints.steps() == [1, 2, 4] and checkpoints.best_step() == 1


def test_a_step_saved_again_is_replaced(tmp_path):
  with Checkpoints(tmp_path) as checkpoints:
    for number in range(3):
      checkpoints.save(5, *small(5), info={'number': number})
    restored = checkpoints.restore(*small(0))
  assert restored is not None and restored.info == {'number': 2}
  assert names(tmp_path) == ['5']


def test_a_step_saved_after_a_later_one_is_kept(tmp_path):
  save(tmp_path, 10, 20, 30, keep_last=2)
  save(tmp_path, 15, keep_last=2)
  assert names(tmp_path) == ['15', '20', '30']


def test_bad_arguments(tmp_path):
  with pytest.raises(ValueError, match='keep_last=0'):
    Checkpoints(tmp_path, keep_last=0)
  with pytest.raises(ValueError, match="not 'least'"):
    Checkpoints(tmp_path, mode='least')
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(ValueError, match='JSON-able'):
      checkpoints.save(0, *small(0), info={'model': object()})
    with pytest.raises(ValueError, match='source/name cannot be saved: it is a str'):
      checkpoints.save(0, small(0)[0], {'name': 'digits'})
  assert names(tmp_path) == []


def test_another_model_is_named_by_its_first_difference(tmp_path):
  save(tmp_path, 3)
  state, source_state = small(0)
  cases = {
    'state/params/w is float32[4,3], expected float32[4,5]': {'params': {'w': jnp.ones((4, 5))}},
    'it has no state/params/v, expected float32[2]': {'params': {'v': jnp.ones(2)}},
    'state/key is key<fry>[], expected key<rbg>[]': {'key': jax.random.key(0, impl='rbg')},
    'it has state/opt_state/1/mu, bfloat16[4,3], not expected': {'opt_state': ()},
  }
  with Checkpoints(tmp_path) as checkpoints:
    for message, change in cases.items():
      with pytest.raises(CheckpointError, match=re.escape(f'3 is of another model: {message}')):
        checkpoints.restore(dataclasses.replace(state, **change), source_state)
  assert restore(tmp_path) == 3  # which is none of the checkpoint's fault


# Damage.


def flip(path, bit):
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)


def test_no_flipped_bit_is_restored_in_silence(tmp_path):
  save(tmp_path, 1, 2)
  pristine = tmp_path.parent / 'pristine'
  shutil.copytree(tmp_path / '2', pristine)
  rng = random.Random(0)
  targets = [p.relative_to(pristine) for p in files(pristine) if p.stat().st_size]
  assert len(targets) > 5
  with Checkpoints(tmp_path) as checkpoints:
    for trial in range(200):
      name = targets[trial % len(targets)]
      flip(tmp_path / '2' / name, rng.randrange(8 * (pristine / name).stat().st_size))
      with pytest.warns(UserWarning, match=f'/2 is damaged: {name}') as record:
        if trial % 10:
          path, _ = checkpoints._folders.newest_good()  # all that precedes the reading
        else:
          restored = checkpoints.restore(*small(0))
          assert restored is not None
          assert_same((restored.state, restored.source_state), small(1))
          path = tmp_path / '1'
      assert len(record) == 1 and path == tmp_path / '1'
      shutil.rmtree(tmp_path / 'damaged')
      shutil.copytree(pristine, tmp_path / '2')
  assert restore(tmp_path) == 2


@pytest.mark.parametrize('damage', ['manifest', 'all files', 'a file', 'truncated', 'a plain file'])
def test_a_damaged_step_is_named_and_set_aside(tmp_path, damage):
  save(tmp_path, 1, 2)
  folder = tmp_path / '2'
  victim = max(files(folder), key=lambda path: path.stat().st_size)
  if damage == 'manifest':
    (folder / manifest.FILENAME).unlink()
  elif damage == 'a file':
    victim.unlink()
  elif damage == 'truncated':
    os.truncate(victim, victim.stat().st_size - 1)
  else:
    shutil.rmtree(folder)
    folder.mkdir() if damage == 'all files' else folder.write_text('x')
  with pytest.warns(UserWarning, match=f'checkpoint {folder} is damaged: .*; set aside as'):
    assert restore(tmp_path) == 1
  assert names(tmp_path) == ['1', 'damaged'] and names(tmp_path / 'damaged') == ['2']
  save(tmp_path, 2)  # the run goes on
  assert restore(tmp_path) == 2


def test_if_all_are_damaged_there_is_never_a_silent_fresh_start(tmp_path):
  save(tmp_path, 1, 2)
  for step in '12':
    (tmp_path / step / manifest.FILENAME).unlink()
  with pytest.warns(UserWarning), pytest.raises(CheckpointError, match=r'every checkpoint.*2, 1'):
    restore(tmp_path)
  with pytest.raises(CheckpointError, match='every checkpoint') as error:  # nor at the second try
    restore(tmp_path)
  assert '\n' not in str(error.value)
  shutil.rmtree(tmp_path / 'damaged')
  assert restore(tmp_path) is None


def test_a_damaged_step_that_was_asked_for_is_an_error(tmp_path):
  save(tmp_path, 1, 2)
  (tmp_path / '2' / manifest.FILENAME).unlink()
  with pytest.warns(UserWarning, match='/2 is damaged'), pytest.raises(CheckpointError, match='2'):
    restore(tmp_path, step=2)
  assert restore(tmp_path) == 1


def test_interrupted_saves_are_no_checkpoints(tmp_path):
  save(tmp_path / 'old', 1)
  for name in ('1.partial', '2.partial.orbax-checkpoint-tmp', '3.deleted'):
    shutil.copytree(tmp_path / 'old' / '1', tmp_path / 'new' / name)
  with warnings.catch_warnings(action='error'):
    assert restore(tmp_path / 'new') is None  # killed in its first save
    save(tmp_path / 'new', 1)
    assert restore(tmp_path / 'new') == 1
  assert names(tmp_path / 'new') == ['1']


# Failing disks.


@pytest.mark.parametrize('where', ['manifest', 'publish', 'orbax'])
def test_a_save_that_fails_in_the_background_is_told_and_harms_nothing(
  tmp_path, monkeypatch, where
):
  def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, *small(1))
    checkpoints.wait()
    with monkeypatch.context() as patch:
      if where == 'orbax':
        patch.setattr(ocp.StandardCheckpointHandler, 'finalize', full)
      elif where == 'manifest':
        patch.setattr(manifest, 'write', full)
      else:
        patch.setattr(folders.StepFolders, 'publish', full)
      checkpoints.save(2, *small(2))
      deadline = time.monotonic() + 30
      with pytest.raises(CheckpointError) as error:
        while time.monotonic() < deadline:
          checkpoints.check()
    checkpoints.check()  # told once
    message = str(error.value)
    assert re.fullmatch(
      f'cannot save the checkpoint of step 2 in {tmp_path}: No space left on device; '
      'the last complete one is of step 1',
      message,
    )
    checkpoints.wait()
    assert checkpoints.steps() == [1]
    checkpoints.save(2, *small(2))
  assert names(tmp_path) == ['1', '2'] and restore(tmp_path) == 2


def test_a_failure_is_told_on_leaving_but_not_in_place_of_another(tmp_path, monkeypatch):
  def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(manifest, 'write', full)
  with pytest.raises(CheckpointError, match='No space left'), Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(1, *small(1))
  with (
    pytest.warns(UserWarning, match='No space left'),
    pytest.raises(KeyError),
    Checkpoints(tmp_path) as checkpoints,
  ):
    checkpoints.save(1, *small(1))
    raise KeyError


def test_a_directory_that_cannot_be_made(tmp_path):
  (tmp_path / 'file').write_text('')
  with Checkpoints(tmp_path / 'file' / 'checkpoints') as checkpoints:
    with pytest.raises(CheckpointError, match=r'file/checkpoints: Not a directory; there is none'):
      checkpoints.save(1, *small(1))
    assert checkpoints.restore(*small(0)) is None


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')  # in TensorStore
def test_a_disk_that_is_really_full(tmp_path, capfd):
  """RLIMIT_FSIZE makes the write itself fail, inside TensorStore."""
  save(tmp_path, 1)
  large = {'x': np.random.default_rng(0).normal(size=(400, 400))}
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  with Checkpoints(tmp_path) as checkpoints:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
      checkpoints.save(2, small(2)[0], large)
      with pytest.raises(CheckpointError, match=r'of step 2 in .*: File too large; .* of step 1$'):
        checkpoints.wait()
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert restore(tmp_path) == 1
    checkpoints.save(2, *small(2))
  assert names(tmp_path) == ['1', '2'] and restore(tmp_path) == 2
  assert 'Traceback' not in capfd.readouterr().err  # Orbax would log one for each of its threads


# Kills.

# Every line on stdin starts a process that saves steps from that number on, until it is killed.
# They are forked from one that has imported all and not yet touched a device, which is quick.
SAVE_FOR_EVER = """
import os, sys
sys.path.insert(0, 'tests/training')
import orbax.checkpoint
from checkpoint_test import small
from zoo.training.checkpoint import Checkpoints

def save_for_ever(step):
  with Checkpoints(sys.argv[1], keep_last=1, keep_best=0) as checkpoints:
    while True:
      step += 1
      state = small(step)
      print('begin', step, flush=True)
      checkpoints.save(step, *state)
      checkpoints.wait()
      print('end', step, flush=True)

for line in sys.stdin:
  child = os.fork()
  if not child:
    save_for_ever(int(line))
  print('child', child, flush=True)
  os.waitpid(child, 0)
  print('dead', child, flush=True)
"""


def save_until_killed(process, last, delay):
  """Returns the last step that a child, killed `delay` after it began its second, called saved."""
  process.stdin.write(f'{last}\n')
  process.stdin.flush()
  child = begun = 0
  for line in process.stdout:
    word, number = line.split()
    child = int(number) if word == 'child' else child
    begun += word == 'begin'
    last = int(number) if word == 'end' else last
    if child and begun == 2:
      time.sleep(delay)
      os.kill(child, signal.SIGKILL)
      begun = -1_000_000
    if word == 'dead':
      return last
  raise AssertionError('the process that starts the others has ended')


def kill_often(directory, kills):
  rng = random.Random(kills)
  last = 0
  with subprocess.Popen(
    [sys.executable, '-c', SAVE_FOR_EVER, str(directory)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    cwd=REPOSITORY,
    env={**os.environ, 'XLA_FLAGS': '--xla_backend_optimization_level=0'},
  ) as process:
    for _ in range(kills):
      last = save_until_killed(process, last, rng.uniform(0, 0.1))
      with warnings.catch_warnings(action='error'):  # a kill is no damage
        restored = restore(directory)
      assert restored is not None and restored in (last, last + 1)
      last = restored
    assert process.stdin is not None
    process.stdin.close()
  assert last >= kills


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_good_checkpoint(tmp_path):
  kill_often(tmp_path, 5)


@pytest.mark.slow
def test_thirty_kills(tmp_path):
  kill_often(tmp_path, 30)


# Several processes.

ONE_OF_TWO = """
import os, sys
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=2'
import jax
index, directory, port = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.distributed.initialize(
  f'127.0.0.1:{port}', num_processes=2, process_id=index, heartbeat_timeout_seconds=10
)
sys.path.insert(0, 'tests/training')
from checkpoint_test import *

def make(value):
  on_all = lambda tree: jax.tree.map(
    lambda x: jax.jit(lambda: x, out_shardings=placed(4))(), jax.device_get(tree)
  )
  rows = np.arange(16, dtype=np.float32).reshape(8, 2) + value
  split = jax.make_array_from_callback((8, 2), placed(4, 'data'), lambda index: rows[index])
  state = small(value)[0]
  key = jax.jit(lambda: jax.random.key(value), out_shardings=placed(4))()
  others = on_all(dataclasses.replace(state, key=()))
  return dataclasses.replace(others, key=key), {'split': split, 'index': np.asarray(value)}

def local(tree):
  shards = lambda x: [bits(s.data) for s in x.addressable_shards]
  return jax.tree.map(lambda x: shards(x) if isinstance(x, jax.Array) else bits(x), tree)

with Checkpoints(directory) as checkpoints:
  restored = checkpoints.restore(*jax.tree.map(lambda x: x, abstract(make(0))))
  step = restored.step if restored else 0
  if restored:
    assert local((restored.state, restored.source_state)) == local(make(step))
  for value in range(step + 1, step + 4):
    checkpoints.save(value, *make(value))
print('restored', step)
"""


@pytest.mark.slow
def test_two_processes_save_and_restore_one_checkpoint(tmp_path):
  def both():
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      port = str(free.getsockname()[1])
    processes = [
      subprocess.Popen(
        [sys.executable, '-c', ONE_OF_TWO, str(index), str(tmp_path), port],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
      )
      for index in range(2)
    ]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    return [int(re.findall(r'restored (\d+)', output)[0]) for output, _ in results], results[0][1]

  assert both()[0] == [0, 0]
  assert both()[0] == [3, 3]
  assert names(tmp_path) == ['5', '6']
  flip(max(files(tmp_path / '6'), key=lambda path: path.stat().st_size), 1000)
  steps, errors = both()
  assert steps == [5, 5] and '6 is damaged' in errors
  assert names(tmp_path) == ['7', '8', 'damaged']
  shutil.rmtree(tmp_path / 'damaged')


def test_a_manifest_names_all_it_should(tmp_path):
  save(tmp_path, 3)
  content = json.loads((tmp_path / '3' / manifest.FILENAME).read_text())
  assert content['step'] == 3
  assert content['leaves'] == {
    'state/step': 'jax int32[]',
    'state/params/w': 'jax float32[4,3]',
    'state/opt_state/1/mu': 'jax bfloat16[4,3]',
    'state/key': 'jax key<fry>[]',
    'source/index': 'numpy int64[]',
  }
  listed = set(content['files'])
  assert listed == {str(p.relative_to(tmp_path / '3')) for p in files(tmp_path / '3')} - {
    manifest.FILENAME
  }
