"""Every config, from its file to two real steps; no network."""

import ast
import math
import runpy
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from tests import fake_data
from tests.scripts import command
from zoo.data import dataset, envs, tfds
from zoo.experiment import complete_config, make_experiment
from zoo.training import build, init_state, make_train_step, run, rundir

CONFIGS = sorted((command.ROOT / 'configs').glob('*.py'))
# What the real ones hold; records are made up, since the real ones need a network.
PUBLIC = {
  'mnist': ((28, 28, 1), 10),
  'fashion_mnist': ((28, 28, 1), 10),
  'cifar10': ((32, 32, 3), 10),
  'celeb_a': ((64, 64, 3), 0),  # no labels
  'imagenet2012': ((32, 32, 3), 1000),
}
# Public sets of text: their fields, and classes if they have labels.
TEXTS = {
  'tiny_shakespeare': (('text',), 0),
  'lm1b': (('text',), 0),
  'openwebtext': (('text',), 0),
  'imdb_reviews': (('text',), 2),
  'wmt14_translate/de-en': (('de', 'en'), 0),
}
ACTING = ('environment', 'rollouts')
BATCH = 8
# What makes large models small; their own sizes are traced, but not computed with.
SMALL = {
  'resnet18_cifar': {'stage_sizes': (1,), 'width': 4},
  'resnet18': {'stage_sizes': (1, 1, 1), 'width': 4},
  'resnet50': {'stage_sizes': (1,), 'width': 4},
  'wide_resnet28_2': {'depth': 10, 'widen': 1},
  'vit': {'num_layers': 1, 'width': 16, 'num_heads': 2, 'ffn_width': 32},
  'gpt2': {'num_layers': 2, 'width': 32, 'num_heads': 2, 'context_length': 16},
  'dcgan': {'width': 4},
  'bert': {'num_layers': 2, 'width': 32, 'num_heads': 2, 'ffn_width': 64, 'max_length': 16},
  'transformer': {'width': 32, 'num_heads': 2, 'ffn_width': 64},
}


@pytest.fixture(autouse=True)
def quick_compilation():
  """Compiling is nearly all of the time here: 3 s a config instead of 8."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def read(path, tmp_path, monkeypatch) -> Any:
  """The config as it is, but for a small batch, and data that is there."""
  get_config = runpy.run_path(str(path))['get_config']
  config = get_config()
  if config.data.name.startswith('folder:'):
    folder = fake_data.make_folder(tmp_path / 'pictures', ('cat', 'dog', 'newt'))
    config = get_config(str(folder))
  config: Any = complete_config(config.to_dict())
  if 'batch_size' in config.data:
    config.data.batch_size = BATCH
  if config.data.loader in ACTING:
    if config.data.name.startswith('gymnax:'):
      monkeypatch.setattr(envs, 'of_gymnax', fake_data.make_minatar)
    if 'replay_size' in config.data:
      config.data.replay_size = min(config.data.replay_size, 2_000)
      config.data.warmup = min(config.data.warmup, 200)
    return config
  config.data.eval_batch_size = BATCH
  if 'unlabeled_ratio' in config.data:
    config.data.unlabeled_ratio = 1
  if config.train.teacher:  # of which the config says all that is needed to take steps
    named = path.with_name(f'{Path(config.train.teacher).name}.py')
    config.train.teacher = str(tmp_path)
    rundir.write_config(tmp_path, runpy.run_path(str(named))['get_config']().to_dict())
  if config.data.name in PUBLIC:
    shape, num_classes = PUBLIC[config.data.name]
    records = fake_data.make_records(shape, num_classes)
    monkeypatch.setattr(dataset, 'open_records', lambda *_: records)
  elif config.data.name in TEXTS:
    texts = fake_data.make_text(*TEXTS[config.data.name])
    monkeypatch.setattr(tfds, 'records', lambda *_: texts)
    config.data.cache = str(tmp_path)
  else:
    config.data.dir = str(command.home() / 'tfds')
  return config


def shapes_of(experiment) -> Any:
  spec = experiment.dataset.train.spec
  return jax.eval_shape(
    lambda key: init_state(experiment.objective, experiment.tx, spec, key), jax.random.key(0)
  )


def embedded(path) -> bool:
  """Whether a config learns from data that is there."""
  name = runpy.run_path(str(path))['get_config']().data.name
  return name not in PUBLIC and name not in TEXTS and not name.startswith('folder:')


# Large, so that it takes long to trace what its smaller relatives show.
LARGE = (
  'celeb_a_gan',
  'cifar10_fixmatch',
  'folder_finetune',
  'imagenet_resnet50',
  'imagenet_vit_s16',
  'imdb_bert',
  'lm1b_transformer',
  'openwebtext_gpt2',
  'shakespeare_gpt',
  'wmt14_transformer',
)
TRACED = [
  pytest.param(p, marks=pytest.mark.slow if p.stem in LARGE else ())
  for p in CONFIGS
  if not embedded(p)
]
# A classifier and a language model; the others take their steps in the slow tests.
QUICK = (
  'digits_cnn',
  'pydocs_gpt_char',
)
STEPPED = [p if p.stem in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in CONFIGS]


@pytest.mark.parametrize('path', TRACED, ids=lambda path: path.stem)
def test_a_step_is_traced(path, tmp_path, monkeypatch):
  """Of the size that the config says; nothing is computed."""
  config = read(path, tmp_path, monkeypatch)
  experiment = make_experiment(config, devices=jax.devices()[:1])
  state = shapes_of(experiment)
  step = make_train_step(experiment.objective, experiment.tx)
  after, scalars = jax.eval_shape(step, state, experiment.dataset.train.spec)
  assert after == state
  assert scalars['loss'].shape == ()


@pytest.mark.parametrize('path', STEPPED, ids=lambda path: path.stem)
def test_two_steps(path, tmp_path, monkeypatch):
  config = read(path, tmp_path, monkeypatch)
  if small := next((x for name, x in SMALL.items() if config.model.name.startswith(name)), None):
    config.model.update(small)
    config.optimizer.warmup_steps = 0  # whose first steps are too small for what starts at zero
    if 'length' in config.data:
      config.data.length = min(config.data.length, 16)
    elif config.data.image_size:
      config.data.image_size = (32, 32)
    if config.objective.get('loss_chunk'):
      config.objective.loss_chunk = 4
  experiment = make_experiment(config, devices=jax.devices()[:1])
  source = experiment.dataset.train
  if 'batch_size' in config.data:
    assert jax.tree.leaves(source.spec)[0].shape[0] == BATCH

  program = build(experiment.objective, experiment.tx, source, experiment.parallel)
  state, source_state = program.init(jax.random.key(0))
  assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(
    lambda x: (x.shape, x.dtype), shapes_of(experiment)
  )

  before = jax.device_get(state.params)
  for state, _, scalars in run(program, source, state, source_state, steps=2):
    assert math.isfinite(float(scalars['loss']))
    assert int(scalars['nonfinite'][()].ravel()[0]) == -1
  assert int(state.step) == 2
  moved = jax.tree.map(lambda x, y: bool(np.any(x != y)), before, jax.device_get(state.params))
  assert all(jax.tree.leaves(moved))  # no parameter is out of the gradient's reach


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_the_docstring_says_what_it_is_and_how_to_run_it(path):
  text = ast.get_docstring(ast.parse(path.read_text())) or ''
  lines = dict(line.split(': ', 1) for line in text.splitlines() if ': ' in line)
  assert lines.get('Source')
  assert lines['Command'].startswith(f'python scripts/train.py --config=configs/{path.name}')
  assert ' --workdir=' in lines['Command']


@pytest.mark.parametrize('name', ['atari_dqn', 'atari_rainbow'])
def test_a_game_is_played_by_a_protocol(name):
  get_config = runpy.run_path(str(command.ROOT / 'configs' / f'{name}.py'))['get_config']
  data = complete_config(get_config('breakout,machado-sticky').to_dict()).data
  assert data.name == 'atari:breakout' and not data.episodic_life
  assert (data.sticky, data.noop_max, data.full_action_space) == (0.25, 0, True)
  data = get_config('breakout').data
  assert (data.sticky, data.noop_max, data.full_action_space) == (0, 30, False)
  with pytest.raises(ValueError, match="unknown protocol 'nature'; did you mean 'nature-noop30'"):
    get_config('pong,nature')


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_interval_fits_the_run(path):
  config: Any = complete_config(runpy.run_path(str(path))['get_config']().to_dict())
  assert config.optimizer.warmup_steps < config.train.steps
  assert config.data.validation, 'nothing to choose by'
  assert config.train.checkpoint_every % config.train.eval_every == 0  # or no best could be kept
