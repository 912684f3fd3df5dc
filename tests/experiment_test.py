"""From names to things; and the strategies on a real model."""

import contextlib
import json
import runpy

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import fake_data
from tests.scripts import command
from tests.training import toy
from zoo import models
from zoo.catalog import MODELS, create_model, example_batch, list_models, published
from zoo.data import dataset
from zoo.experiment import complete_config, make_experiment
from zoo.training import build, run


@contextlib.contextmanager
def quick_compilation():
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def config_of(name, **sections):
  """A config of configs/, with options replaced and data that is there."""
  config = runpy.run_path(str(command.ROOT / 'configs' / f'{name}.py'))['get_config']()
  config.data.dir = str(command.home() / 'tfds')
  values = config.to_dict()
  for section, options in sections.items():
    values[section] |= options
  return complete_config(values)


def test_models_by_name():
  assert list_models() == sorted(list_models())
  assert list_models('c*') == ['cnn']
  assert list_models('nothing*') == []
  assert create_model('cnn', num_classes=3) == models.CNN(num_classes=3)


# What differs from a smaller one by its size alone, and takes long to trace.
LARGE = (
  'resnet50',
  'vit_s16',
  '_big',
  '_large',
  '_medium',
  '_xl',
  '_b16',
  '_l16',
  '28_10',
  'resnet34',
  'resnet101',
  'resnet152',
)
NAMES = [
  pytest.param(n, marks=pytest.mark.slow if n.endswith(LARGE) else ()) for n in list_models()
]


@pytest.mark.parametrize('name', NAMES)
def test_every_model_learns_from_its_published_example(name):
  """Shapes alone: that a loss comes out, and a gradient for every parameter."""
  entry, objective, batch = MODELS[name], published(name), example_batch(name, 2)
  assert isinstance(create_model(name), nn.Module) and entry.reference
  key = jax.eval_shape(lambda: jax.random.key(0))
  params, extras = jax.eval_shape(objective.init, key, batch)
  loss, (after, _) = jax.eval_shape(objective.loss, params, extras, batch, key)
  assert loss.shape == () and loss.dtype == jnp.float32
  assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, extras)
  assert objective.predict is not None
  assert jax.tree.leaves(jax.eval_shape(objective.predict, params, extras, batch))[0].shape[0] == 2


def test_an_unknown_model_or_option_is_answered_with_the_nearest():
  with pytest.raises(ValueError, match="unknown model 'cmn'; did you mean 'cnn'"):
    create_model('cmn')
  with pytest.raises(ValueError, match="option of model cnn 'num_clases'; did you mean 'num_cl"):
    create_model('cnn', num_clases=10)


def test_a_complete_config_survives_json():
  config = config_of('digits_cnn')
  again = complete_config(json.loads(json.dumps(config.to_dict())))
  assert again.to_dict() == config.to_dict()


def test_what_data_and_devices_give_is_no_option():
  with pytest.raises(ValueError, match=r"unknown option of config\.model 'num_classes'"):
    config_of('digits_cnn', model={'num_classes': 3})


@pytest.mark.parametrize(
  ('augment', 'message'),
  [
    ({'mixip': {}}, "unknown augmentation 'mixip'; did you mean 'mixup'"),
    ({'mixup': {'alhpa': 1.0}}, "config.data.augment.mixup 'alhpa'; did you mean 'alpha'"),
    ({'cutout': {'size': 2.5}}, 'config.data.augment.cutout.size must be int, not 2.5'),
  ],
)
def test_augmentations_are_checked(augment, message):
  with pytest.raises(ValueError, match=message):
    config_of('digits_cnn', data={'augment': augment})


def test_data_without_labels_are_for_what_needs_none(monkeypatch):
  records = fake_data.make_records((8, 8, 1), 0)
  monkeypatch.setattr(dataset, 'open_records', lambda *_: records)
  gan = {
    'model': {'name': 'dcgan', 'resolution': 8, 'channels': 1, 'width': 4},
    'objective': {'name': 'gan'},
    'data': {'normalization': 'scale', 'augment': {'random_flip': {}}},
  }
  make = lambda **sections: make_experiment(
    complete_config(gan | sections), devices=jax.devices()[:1]
  )
  assert set(make().dataset.train.spec) == {'image'}
  classification = {'model': {'name': 'mlp'}, 'objective': {'name': 'classification'}}
  with pytest.raises(ValueError, match='have no num_classes, which classification needs'):
    make(**classification)
  with pytest.raises(ValueError, match=r'no class labels, by which config\.data\.classes'):
    make(data=gan['data'] | {'classes': (1, 2)})
  with pytest.raises(ValueError, match='mixup mixes class labels, and the data have none'):
    make(data=gan['data'] | {'augment': {'mixup': {}}})


def test_augmentation_touches_training_alone_and_mixes_labels(monkeypatch):
  records = fake_data.make_records((6, 6, 1), 3)
  monkeypatch.setattr(dataset, 'open_records', lambda *_: records)
  plain = {'model': {'name': 'mlp'}, 'data': {'augment': {}, 'batch_size': 16, 'train': 'train'}}
  mixed = plain | {'data': plain['data'] | {'augment': {'mixup': {'alpha': 1.0}}}}
  losses, figures = [], []
  for options in (plain, mixed):
    options = options | {'objective': {'name': 'classification'}}
    experiment = make_experiment(
      complete_config(options | {'train': {'parallel': 'jit'}}), devices=jax.devices()[:1]
    )
    objective, source = experiment.objective, experiment.dataset.train

    def judge(key, data, objective=objective, source=source):
      batch = source.next(source.init(key), None, data)[1]
      params, extras = objective.init(key, batch)
      loss, _ = objective.loss(params, extras, batch, key)
      return loss, objective.evaluate(params, extras, batch, key)

    with quick_compilation():
      loss, sums = jax.device_get(jax.jit(judge)(jax.random.key(1), source.data))
    losses.append(loss)
    figures.append(sums.compute())
  assert losses[0] != losses[1]
  assert figures[0] == figures[1]
  assert losses[0] == pytest.approx(figures[0]['loss'], rel=1e-5)  # no dropout: one and the same


def test_statistics_of_the_run_are_used_instead_of_new_ones():
  config = config_of('digits_mlp')
  fresh = make_experiment(config).dataset.statistics
  assert fresh is not None
  given = {'mean': fresh['mean'] + 1, 'std': fresh['std'] * 2}
  kept = make_experiment(config, statistics=given).dataset
  assert kept.statistics is given
  image = np.zeros((1, 8, 8, 1), np.float32)
  np.testing.assert_allclose(
    kept.standardize({'image': image})['image'], image - given['mean'][0] / given['std'][0]
  )


# --- the strategies, on a real config -------------------------------------------------------------


def train_cnn(strategy, accumulate, steps=20):
  """digits_cnn under SGD (Adam hides a gradient that is n times too big) without randomness."""
  config = config_of(
    'digits_cnn',
    model={'dropout': 0.0, 'norm': 'batch'},
    data={'augment': {}, 'batch_size': 32, 'eval_batch_size': 64},
    optimizer={
      'name': 'sgd',
      'learning_rate': 0.02,
      'warmup_steps': 0,
      'weight_decay': 0.0,
      'accumulate': accumulate,
    },
    train={'parallel': strategy, 'steps': steps},
  )
  experiment = make_experiment(config)
  source, parallel = experiment.dataset.train, experiment.parallel
  program = build(experiment.objective, experiment.tx, source, parallel)
  with quick_compilation():
    state, source_state = program.init(jax.random.key(0))
  before = jax.device_get(state.params)
  for state, source_state, _ in run(program, source, state, source_state, steps=steps):
    pass
  assert int(state.step) == steps
  source_state = program.merge_source(source_state)
  return before, jax.device_get((state.params, state.extras)), jax.device_get(source_state)


@pytest.mark.slow
@pytest.mark.parametrize('accumulate', [1, 4])
def test_jit_pmap_and_sharded_train_the_same_cnn(accumulate):
  assert jax.device_count() == 8
  before, reference, position = train_cnn('jit', accumulate)
  moved = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), before, reference[0])
  assert min(jax.tree.leaves(moved)) > 1e-4  # the comparison is of what was learnt
  for strategy in ('pmap', 'sharded'):
    _, trained, at = train_cnn(strategy, accumulate)
    toy.assert_same(trained, reference)
    chex.assert_trees_all_equal(
      *(x | {'key': jax.random.key_data(x['key'])} for x in (at, position))
    )
