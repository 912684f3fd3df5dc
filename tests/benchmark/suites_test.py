from pathlib import Path

import pytest

from zoo.benchmark import MEASUREMENTS, plots, report, suites
from zoo.benchmark.requests import of_target
from zoo.benchmark.workload import DTYPES, from_model, units_of
from zoo.catalog import create_model
from zoo.examples import pair, window

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.mark.parametrize('name', suites.SUITES)
def test_every_target_is_there(name):
  targets = suites.SUITES[name]
  for target in targets:
    assert {*target.what} <= {*MEASUREMENTS} and target.dtype in (None, *DTYPES)
    if target.is_model:
      create_model(target.name, **target.options)
      assert target.batch_size
    else:
      of_target(target, CONFIGS, (None,))  # checks the overrides
  assert len({(t.label, t.batch_size, t.what) for t in targets}) == len(targets)


def test_a_suite_needs_its_device():
  assert suites.of_platform('cpu', 'cpu') is suites.CPU
  with pytest.raises(ValueError, match='--suite=gpu needs a GPU; JAX finds only a CPU'):
    suites.of_platform('gpu', 'cpu')
  with pytest.raises(ValueError, match="unknown --suite 'gup'; did you mean 'gpu'"):
    suites.of_platform('gup', 'cpu')


def test_a_dtype_is_for_models_that_have_the_choice():
  work = from_model('mlp', 'jit', 8, 'bf16')
  assert work.training_flops().keys() == {'bfloat16'}
  with pytest.raises(ValueError, match="unknown --dtype 'f16'; did you mean 'bf16'"):
    from_model('mlp', 'jit', 8, 'f16')


def test_what_a_step_takes_is_counted_in_the_units_of_the_field():
  shaped = lambda shapes: {
    name: type('Leaf', (), {'shape': (4, *shape), 'ndim': 1 + len(shape)})
    for name, (shape, _) in shapes.items()
  }
  assert units_of(shaped(window(16)), {}) == {'tokens': 64}
  assert units_of(shaped(pair(8)), {}) == {'tokens': 32}
  assert units_of({}, {'loader': 'environment', 'learn_every': 10}) == {'environment_steps': 10}
  phase = {'num_envs': 32, 'steps': 64, 'minibatches': 16, 'epochs': 4}
  assert units_of({}, {'loader': 'rollouts', **phase}) == {'environment_steps': 32}


def test_a_roofline_is_drawn_of_each_type(tmp_path):
  row = {
    'name': 'mlp',
    'batch_size': 8,
    'what': 'train',
    'dtype': 'float32',
    'devices': 1,
    'model_flops': 1e9,
    'step_ms': {'median': 10.0},
    'intensity': 4.0,
    'mfu': 0.1,
    'roofline': 0.25,
    'peak': {'flops': 1e12, 'bandwidth': 1e11},
  }
  plots.draw([row, row | {'dtype': 'bfloat16', 'intensity': 40.0}], tmp_path / 'roofline.png')
  assert (tmp_path / 'roofline.png').stat().st_size > 10_000


def test_a_failed_row_says_why():
  row = {
    'label': 'mlp',
    'what': 'train',
    'parallel': 'pmap',
    'batch_size': 12,
    'error': 'too large',
  }
  for strategy in ('pmap', None):  # None: the config's own
    assert report.describe(row | {'parallel': strategy}).endswith('failed: too large')
