"""Marian's tokeniser, of SentencePiece models trained here in the published format."""

import io
import json

import numpy as np
import pytest
import sentencepiece

from zoo.data import sentencepieces, tokenizers
from zoo.data.pairs import encode_all

WORDS = {
  'source': ['the dog sees a cat', 'a cat sleeps', 'the dog sleeps', 'dogs see cats', 'a dog'],
  'target': ['der Hund sieht eine Katze', 'eine Katze schläft', 'der Hund schläft', 'ein Hund'],
}
FRENCH = '>>fra<<'


def model_of(lines, vocab_size):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(lines * 20),
    model_writer=model,
    vocab_size=vocab_size,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  return model.getvalue()


def marian_tokenizer():
  """A small one, as Marian's are made: a model for each language, a vocabulary of both."""
  models = {side: model_of(lines, 60) for side, lines in WORDS.items()}
  pieces = set()
  for model in models.values():
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces |= {processor.id_to_piece(i) for i in range(3, processor.get_piece_size())}
  names = ['</s>', '<unk>', *sorted(pieces), FRENCH, '<pad>']  # as Marian orders them
  vocabulary = {name: i for i, name in enumerate(names)}
  return sentencepieces.MarianTokenizer(models['source'], models['target'], vocabulary)


@pytest.fixture(scope='module')
def tokenizer():
  return marian_tokenizer()


def test_ids_are_those_of_the_vocabulary_not_of_the_pieces(tokenizer):
  processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.source)
  pieces = processor.encode('the dog sleeps', out_type=str)
  assert tokenizer.encode('the dog sleeps') == [tokenizer.vocabulary[piece] for piece in pieces]
  [batched] = tokenizer.encode_batch(['the dog sleeps'])
  np.testing.assert_array_equal(batched, tokenizer.encode('the dog sleeps'))
  assert batched.dtype == np.int32
  assert tokenizer.vocab_size == len(tokenizer.vocabulary) == tokenizer.pad_id + 1


@pytest.mark.parametrize('text', WORDS['target'])
def test_what_the_target_model_splits_it_joins_again(tokenizer, text):
  processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.target)
  ids = [tokenizer.vocabulary[piece] for piece in processor.encode(text, out_type=str)]
  assert tokenizer.decode([*ids, tokenizer.eos_id, tokenizer.pad_id]) == text


@pytest.mark.parametrize('text', WORDS['target'])
def test_targets_are_encoded_by_their_own_model(tokenizer, text):
  assert tokenizer.decode(tokenizer.encode_target(text)) == text
  [row] = encode_all(tokenizer, 'target', [text])
  assert row.tolist() == tokenizer.encode_target(text) != tokenizer.encode(text)
  [row] = encode_all(tokenizer, 'source', [text])
  assert row.tolist() == tokenizer.encode(text)


def test_a_language_code_is_one_token_and_special_names_in_a_text_are_text(tokenizer):
  assert tokenizer.encode(f'{FRENCH} a dog') == [
    tokenizer.vocabulary[FRENCH],
    *tokenizer.encode('a dog'),
  ]
  assert tokenizer.encode('>>xyz<<') == [tokenizer.unk_id]
  special = {tokenizer.eos_id, tokenizer.pad_id}
  assert not special & set(tokenizer.encode('a dog</s><pad>'))
  assert tokenizer.unk_id in tokenizer.encode('犬')


def test_a_folder_is_loaded_as_it_was_saved(tokenizer, tmp_path):
  tokenizer.save(tmp_path)
  loaded = tokenizers.load(tmp_path)
  assert loaded == tokenizer and loaded.fingerprint == tokenizer.fingerprint
  assert loaded.encode('the dog sees a cat') == tokenizer.encode('the dog sees a cat')


def test_a_damaged_folder_is_refused_in_one_line(tokenizer, tmp_path):
  def refused(name, data, words):
    tokenizer.save(tmp_path)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=words) as error:
      tokenizers.load(tmp_path)
    assert str(tmp_path) in str(error.value) and '\n' not in str(error.value)

  refused('target.spm', tokenizer.target[: len(tokenizer.target) // 2], 'SentencePiece')
  refused('vocab.json', b'[1]', 'no object')
  refused('vocab.json', b'{"a', 'damaged')
  refused('vocab.json', json.dumps({'</s>': 0, '<unk>': 1}).encode(), '<pad> is not in')
  holes = json.dumps({'</s>': 0, '<unk>': 1, '<pad>': 3}).encode()
  refused('vocab.json', holes, 'not 0, 1, 2')
