"""Against small datasets that TFDS itself wrote, with the builders of public ones."""

from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
import tensorflow_datasets
import tensorflow_datasets.translate

from zoo.data import corpus, text, tokenizers
from zoo.data.text import load_text

ENGLISH = [f'the {color} house number {i}' for i in range(4) for color in ('red', 'green', 'blue')]
EXAMPLES = {
  'imdb_reviews': [{'text': t, 'label': i % 2} for i, t in enumerate(ENGLISH)],
  'wmt14_translate/de-en': [{'de': t.upper(), 'en': t} for t in ENGLISH],
  'lm1b': [{'text': t} for t in ENGLISH],
}


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """Public datasets whose download alone is replaced; half of each split is held out."""
  tensorflow_datasets.disable_progress_bar()
  folder = tmp_path_factory.mktemp('parent') / 'tfds'
  for name, examples in EXAMPLES.items():
    builder: Any = tensorflow_datasets.builder(name, data_dir=folder, file_format='array_record')
    generators = lambda self, downloads, x=examples: {'train': iter(enumerate(x))}
    with mock.patch.object(type(builder), '_split_generators', generators):
      builder.download_and_prepare()
  return folder


@pytest.fixture
def book(tmp_path):
  path = tmp_path / 'book.txt'
  path.write_text('\n'.join(ENGLISH * 3))
  return path


HALVES = {'train': 'train[:50%]', 'validation': 'train[50%:]'}


def everything(source):
  """All rows of one pass that weigh something, by field."""
  state, rows = source.init(jax.random.key(0)), []
  for _ in range(source.num_batches):
    state, batch = source.next(state, None, source.data)
    batch = jax.device_get(batch)
    rows.append({k: v[batch['weight'] > 0] for k, v in batch.items()})
  return {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}


@pytest.mark.parametrize('on_device', [True, False])
@pytest.mark.parametrize('tokenizer', ['byte', 'char', 'bpe'])
def test_windows_of_a_persons_file(book, tmp_path, on_device, tokenizer):
  options = {'train': 'train[:80%]', 'validation': 'train[80%:]', 'length': 16, 'batch_size': 4}
  data = load_text(
    f'text:{book}',
    **options,
    tokenizer=tokenizer,
    vocab_size=280,
    on_device=on_device,
    cache=str(tmp_path / 'cache'),
  )
  assert 'num_classes' not in data.given
  assert list(data.evaluation) == ['validation']
  found = everything(data.evaluation['validation'])
  kept = found['targets'][found.get('mask', np.ones_like(found['targets'])) > 0]
  content = book.read_text()
  whole = data.tokenizer.decode(kept)
  assert whole == content[len(content) - len(whole) :]
  assert abs(len(whole) - 0.2 * len(content)) < 2
  # What the loss counts in bits per byte.
  assert data.given['token_bytes'] is not None
  assert data.given['token_bytes'][kept].sum() == len(whole.encode())
  assert f'tokens of {len(whole)} bytes, 0 unknown' in data.notes[1]
  assert data.train.on_device is on_device
  assert (tmp_path / 'cache').exists() is not on_device


def test_windows_of_a_public_dataset(data_dir):
  data = load_text('lm1b', dir=str(data_dir), **HALVES, length=8, batch_size=2, packing=True)
  state = data.train.init(jax.random.key(0))
  _, batch = jax.jit(data.train.next)(state, None, data.train.data)
  assert {'tokens', 'targets', 'segments'} <= set(batch)
  found = everything(data.evaluation['validation'])
  stream = found['targets'][found.get('mask', np.ones_like(found['targets'])) > 0]
  texts = data.tokenizer.decode(np.where(stream == data.tokenizer.eos_id, 10, stream)).split('\n')
  assert set(texts[:-1]) <= set(ENGLISH)
  assert len(texts) == 7


def test_files_of_tokens_lie_beside_the_datasets_and_are_made_once(data_dir, monkeypatch):
  options = {'dir': str(data_dir), **HALVES, 'length': 8, 'batch_size': 2, 'on_device': False}
  first = everything(load_text('lm1b', **options).evaluation['validation'])
  assert len(list((data_dir.parent / 'zoo_tokens').iterdir())) == 2
  monkeypatch.setattr(corpus, 'write_tokens', None)
  again = everything(load_text('lm1b', **options).evaluation['validation'])
  np.testing.assert_array_equal(first['targets'], again['targets'])


@pytest.mark.parametrize('on_device', [True, False])
def test_translation(data_dir, on_device):
  options = {'dir': str(data_dir), **HALVES, 'kind': 'pairs', 'tokenizer': 'char', 'batch_size': 2}
  name = 'wmt14_translate/de-en'
  data = load_text(name, **options, length=40, target_length=36, on_device=on_device)
  found = everything(data.evaluation['validation'])
  assert found['source'].shape == (6, 40)
  assert found['target'].shape == (6, 36)
  for source, target in zip(found['source'], found['target'], strict=True):
    assert data.tokenizer.decode(source) == data.tokenizer.decode(target).upper()
  assert {data.tokenizer.decode(t) for t in found['target']} <= set(ENGLISH)
  turned = load_text(name, **options, length=40, source_key='en', on_device=on_device)
  found = everything(turned.evaluation['validation'])
  assert found['target'].shape == (6, 40)
  assert data.tokenizer.decode(found['source'][0]) in ENGLISH
  assert len(turned.notes) == 2


@pytest.mark.parametrize('on_device', [True, False])
def test_classification(data_dir, on_device):
  options = {'dir': str(data_dir), **HALVES, 'kind': 'labels', 'length': 40, 'batch_size': 4}
  data = load_text('imdb_reviews', **options, on_device=on_device)
  assert data.given['num_classes'] == 2
  assert data.class_names == ('neg', 'pos')
  found = everything(data.evaluation['validation'])
  assert (found['tokens'][:, 0] == data.tokenizer.bos_id).all()
  for tokens, label in zip(found['tokens'], found['label'], strict=True):
    assert label == ENGLISH.index(data.tokenizer.decode(tokens)) % 2


def test_a_trained_tokenizer_is_used_as_it_is(book):
  trained = tokenizers.make('char', [book.read_text() + 'xyz'])
  data = load_text(f'text:{book}', **HALVES, length=8, tokenizer='nonsense', trained=trained)
  assert data.tokenizer is trained


def test_unknown_characters_are_stated(book):
  book.write_text('a' * 50 + 'ab' * 25)
  data = load_text(f'text:{book}', **HALVES, length=8, tokenizer='char')
  assert '51 tokens of 50 bytes, 25 unknown' in data.notes[1]


def test_two_fields_are_found():
  class Fake:
    name = 'fake'

    def __init__(self, *keys):
      self.keys = keys

    def __getitem__(self, index):
      return dict.fromkeys(self.keys, b'') | {'label': 0}

  fields = text.pair_fields
  assert fields(Fake('en', 'de'), '', '') == ('en', 'de')
  assert fields(Fake('en', 'de'), 'de', '') == ('de', 'en')
  assert fields(Fake('en', 'de'), '', 'en') == ('de', 'en')
  assert fields(Fake('locale', 'source', 'target'), '', '') == ('source', 'target')
  assert fields(Fake('a', 'b', 'c'), 'c', 'a') == ('c', 'a')
  with pytest.raises(ValueError, match='fake does not have two text fields but a, b, c; set'):
    fields(Fake('a', 'b', 'c'), 'a', '')
  with pytest.raises(ValueError, match="unknown text field of fake 'fr'"):
    fields(Fake('en', 'de'), 'fr', '')


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'kind': 'window'}, "unknown kind of text 'window'; did you mean 'windows'"),
    ({'train': ''}, 'config.data.train names no split'),
    ({'length': 0}, 'config.data.length must be at least 1, not 0'),
    ({'eval_batch_size': -1}, 'config.data.eval_batch_size must be at least 1, not -1'),
    ({'kind': 'pairs'}, 'has no pairs, only running text'),
    ({'length': 4000}, 'which is less than one window of 4000'),
    ({'validation': 'validation'}, "no split 'validation'; there is train"),
    ({'tokenizer': 'chars'}, "unknown tokenizer 'chars'; did you mean 'char'"),
  ],
)
def test_bad_input_is_named(book, options, message):
  with pytest.raises(ValueError, match=message) as error:
    load_text(f'text:{book}', **(HALVES | {'length': 8} | options))
  assert '\n' not in str(error.value)
