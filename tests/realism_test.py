"""The judge of generators, and its previews, from a config on; the classifier is a run on disk."""

import functools
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.scripts import command
from zoo import paths, realism
from zoo.experiment import complete_config, make_experiment
from zoo.figures.distances import frechet
from zoo.interop import inception, layout
from zoo.interop.tensors import write_tensors
from zoo.judge import make_judges
from zoo.preview import make_preview
from zoo.runs import keep
from zoo.training import build, rundir
from zoo.training.checkpoint import Checkpoints
from zoo.training.predict import examples_of

DIGITS = {
  'name': 'digits',
  'train': 'train[:300]',
  'validation': 'train[300:400]',
  'test': '',
  'batch_size': 32,
}
GAN = {'name': 'dcgan', 'resolution': 8, 'channels': 1, 'width': 4, 'latent_size': 3}


@pytest.fixture(autouse=True)
def quick_compilation():
  """Compiling is nearly all of the time."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def experiment_of(model, objective, data=None, **train):
  values = {
    'model': model,
    'objective': {'name': objective},
    'data': DIGITS | {'dir': str(command.home() / 'tfds')} | (data or {}),
    'train': {'parallel': 'jit', **train},
  }
  config = complete_config(values)
  return config, make_experiment(config, devices=jax.devices()[:1])


@functools.cache
def judge_dir(name='classes', **data):
  """A run of a classifier that was never trained: its features are random, but features."""
  workdir = command.home() / f'judge_{name}'
  config, experiment = experiment_of({'name': 'mlp', 'widths': (16,)}, 'classification', data)
  program = build(
    experiment.objective, experiment.tx, experiment.dataset.train, experiment.parallel
  )
  state, source_state = program.init(jax.random.key(0))
  workdir.mkdir(exist_ok=True)
  rundir.write_config(workdir, config.to_dict())
  keep(experiment.dataset, workdir)
  with Checkpoints(workdir / 'checkpoints') as checkpoints:
    checkpoints.save(1, state, program.merge_source(source_state))
    checkpoints.wait()
  return str(workdir)


def gan(model=None, data=None, **train):
  scale = {'normalization': 'scale'}
  return experiment_of(GAN | (model or {}), 'gan', scale | (data or {}), **train)[1]


class Copies:
  """A generator that knows the split by heart: the latents are not looked at."""

  conditional, latent_size = True, 3

  def __init__(self, images):
    self.images = images

  def apply(self, variables, z, label, method):
    del z, label, method
    return jnp.resize(variables['params'], (256, 8, 8, 1))


def judged(experiment, images):
  """Figures for a generator that makes just these pictures."""
  source = experiment.dataset.evaluation['validation']
  objective = experiment.objective._replace(variables=lambda params, extras: {'params': params})
  known = experiment._replace(module=Copies(images), objective=objective)
  judge = realism.of_samples(known, 'validation', source, None)
  state = type('State', (), {'params': images, 'extras': {}, 'key': None})
  return judge(state)


@pytest.mark.slow
def test_copies_of_the_split_are_at_the_floor_and_one_picture_is_not():
  experiment = gan(judge=judge_dir())
  real = examples_of(experiment.dataset.evaluation['validation'], 1000)
  assert real['image'].shape == (100, 8, 8, 1)
  images = real['image'].astype(np.float32) / 255
  figures = judged(experiment, images)
  assert figures['precision'] == figures['recall'] == 1
  assert figures['fd_zoo'] < 1.5 * figures['fd_zoo_floor']
  read = realism.reader(realism.open_run(Path(judge_dir())))
  expected = np.mean(read(real['image'])[1].argmax(-1) == real['label'])
  assert figures['class_accuracy'] == pytest.approx(expected)
  alike = judged(experiment, np.tile(images[:1], (100, 1, 1, 1)))
  assert alike['recall'] < 0.1
  assert alike['fd_zoo'] > 3 * alike['fd_zoo_floor'] == 3 * figures['fd_zoo_floor']


def test_the_inception_distance_is_of_all_pictures_and_stands_beside_the_others(monkeypatch):
  read = lambda images: np.asarray(realism.in_levels(jnp.asarray(images))).reshape(-1, 64)[:, 20:40]
  monkeypatch.setattr(realism, 'inception_reader', lambda path: read)
  experiment = gan(inception='weights.safetensors')
  real = examples_of(experiment.dataset.evaluation['validation'], 1000)['image']
  figures = judged(experiment, real.astype(np.float32) / 255)
  assert set(figures) == {'fid'} and figures['fid'] == pytest.approx(0, abs=1e-6)
  lighter = real.astype(np.float32) / 510 + 0.25  # of which the 256 levels are a hundredth off
  found = judged(gan(judge=judge_dir(), inception='weights.safetensors'), lighter)
  assert {'fid', 'fd_zoo', 'precision'} <= set(found)
  assert found['fid'] == pytest.approx(frechet(read(real), read(lighter)), rel=1e-3)


def test_pictures_are_read_in_the_levels_of_files():
  stored = jnp.array([0, 1, 128, 255], jnp.uint8)
  np.testing.assert_allclose(realism.in_levels(stored), stored / 255)
  made = jnp.array([-0.1, 0.0041, 0.503, 1.2])
  np.testing.assert_allclose(realism.in_levels(made), np.array([0, 1, 128, 255]) / 255, rtol=1e-6)


@pytest.mark.slow
def test_inception_itself_tells_a_set_from_another(tmp_path, monkeypatch):
  monkeypatch.setattr(realism, 'INCEPTION_BATCH', 3)
  shapes = inception.shapes()
  random = np.random.default_rng(0)

  def leaf(path, x):
    if path.endswith('kernel'):
      return random.normal(size=x.shape, scale=np.sqrt(2 / np.prod(x.shape[:3])))
    return np.full(x.shape, float(path.endswith(('scale', 'var'))))

  variables = paths.map_named(leaf, shapes)
  tensors = layout.to_tensors('Inception', variables, shapes, inception.RULES)
  write_tensors(tmp_path / 'inception.safetensors', tensors)
  dark, light = (random.random((3, 8, 8, 1)) * 0.4 + base for base in (0, 0.6))
  distance = realism.by_inception(str(tmp_path / 'inception.safetensors'), dark)
  assert distance(dark)['fid'] == pytest.approx(0, abs=1e-3)
  assert distance(light)['fid'] > 1


def test_features_are_what_the_logits_are_computed_from():
  run = realism.open_run(Path(judge_dir()))
  images = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8, 1)
  features, logits = realism.reader(run)(images)
  assert features.shape == (3, 16) and logits.shape == (3, 10)
  head = jax.device_get(run.variables['params']['head'])
  np.testing.assert_allclose(logits, features @ head['kernel'] + head['bias'], rtol=1e-4, atol=1e-5)
  # Stored bytes and the same pictures in [0, 1] are read alike.
  again, _ = realism.reader(run)(images.astype(np.float32) / 255)
  np.testing.assert_allclose(again, features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('condition', [pytest.param('none', marks=pytest.mark.slow), 'concat'])
def test_a_config_is_judged_and_shown(condition):
  experiment = gan({'condition': condition}, judge=judge_dir())
  program = build(
    experiment.objective, experiment.tx, experiment.dataset.train, experiment.parallel
  )
  state, _ = program.init(jax.random.key(0))
  (figures,) = make_judges(experiment, program.state)['validation'](state)
  expected = {'loss', 'real_accuracy', 'fake_accuracy', 'spread'}
  expected |= {'fd_zoo', 'fd_zoo_floor', 'precision', 'recall'}
  assert set(figures) == expected | ({'class_accuracy'} if condition != 'none' else set())
  assert figures['fd_zoo'] > figures['fd_zoo_floor'] > 0
  shown = make_preview(experiment, program.state)(state)
  again = make_preview(experiment, program.state)(state)
  assert shown == again and set(shown) == {'samples', 'interpolation'}  # latents stay
  sizes = [Image.open(io.BytesIO(png)).size for png in shown.values()]
  assert sizes == [(10 * 34 + 2, 8 * 34 + 2), (9 * 34 + 2, 6 * 34 + 2)]


def test_what_cannot_be_judged_is_one_clear_line():
  def refuse(message, *options, **train):
    with pytest.raises(ValueError, match=message):
      make_judges(gan(*options, **train), None)

  refuse("normalization must be 'scale'", None, {'normalization': 'standardize'})
  refuse('knows the classes', {'condition': 'concat'}, judge=judge_dir('few', classes=(3, 1)))
