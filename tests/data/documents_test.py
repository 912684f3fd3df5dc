import re
import types

import pytest

from zoo.data import documents, tokenizers


@pytest.fixture
def book(tmp_path):
  path = tmp_path / 'book.txt'
  path.write_bytes('Grüße\n\n'.encode() * 20)  # 9 bytes, 7 characters each
  return path


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'corpus' / 'sub').mkdir(parents=True)
  for i in range(10):
    (tmp_path / 'corpus' / ('sub' if i % 2 else '') / f'{i}.txt').write_text(f'text {i}')
  (tmp_path / 'corpus' / 'notes.md').write_text('no text')
  return tmp_path / 'corpus'


def texts(path, split='train'):
  return list(documents.open_documents(f'text:{path}', split).texts())


def test_a_file_is_a_document(book):
  assert texts(book) == [book.read_bytes().decode()]


@pytest.mark.parametrize('percent', [1, 10, 33, 50, 77, 99])
def test_slices_of_a_file_share_no_character(book, percent):
  (first,) = texts(book, f'train[:{percent}%]')
  (second,) = texts(book, f'train[{percent}%:]')
  assert first + second == book.read_bytes().decode()
  assert abs(len(first.encode()) - 1.8 * percent) <= 2  # none is longer than 2 bytes


def test_every_byte_is_in_one_slice_of_a_file(book):
  parts = [texts(book, f'train[{i}:{i + 1}]') for i in range(20) if i % 9 not in (3, 5)]
  assert ''.join(part for (part,) in parts) == 'Grüße\n\nGrüße\n\nGr'
  with pytest.raises(ValueError, match=re.escape("split 'train[3:4]' has no text in it")):
    texts(book, 'train[3:4]')  # the second byte of ü


def test_files_of_a_folder_are_documents(folder):
  assert texts(folder) == [f'text {i}' for i in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)]
  assert texts(folder, 'train[:90%]') + texts(folder, 'train[90%:]') == texts(folder)
  assert texts(folder, 'train[2:4]+train[9:]') == ['text 4', 'text 6', 'text 9']


def test_subfolders_are_splits(tmp_path):
  for split in ('train', 'test'):
    (tmp_path / split).mkdir()
    (tmp_path / split / 'a.txt').write_text(split)
  assert texts(tmp_path, 'test') == ['test']
  assert texts(tmp_path, 'train') == ['train']


@pytest.mark.parametrize('chunk', [1, 2, 3, 7, 50, 1000])
def test_pieces_make_up_the_file(book, monkeypatch, chunk):
  monkeypatch.setattr(documents, 'CHUNK', chunk)
  book.write_text('eins\nzwei\n  drei\n\nvier \U0001f600\nfünf\nsechs 一二三\nsieben' * 5)
  pieces = list(documents.open_documents(f'text:{book}', 'train').pieces())
  assert ''.join(text for text, _ in pieces) == book.read_text()
  assert [ends for _, ends in pieces] == [False] * (len(pieces) - 1) + [True]
  if chunk <= 50:
    assert len(pieces) > 3


def test_pieces_do_not_change_tokens(book, monkeypatch):
  book.write_text('def f(x):\n    return x\n\n\nword.\nword!\n  a\nb\n' * 30)
  bpe = tokenizers.make('bpe', [book.read_text()], 400)
  whole = bpe.encode(book.read_text())
  monkeypatch.setattr(documents, 'CHUNK', 20)
  pieces = [text for text, _ in documents.open_documents(f'text:{book}', 'train').pieces()]
  assert len(pieces) > 20
  assert [i for piece in pieces for i in bpe.encode(piece)] == whole


def test_text_without_lines_is_cut_all_the_same(book, monkeypatch):
  monkeypatch.setattr(documents, 'CHUNK', 10)
  book.write_text('x' * 1000)
  pieces = [text for text, _ in documents.open_documents(f'text:{book}', 'train').pieces()]
  assert ''.join(pieces) == 'x' * 1000
  assert max(map(len, pieces)) <= 60


@pytest.mark.parametrize('chunk', [1, 4, 100])
@pytest.mark.parametrize(
  ('content', 'byte'),
  [
    (b'0123\xff567', 4),
    (b'0123\xc3', 4),  # the first half of a character, and no more
    (b'012\xe4\xb8 6', 3),
    (b'\xed\xa0\x80', 0),  # a surrogate
    (b'01\xc0\x80', 2),  # a longer form than need be
  ],
)
def test_broken_utf8_is_named(book, monkeypatch, chunk, content, byte):
  monkeypatch.setattr(documents, 'CHUNK', chunk)
  book.write_bytes(content)
  with pytest.raises(ValueError, match=re.escape(f'{book}: not UTF-8 at byte {byte}')):
    texts(book)


def test_the_byte_is_counted_from_the_start_of_the_file(book):
  book.write_bytes(b'a' * 90 + b'\xff' + b'a' * 9)
  assert texts(book, 'train[:90%]') == ['a' * 90]
  with pytest.raises(ValueError, match='not UTF-8 at byte 90'):
    texts(book, 'train[50%:]')


def test_what_is_not_there_is_named(book, folder, tmp_path):
  with pytest.raises(ValueError, match='nowhere: there is no such text file or folder'):
    texts(tmp_path / 'nowhere')
  with pytest.raises(ValueError, match=re.escape("no split 'validation'; there is train (10 exam")):
    texts(folder, 'validation')
  book.write_text('')
  with pytest.raises(ValueError, match=re.escape(f'{book}: it is empty')):
    texts(book)
  (tmp_path / 'bare').mkdir()
  with pytest.raises(ValueError, match=r'bare: there are no \.txt files here'):
    texts(tmp_path / 'bare')
  (tmp_path / 'bare' / 'a.txt').write_text('')
  with pytest.raises(ValueError, match="bare: split 'train' has no text in it"):
    texts(tmp_path / 'bare')


def test_identity_changes_with_the_text(book, folder):
  opened = lambda path, split='train': documents.open_documents(f'text:{path}', split).identity
  before = opened(book)
  assert opened(book) == before
  assert opened(book, 'train[:50%]') != before
  book.write_text('other')
  assert opened(book) != before
  assert opened(folder, 'train[1:]') != opened(folder)


class Listed(list):
  """Records that can be read in groups, one of them damaged."""

  name = 'listed'

  @property
  def source(self):
    return types.SimpleNamespace(__getitems__=self.group)

  def group(self, indices):
    if 300 in indices:
      raise RuntimeError('something is wrong somewhere')
    return [super(Listed, self).__getitem__(i) for i in indices]

  def __getitem__(self, index):
    if index == 300:
      raise ValueError('listed record 300 (in file) is damaged')
    return super().__getitem__(index)

  def where(self, index):
    return f'listed record {index}'


def test_scan_reads_all_in_order_and_names_what_is_damaged():
  seen = []
  with pytest.raises(ValueError, match='listed record 300'):
    for example in documents.scan(Listed({'text': b'%d' % i} for i in range(1000))):
      seen.append(int(example['text']))
  assert seen == list(range(256))
  short = Listed({'text': b'%d' % i} for i in range(290))
  assert [int(example['text']) for example in documents.scan(short)] == list(range(290))


def test_the_text_field_is_found():
  find = lambda example, key='': documents.text_field(Listed([example]), key)
  assert find({'text': b'', 'title': b'', 'label': 1}) == 'text'
  assert find({'text': b'', 'title': b''}, 'title') == 'title'
  assert find({'story': b'', 'label': 1}) == 'story'
  with pytest.raises(ValueError, match=r'no text field that stands out .*; there are: a, b'):
    find({'a': b'', 'b': b''})
  with pytest.raises(ValueError, match="listed has no text field 'label'; there are: story"):
    find({'story': b'', 'label': 1}, 'label')


def test_records_that_are_not_utf8_are_named():
  with pytest.raises(ValueError, match='listed record 7: not UTF-8 at byte 2'):
    documents.decode(b'ab\xff', Listed(), 7)
