"""The families that make pictures, from their configs on: what is shown, and what is refused."""

import io
import re
import runpy
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from tests.scripts import command
from zoo.experiment import complete_config, make_experiment
from zoo.preview import make_preview
from zoo.training import build, make_evaluate

SMALL: dict[str, Any] = {
  'photos_restoration': {'widths': (4,)},
  'digits_vae': {'widths': (4,), 'latent_size': 3},
}


def experiment_of(name, **sections):
  """A config, of a small model on few examples."""
  values = runpy.run_path(str(command.ROOT / 'configs' / f'{name}.py'))['get_config']().to_dict()
  values['model'] |= SMALL[name]
  splits = {'train': 'train[:8]', 'validation': 'train[8:20]', 'test': ''}
  values['data'] |= splits | {'dir': str(command.home() / 'tfds')}
  values['data'] |= {'batch_size': 8, 'eval_batch_size': 8}
  for section, options in sections.items():
    values[section] |= options
  return make_experiment(complete_config(values), devices=jax.devices()[:1])


def shown(experiment):
  """What a preview of the untrained model shows, as arrays; and the figures of the same split."""
  source = experiment.dataset.train
  program = build(experiment.objective, experiment.tx, source, experiment.parallel)
  state, _ = program.init(jax.random.key(0))
  judged = experiment.dataset.evaluation['validation']
  judge = make_evaluate(experiment.objective, judged, experiment.parallel, program.state)
  pictures = make_preview(experiment, program.state)(state)
  return {k: np.asarray(Image.open(io.BytesIO(v))) for k, v in pictures.items()}, judge(state)


@pytest.mark.slow
def test_a_preview_of_restoration_shows_before_and_after():
  pictures, figures = shown(experiment_of('photos_restoration', data={'name': 'photos/32'}))
  assert set(pictures) == {'before_and_after'}
  height, width, _ = pictures['before_and_after'].shape
  assert width / height == pytest.approx(8 / 3, rel=0.2)  # eight columns of three pictures
  assert figures['input_psnr'] == pytest.approx(20.17, abs=0.3)
  # It starts as its input, which is cut to [0, 1].
  assert figures['input_psnr'] < figures['psnr'] < figures['input_psnr'] + 3


@pytest.mark.slow
def test_a_preview_of_a_vae_shows_reconstructions_samples_and_walks():
  pictures, figures = shown(experiment_of('digits_vae'))
  assert set(pictures) == {'reconstructions', 'samples', 'latent_walk'}
  shape = pictures['reconstructions'].shape
  assert shape[1] / shape[0] == pytest.approx(12 / 2, rel=0.05)  # all twelve, twice
  assert figures['bits_per_dim'] > 2


def test_an_autoencoder_has_no_samples_and_no_code():
  experiment = experiment_of('digits_vae', model={'variational': False})
  pictures, figures = shown(experiment)
  assert set(pictures) == {'reconstructions', 'latent_walk'}
  assert set(figures) == {'loss', 'reconstruction'}


@pytest.mark.parametrize(
  ('name', 'sections', 'message'),
  [
    (
      'photos_restoration',
      {'data': {'normalization': 'standardize'}},
      "restoration learns pictures as they are: data.normalization must be 'scale'",
    ),
    (
      'photos_restoration',
      {'data': {'augment': {'mixup': {}}}},
      'mixup mixes class labels, and the data have none',
    ),
    ('photos_restoration', {'objective': {'noise': ()}}, 'there is nothing to restore'),
    ('digits_vae', {'objective': {'levels': 1}}, 'vae needs levels >= 2'),
  ],
)
def test_bad_input_is_named(name, sections, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    experiment_of(name, **sections)


def test_an_unknown_task_is_named():
  get_config = runpy.run_path(str(command.ROOT / 'configs/photos_restoration.py'))['get_config']
  assert get_config('inpaint').objective.holes > 0
  with pytest.raises(ValueError, match="'denoice' is no task"):
    get_config('denoice')
