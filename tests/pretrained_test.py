"""Models by name with weights from a file; runs that start from them, batch statistics included."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests import fake_data
from zoo import paths
from zoo.data import dataset
from zoo.experiment import complete_config, make_experiment
from zoo.interop import hub, resnet
from zoo.models.resnet import ResNet
from zoo.runs import initialize
from zoo.training import build

TINY: dict[str, Any] = {'stage_sizes': (1, 1), 'width': 4}


def random(module) -> Any:
  rng = np.random.default_rng(0)
  values = lambda x: jnp.asarray(rng.uniform(0.1, 1, size=x.shape), jnp.float32)
  return jax.tree.map(values, resnet.shapes_of(module, 3))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A ResNet of five classes, as transformers would write it."""
  folder = tmp_path_factory.mktemp('resnet')
  module = ResNet(**TINY, num_classes=5)
  assert hub.save_pretrained(folder, module, random(module)) == 'resnet'
  return folder


def test_a_model_comes_back_with_its_statistics(folder):
  module, variables, tokenizer = zoo.load_pretrained(folder)
  assert (module, tokenizer) == (ResNet(**TINY, num_classes=5), None)
  chex.assert_trees_all_equal(variables, random(module))
  named = zoo.create_model('resnet18', pretrained=folder, **TINY)
  assert named[0] == module  # as many classes as there are
  chex.assert_trees_all_equal(named[1], variables)


def test_another_number_of_classes_has_a_fresh_head_and_all_else_as_it_was(folder):
  options = {**TINY, 'num_classes': 7, 'dtype': 'bfloat16'}
  module, variables = zoo.create_model('resnet18', pretrained=folder, **options)
  assert module == ResNet(**options)
  whole = zoo.load_pretrained(folder)[1]
  old, new = (dict(paths.named_leaves(v)) for v in (whole, variables))
  head = {'params/head/kernel', 'params/head/bias'}
  assert old.keys() == new.keys()
  for path in old.keys() - head:
    np.testing.assert_array_equal(new[path], old[path], err_msg=path)
  kernel = new['params/head/kernel']
  assert kernel.shape == (8, 7) and 0.1 < kernel.std() * np.sqrt(8) < 2  # as heads start
  assert not new['params/head/bias'].any()
  again, other = (
    zoo.create_model('resnet18', pretrained=folder, key=jax.random.key(seed), **options)[1]
    for seed in (0, 1)
  )
  chex.assert_trees_all_equal(again, variables)
  assert (other['params']['head']['kernel'] != kernel).any()
  apply = lambda v: module.apply(v, jnp.ones((2, 16, 16, 3)), train=False)
  assert jax.eval_shape(apply, variables).shape == (2, 7)


def test_a_backbone_leaves_the_head_behind(folder):
  module, variables = zoo.create_model('resnet18', pretrained=folder, num_classes=0, **TINY)
  whole = zoo.load_pretrained(folder)[1]
  params = {name: x for name, x in whole['params'].items() if name != 'head'}
  assert module == ResNet(**TINY, num_classes=0)
  chex.assert_trees_all_equal(variables, {**whole, 'params': params})


@pytest.mark.parametrize(
  ('name', 'options', 'message'),
  [
    ('resnet18', {}, 'missing stage_0_block_1/conv_0/kernel, '),
    (
      'resnet18',
      {**TINY, 'stage_sizes': (1,)},
      'unexpected stage_1_block_0/conv_0/kernel (nearest: stage_0_block_0/conv_0/kernel), ',
    ),
    ('vit_ti16', {}, 'missing class_token, '),
  ],
)
def test_another_architecture_is_refused_with_the_nearest_path(folder, name, options, message):
  with pytest.raises(ValueError, match=re.escape(f'{folder}: the loaded parameters do not')) as e:
    zoo.create_model(name, pretrained=folder, **options)
  assert message in str(e.value) and '\n' not in str(e.value)


def experiment_of(monkeypatch, source, **train):
  records = fake_data.make_records((16, 16, 3), 3)
  monkeypatch.setattr(dataset, 'open_records', lambda *_: records)
  values = {
    'model': {'name': 'resnet18', **TINY},
    'objective': {'name': 'classification', 'ema_decay': 0.9},
    'data': {'name': 'photos', 'batch_size': 8},
    'train': {'init_from': str(source), 'parallel': 'jit', **train},
  }
  return make_experiment(complete_config(values), devices=jax.devices()[:1])


def test_a_run_starts_from_weights_and_statistics_with_a_fresh_head(folder, monkeypatch):
  experiment = experiment_of(monkeypatch, folder, init_ignore=('head/.*',))
  program = build(
    experiment.objective, experiment.tx, experiment.dataset.train, experiment.parallel
  )
  fresh, _ = program.init(jax.random.key(0))
  head = jax.device_get(fresh.params['head'])
  state = initialize(experiment, program, fresh)
  loaded = zoo.load_pretrained(folder)[1]
  expected = {**loaded, 'params': {**loaded['params'], 'head': head}}
  chex.assert_trees_all_equal(
    experiment.objective.variables(state.params, state.extras),
    expected,  # the average, too
  )
  chex.assert_trees_all_equal(state.params, expected['params'])


@pytest.mark.parametrize(
  ('train', 'message'),
  [
    ({}, 'wrong shape: head/bias is [5], not [3]'),
    ({'init_ignore': ('haed/.*',)}, "ignore pattern 'haed/.*' matches no parameter; the nearest"),
  ],
)
def test_what_does_not_fit_a_run_is_refused_in_one_line(folder, monkeypatch, train, message):
  experiment = experiment_of(monkeypatch, folder, **train)
  program = build(
    experiment.objective, experiment.tx, experiment.dataset.train, experiment.parallel
  )
  state, _ = program.init(jax.random.key(0))
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    initialize(experiment, program, state)
  assert '\n' not in str(error.value)
