import json

import numpy as np
import pytest

from zoo.data import corpus, tokenizers

PIECES = [('ab', False), ('c', True), ('é', True), ('', True)]
BYTES = tokenizers.ByteTokenizer()
IDS = [97, 98, 99, 258, 0xC3, 0xA9, 258, 258]


def test_documents_in_pieces_end_once():
  tokens = corpus.encode(iter(PIECES), BYTES, 'mine')
  assert tokens.ids.tolist() == IDS
  assert tokens.ids.dtype == np.uint16
  assert (tokens.num_bytes, tokens.num_unknown, tokens.name) == (5, 0, 'mine')


def test_unknown_tokens_are_counted():
  tokenizer = tokenizers.make('char', ['abc'])
  assert corpus.encode(PIECES, tokenizer, 'mine').num_unknown == 1


def test_ids_are_as_wide_as_the_vocabulary_needs():
  wide = tokenizers.CharTokenizer(''.join(map(chr, range(0x4E00, 0x4E00 + 2**14))) + 'ab')
  assert corpus.id_dtype(wide) == np.uint16
  wide = tokenizers.CharTokenizer(''.join(map(chr, range(0x20000, 0x20000 + 2**16))))
  assert corpus.encode([(wide.alphabet[-1], True)], wide, '').ids.tolist() == [2**16 + 4, 2]


def test_groups_do_not_change_the_tokens(monkeypatch):
  pieces = [(f'document {i} ', i % 3 == 0) for i in range(50)]
  expected = corpus.encode(pieces, BYTES, '').ids
  monkeypatch.setattr(corpus, 'GROUP', 24)
  np.testing.assert_array_equal(corpus.encode(pieces, BYTES, '').ids, expected)
  assert [len(group) for group in corpus.groups(pieces)] == [3] * 4 + [2] * 19


def once(folder, pieces=None, tokenizer=BYTES, identity='first'):
  return corpus.encode_once(pieces or (lambda: iter(PIECES)), tokenizer, 'mine', folder, identity)


def refuse():
  raise AssertionError('the corpus is read again')


def test_a_corpus_is_encoded_once_and_mapped(tmp_path):
  tokens = once(tmp_path / 'cache')
  assert isinstance(tokens.ids, np.memmap)
  assert not tokens.ids.flags.writeable
  again = once(tmp_path / 'cache', refuse)
  for found in (tokens, again):
    assert found.ids.tolist() == IDS
    assert found[1:] == (5, 0, 'mine')


def test_another_corpus_or_tokenizer_is_another_file(tmp_path):
  once(tmp_path)
  other = once(tmp_path, lambda: iter([('x', True)]), identity='second')
  assert other.ids.tolist() == [120, 258]
  chars = once(tmp_path, tokenizer=tokenizers.make('char', ['abcé']))
  assert chars.ids.tolist() == [5, 6, 7, 2, 8, 2, 2]
  assert once(tmp_path, refuse).ids.tolist() == IDS
  assert len(list(tmp_path.iterdir())) == 3


def test_what_fails_half_way_leaves_nothing(tmp_path):
  def pieces():
    yield 'abc', True
    raise ValueError('book.txt: not UTF-8 at byte 7')

  with pytest.raises(ValueError, match='not UTF-8 at byte 7'):
    once(tmp_path, pieces)
  assert list(tmp_path.iterdir()) == []
  assert once(tmp_path).ids.tolist() == IDS


def test_the_faster_of_two_processes_wins(tmp_path):
  def pieces():
    once(tmp_path)  # meanwhile another process does the same
    yield from PIECES

  assert once(tmp_path, pieces).ids.tolist() == IDS
  assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize('damage', ['truncate', 'remove', 'json', 'key'])
def test_damaged_files_are_named(tmp_path, damage):
  once(tmp_path)
  (folder,) = tmp_path.iterdir()
  if damage == 'truncate':
    (folder / 'tokens.bin').write_bytes((folder / 'tokens.bin').read_bytes()[:-1])
  elif damage == 'remove':
    (folder / 'tokens.bin').unlink()
  elif damage == 'json':
    (folder / 'tokens.json').write_text('{')
  else:
    (folder / 'tokens.json').write_text(json.dumps({}))
  with pytest.raises(ValueError, match=r'the tokens of mine in .* are damaged') as error:
    once(tmp_path)
  assert str(folder) in str(error.value)
  assert '\n' not in str(error.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match=f'cannot write the tokens of mine into {tmp_path}/file/'):
    once(tmp_path / 'file')


def test_an_empty_corpus_has_no_tokens(tmp_path):
  assert len(corpus.encode([], BYTES, 'mine').ids) == 0
  assert len(once(tmp_path, lambda: iter([])).ids) == 0
