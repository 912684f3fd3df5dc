from typing import Any

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.scripts import command
from zoo import cli
from zoo.benchmark.stand_ins import DATASETS, STAND_INS, examples, known, text, vocabulary
from zoo.catalog import LOADERS
from zoo.experiment import complete_config, make_experiment

CONFIGS = sorted((command.ROOT / 'configs').glob('*.py'))
READING = ('anomaly', 'examples', 'semi_supervised', 'text')
# One for each loader, kind and dataset that ships inside dependencies.
EMBEDDED = (
  *('breast_cancer_mlp', 'dates_transformer', 'digits_0to4', 'digits_anomaly', 'digits_fixmatch'),
  *('digits_gan', 'photos_restoration', 'gpt2_finetune'),
)
OURS = ('breast_cancer', 'digits', 'folder', 'photos/32', 'photos/64')


def experiment(path, *overrides, loaders):
  config = cli.load_config(str(path), list(overrides), complete_config)
  return make_experiment(config, devices=jax.devices()[:1], loaders=loaders)


@pytest.mark.parametrize('name', EMBEDDED)
def test_a_stand_in_has_the_shapes_of_the_data(name):
  path = command.ROOT / 'configs' / f'{name}.py'
  home = f'--config.data.dir={command.home() / "tfds"}'
  real = experiment(path, home, loaders=LOADERS).dataset
  found = experiment(path, loaders=STAND_INS).dataset
  assert found.train.spec == real.train.spec
  assert found.given.keys() == real.given.keys()
  of_alphabet = ('vocab_size', 'token_bytes') if name == 'dates_transformer' else ()
  for key in {*found.given} - {*of_alphabet}:
    np.testing.assert_array_equal(found.given[key], real.given[key])
  sizes = lambda statistics: statistics and {k: v.shape for k, v in statistics.items()}
  assert sizes(found.statistics) == sizes(real.statistics)
  batch = found.train.next(found.train.init(jax.random.key(0)), None, found.train.data)[1]
  assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == jax.tree.map(
    lambda x: (x.shape, x.dtype), found.train.spec
  )


@pytest.mark.parametrize('name', sorted({*DATASETS} - {*OURS}))
def test_what_is_known_of_a_public_dataset_is_what_tfds_says(name, tmp_path):
  features: Any = tfds.builder(name, data_dir=tmp_path).info.features
  shape, num_classes = known(name)
  if 'image' in features:
    of_many_sizes = None in features['image'].shape
    assert shape == (() if of_many_sizes else features['image'].shape)
  assert num_classes == (features['label'].num_classes if 'label' in features else 0)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_that_reads_data_has_a_stand_in(path):
  config = cli.load_config(str(path), [], complete_config)
  if config.data.loader not in READING or config.train.teacher:
    pytest.skip('acts, or needs a run')
  config.data.batch_size = 8
  made = make_experiment(config, devices=jax.devices()[:1], loaders=STAND_INS)
  assert jax.tree.leaves(made.dataset.train.spec)[0].shape[0] == 8


def test_a_vocabulary_has_as_many_tokens_as_was_asked_for():
  assert vocabulary('bpe', 50257).vocab_size == 50257
  assert vocabulary('byte', 0).vocab_size == 260
  batch = text(
    'imdb_reviews', kind='labels', tokenizer='bpe', vocab_size=1000, length=16, target_length=0,
    batch_size=4, packing=False, random_offset=True,
  )  # fmt: skip
  assert batch.train.spec['tokens'].shape == (4, 16) and batch.given['num_classes'] == 2
  assert batch.train.data['tokens'].max() < 1000


def test_what_nobody_knows_is_refused():
  options = {'image_size': (), 'channels': 3, 'batch_size': 4, 'normalization': 'scale'}
  with pytest.raises(ValueError, match="unknown data to stand in for 'cifar'; did you mean"):
    examples('cifar', **options)
  with pytest.raises(ValueError, match='image_size must say how large the pictures of imagenet'):
    examples('imagenet2012', **options)
