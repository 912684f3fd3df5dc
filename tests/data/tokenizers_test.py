import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from zoo.data import tokenizers

TEXTS = [
  'The quick brown fox jumps over the lazy dog.\n\nIt is the 3rd time; the dog sleeps.\n',
  '    def f(x):\r\n\treturn x ** 2  # größer als 7\n',
  'date: 2021年5月3日, الاثنين، 3 مايو \U0001f600\x00',
] * 3
# All of Unicode that UTF-8 can say: every code point but the surrogates.
UNICODE = ''.join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))


@pytest.fixture(scope='module', params=['byte', 'char', 'bpe'])
def tokenizer(request):
  return tokenizers.make(request.param, TEXTS, vocab_size=300)


@pytest.fixture(scope='module')
def bpe():
  return tokenizers.make('bpe', TEXTS, vocab_size=300)


def test_round_trip_and_bytes(tokenizer):
  for text in ['', *TEXTS]:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes[np.array(ids, np.int32)].sum() == len(text.encode())
    assert tokenizer.decode(np.array(ids)) == text


def test_batches_are_encoded_as_single_texts_are(tokenizer):
  for ids, text in zip(tokenizer.encode_batch(TEXTS), TEXTS, strict=True):
    assert ids.dtype == np.int32
    assert ids.tolist() == tokenizer.encode(text)


@pytest.mark.slow
def test_round_trip_of_all_unicode(bpe):
  for tokenizer in (tokenizers.ByteTokenizer(), bpe, tokenizers.make('char', [UNICODE])):
    for start in range(0, len(UNICODE), 400_000):
      text = UNICODE[start : start + 400_000]
      ids = tokenizer.encode_batch([text])[0]
      assert tokenizer.decode(ids) == text
      assert tokenizer.token_bytes[ids].sum() == len(text.encode())


def test_special_tokens(tokenizer):
  special = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id]
  assert len({*special}) == 4
  assert max(special) < tokenizer.vocab_size == len(tokenizer.token_bytes)
  assert tokenizer.token_bytes[special].tolist() == [0] * 4
  assert tokenizer.token_bytes.dtype == np.int32
  assert tokenizer.decode([tokenizer.bos_id, *tokenizer.encode('fox'), tokenizer.eos_id]) == 'fox'


def test_text_is_never_a_special_token(bpe):
  for text in ('<eos>', 'a<pad><|endoftext|>[SEP]'):
    assert not {0, 1, 2, 3} & set(bpe.encode(text))
    assert bpe.decode(bpe.encode(text)) == text


def test_bytes_are_bytes():
  tokenizer = tokenizers.ByteTokenizer()
  assert tokenizer.encode('aé') == [97, 0xC3, 0xA9]
  assert tokenizer.decode([97, 0xC3]) == 'a\ufffd'  # a character that is not finished
  assert tokenizer.vocab_size == 260
  assert tokenizer.unk_id is None


def test_unknown_characters_become_unk():
  tokenizer = tokenizers.make('char', ['cab', 'bad'])
  assert tokenizer.encode('abcd') == [5, 6, 7, 8]  # after five special tokens
  assert tokenizer.encode('axb') == [5, tokenizer.unk_id, 6]
  assert tokenizer.decode(tokenizer.encode('axb')) == 'a\ufffdb'


def test_ids_outside_the_vocabulary_are_refused(tokenizer):
  for i in (-1, tokenizer.vocab_size):
    with pytest.raises(ValueError, match=f'there is no token {i} in a vocabulary of'):
      tokenizer.decode([0, i])


def test_save_and_load(tokenizer, tmp_path):
  tokenizer.save(tmp_path / 'new')
  for path in (tmp_path / 'new', tmp_path / 'new' / 'tokenizer.json'):
    again = tokenizers.make(str(path))
    assert again.fingerprint == tokenizer.fingerprint
    assert again.vocab_size == tokenizer.vocab_size
    assert [again.encode(text) for text in TEXTS] == [tokenizer.encode(text) for text in TEXTS]
    np.testing.assert_array_equal(again.token_bytes, tokenizer.token_bytes)


def test_fingerprints_tell_tokenizers_apart(bpe):
  different = [
    tokenizers.make('byte'),
    tokenizers.make('char', ['ab']),
    tokenizers.make('char', ['abc']),
    bpe,
    tokenizers.make('bpe', TEXTS, 299),
  ]
  assert len({t.fingerprint for t in different}) == 5
  tokenizers.require_same(bpe, bpe.fingerprint, 'runs/a')
  with pytest.raises(
    ValueError, match='runs/a was made with another tokenizer: its fingerprint is'
  ):
    tokenizers.require_same(different[0], bpe.fingerprint, 'runs/a')


@pytest.mark.slow
def test_training_is_deterministic(bpe):
  again = tokenizers.make('bpe', iter(TEXTS), vocab_size=300)
  assert again.fingerprint == bpe.fingerprint
  code = (
    'import sys, json; from zoo.data import tokenizers\n'
    "print(tokenizers.make('bpe', json.loads(sys.argv[1]), 300).fingerprint)"
  )
  command = [sys.executable, '-c', code, json.dumps(TEXTS)]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == bpe.fingerprint


def test_bpe_has_learnt_to_be_shorter(bpe):
  assert bpe.vocab_size == 300
  text = 'the dog sleeps over the dog'
  assert len(bpe.encode(text)) < 0.6 * len(text)


def test_bpe_joins_the_most_frequent_pair_first():
  bpe = tokenizers.make('bpe', ['abab abab ac'], vocab_size=261)
  assert bpe.encode('ab') == [260]  # 4 specials, 256 bytes, then the first merge
  assert len(bpe.encode('ac')) == 2


def write_gpt2(folder, merges):
  """GPT-2's two files, with fewer merges: bytes in its order, merges, end of text."""
  visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
  hidden = [b for b in range(256) if b not in visible]
  letters = {b: chr(b) for b in visible} | {b: chr(256 + i) for i, b in enumerate(hidden)}
  tokens = [letters[b] for b in (*visible, *hidden)] + [''.join(m) for m in merges]
  vocab = {token: i for i, token in enumerate([*tokens, '<|endoftext|>'])}
  folder.mkdir(exist_ok=True)
  (folder / 'vocab.json').write_text(json.dumps(vocab))
  lines = ['#version: 0.2', *(' '.join(m) for m in merges)]
  (folder / 'merges.txt').write_text('\n'.join(lines) + '\n', encoding='utf-8')
  return vocab, letters


MERGES = [
  *(('Ġ', 't'), ('h', 'e'), ('Ġt', 'he'), ('i', 'n'), ('Ġ', 'd'), ('o', 'g'), ('Ġd', 'og')),
  *(("'", 's'), ('2', '0'), ('20', '2'), ('Ġ', 'Ġ'), ('ĠĠ', 'ĠĠ'), ('Ċ', 'Ċ'), ('Ã', '©')),
  *(('t', 'he'), ('a', 'n')),
]


def reference(text, vocab, letters):
  """GPT-2's encoding, written from its paper and for ASCII and Latin letters alone."""
  ranks = {pair: i for i, pair in enumerate(MERGES)}
  pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-zÀ-ÿ]+| ?[0-9]+| ?[^\sA-Za-zÀ-ÿ0-9]+|\s+(?!\S)|\s+"
  ids = []
  for word in re.findall(pattern, text):
    parts = [letters[byte] for byte in word.encode()]
    while True:
      pairs = [(ranks.get(pair, 999), i) for i, pair in enumerate(itertools.pairwise(parts))]
      rank, i = min(pairs, default=(999, 0))
      if rank == 999:
        break
      parts[i : i + 2] = [parts[i] + parts[i + 1]]
    ids += [vocab[part] for part in parts]
  return ids


@pytest.mark.parametrize(
  'text',
  [
    'the dog in the den',
    "    the dog's  an\n\n\n  other\t 2021 in  ",
    "the café 's in 20220 'the' (dog)!? ",
    '\x00\x7f\x80ÿ',
    '',
  ],
)
def test_gpt2_files_give_the_ids_of_gpt2(tmp_path, text):
  vocab, letters = write_gpt2(tmp_path / 'gpt2', MERGES)
  tokenizer = tokenizers.load(tmp_path / 'gpt2')
  assert tokenizer.encode(text) == reference(text, vocab, letters)
  assert tokenizer.decode(tokenizer.encode(text)) == text
  assert tokenizer.eos_id == tokenizer.bos_id == vocab['<|endoftext|>'] == len(vocab) - 1
  assert tokenizer.pad_id is tokenizer.mask_id is None
  assert tokenizer.vocab_size == len(vocab)
  assert tokenizer.token_bytes[tokenizer.encode(text)].sum() == len(text.encode())
  assert tokenizer.token_bytes[tokenizer.eos_id] == 0


def test_a_tokenizer_that_changes_text_has_no_bytes(tmp_path):
  import tokenizers as library

  folding = library.Tokenizer(library.models.WordLevel({'[UNK]': 0, 'the': 1}, unk_token='[UNK]'))
  folding.normalizer = library.normalizers.Lowercase()
  folding.pre_tokenizer = library.pre_tokenizers.Whitespace()
  folding.add_special_tokens(['[UNK]', '[CLS]', '[SEP]', '[PAD]', '[MASK]'])
  folding.post_processor = library.processors.BertProcessing(('[SEP]', 3), ('[CLS]', 2))
  folding.save(str(tmp_path / 'tokenizer.json'))
  tokenizer = tokenizers.load(tmp_path)
  assert tokenizer.encode('The dog') == [1, 0]  # and no [CLS] nor [SEP]
  assert tokenizer.token_bytes is None
  special = [tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id]
  assert special == [0, 2, 3, 4]
  assert tokenizer.mask_id == 5


@pytest.mark.parametrize(
  'content',
  [b'', b'{', b'[1]', b'{"zoo": "char"}', b'{"version": "1.0"}', b'\xff\xfe', b'{"model": 3}'],
)
def test_damaged_files_are_named(tmp_path, content):
  (tmp_path / 'tokenizer.json').write_bytes(content)
  with pytest.raises(ValueError, match=r'is not a tokenizer, or damaged: \S') as error:
    tokenizers.load(tmp_path)
  assert str(tmp_path / 'tokenizer.json') in str(error.value)
  assert '\n' not in str(error.value)


def test_truncated_files_are_named(tokenizer, tmp_path):
  tokenizer.save(tmp_path)
  file = tmp_path / 'tokenizer.json'
  file.write_bytes(file.read_bytes()[:-2])
  with pytest.raises(ValueError, match=re.escape(f'{file} is not a tokenizer, or damaged')):
    tokenizers.load(tmp_path)


def test_damaged_gpt2_files_are_named(tmp_path):
  write_gpt2(tmp_path, MERGES)
  (tmp_path / 'merges.txt').write_text('#version: 0.2\nq q\n')  # 'qq' is not in the vocabulary
  with pytest.raises(
    ValueError, match=r'merges\.txt are not a vocabulary and its merges: '
  ) as error:
    tokenizers.load(tmp_path)
  assert '\n' not in str(error.value)


def test_what_does_not_exist_is_named(tmp_path):
  with pytest.raises(ValueError, match="unknown tokenizer 'chars'; did you mean 'char'"):
    tokenizers.make('chars')
  with pytest.raises(ValueError, match=re.escape(f'{tmp_path} holds no tokenizer.json, nor vocab')):
    tokenizers.make(str(tmp_path))
  with pytest.raises(ValueError, match=r'x\.json: there is no such tokenizer file'):
    tokenizers.load(tmp_path / 'x.json')
  with pytest.raises(ValueError, match="'char' has no text to take its alphabet from"):
    tokenizers.make('char', ['', ''])
  with pytest.raises(ValueError, match="'bpe' needs a vocabulary of at least 260, not 259"):
    tokenizers.make('bpe', TEXTS, 259)
