"""Text by name, as documents in pieces: a person's own files, or any TFDS dataset with text.

  text:PATH/book.txt   one document; the split 'train' is its bytes
  text:PATH            a document per .txt file, also in subfolders; the split 'train' is the files
  text:PATH            with PATH/train, PATH/test ...: the subfolders are the splits

Slices make further splits: 'train[:90%]' and 'train[90%:]' share no character.
"""

import os
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from zoo.data.corpus import Piece

PREFIX = 'text:'
SPLITS = ('train', 'validation', 'valid', 'val', 'test')
CHUNK = 2**20  # bytes of a file read at once
SCANNED = 256  # records read at once


class Documents(NamedTuple):
  """The documents of a split.

  Attributes:
    name: what messages call them.
    identity: what changes when they change.
    pieces: begins to read them: yields (text, whether a document ends with it).
  """

  name: str
  identity: str
  pieces: Callable[[], Iterator[Piece]]

  def texts(self) -> Iterator[str]:
    """The documents, each whole."""
    parts = []
    for text, ends in self.pieces():
      parts.append(text)
      if ends:
        yield ''.join(parts)
        parts = []


def open_documents(
  name: str,
  split: str,
  data_dir: str | os.PathLike[str] | None = None,
  text_key: str = '',
) -> Documents:
  """Opens the text of a split.

  Args:
    name: 'text:PATH', or as TFDS has it: 'pydocs', 'lm1b', 'wikipedia/20230601.en'.
    split: in TFDS syntax: 'train[:90%]'.
    data_dir: where TFDS datasets lie; None is TFDS's default.
    text_key: the field of a TFDS dataset that holds the text; empty for 'text', or the only one.

  Raises:
    ValueError: no such dataset, split, field or file, no text in it, or (while reading) text that
      is not UTF-8; the message names the record, or the file and the byte.
  """
  if name.startswith(PREFIX):
    return open_files(Path(name.removeprefix(PREFIX)).expanduser(), split)
  from zoo.data import tfds

  records = tfds.records(name, split, data_dir)
  key = text_field(records, text_key)

  def pieces() -> Iterator[Piece]:
    for i, example in enumerate(scan(records)):
      yield decode(example[key], records, i), True

  # An example of each end, as the same version may be prepared again from another source.
  ends = repr((records[0][key], records[len(records) - 1][key]))
  files = [file for _, file in records.files]
  return Documents(records.name, f'{records.name} {key} {len(records)} {files} {ends}', pieces)


def text_field(records: Any, key: str = '') -> str:
  """The field of records that holds text: the one asked for, or 'text', or the only one."""
  fields = text_fields(records)
  if key in fields:
    return key
  if not key and 'text' in fields:
    return 'text'
  if not key and len(fields) == 1:
    return fields[0]
  wanted = f"no text field '{key}'" if key else 'no text field that stands out (set text_key)'
  raise ValueError(f'{records.name} has {wanted}; there are: {", ".join(fields) or "none"}')


def text_fields(records: Any) -> list[str]:
  """The fields of records that hold text."""
  return [key for key, value in records[0].items() if isinstance(value, bytes | str)]


def scan(records: Any) -> Iterator[dict[str, Any]]:
  """All examples in order, as TFDS decodes them: text as bytes, images not.

  In groups, which array_record reads 8 times faster than one by one (short texts: 50 us each).
  """
  for start in range(0, len(records), SCANNED):
    group = range(start, min(start + SCANNED, len(records)))
    try:
      examples = records.source.__getitems__(list(group))
    except Exception:  # which of them is damaged, and in which file, is known one by one
      examples = [records[i] for i in group]
    yield from examples


def decode(value: bytes | str, records: Any, index: int) -> str:
  """UTF-8, strictly: of the record of that index."""
  try:
    return value if isinstance(value, str) else value.decode()
  except UnicodeDecodeError as error:
    raise ValueError(f'{records.where(index)}: not UTF-8 at byte {error.start}') from error


def open_files(path: Path, split: str) -> Documents:
  """Opens a file, or a folder of .txt files, as documents."""
  from zoo.data.folder import split_slices

  if not path.exists():
    raise ValueError(f'{path}: there is no such text file or folder')
  has_splits = (path / 'train').is_dir()
  roots = {s: path / s for s in SPLITS if (path / s).is_dir()} if has_splits else {'train': path}
  sizes: dict[str, int] = {}
  listing: dict[str, list[Path]] = {}
  for name, root in roots.items():
    files = sorted(f for f in root.rglob('*.txt') if f.is_file()) if root.is_dir() else [root]
    listing[name] = files
    sizes[name] = len(files) if root.is_dir() else root.stat().st_size
    if sizes[name] == 0:
      raise ValueError(f'{root}: {"there are no .txt files here" if not files else "it is empty"}')
  infos = {
    name: types.SimpleNamespace(num_examples=size, shard_lengths=[size])
    for name, size in sizes.items()
  }
  spans: list[tuple[Path, int, int]] = []
  for name, start, stop in split_slices(split, infos, f'{PREFIX}{path}'):
    if roots[name].is_dir():
      spans += [(file, 0, file.stat().st_size) for file in listing[name][start:stop]]
    else:
      spans.append((path, whole_character(path, start), whole_character(path, stop)))
  if not any(stop > start for _, start, stop in spans):
    raise ValueError(f"{PREFIX}{path}: split '{split}' has no text in it")

  def pieces() -> Iterator[Piece]:
    for file, start, stop in spans:
      yield from read(file, start, stop)

  changes = [(f'{f.resolve()}', f.stat().st_mtime_ns, start, stop) for f, start, stop in spans]
  return Documents(f'{PREFIX}{path} ({split})', repr(changes), pieces)


def whole_character(path: Path, position: int) -> int:
  """The first byte at or after `position` at which a character begins."""
  with path.open('rb') as file:
    file.seek(position)
    following = file.read(3)
  for i, byte in enumerate(following):
    if byte & 0xC0 != 0x80:
      return position + i
  return position + len(following)


def read(path: Path, start: int, stop: int) -> Iterator[Piece]:
  """The text of a file from one byte to another, in pieces of about CHUNK bytes."""
  text, rest, position = '', b'', start
  with path.open('rb') as file:
    file.seek(start)
    while position < stop:
      data = rest + file.read(min(CHUNK, stop - position))
      if len(data) == len(rest):
        raise ValueError(f'{path}: it became shorter while it was read')
      begin = position - len(rest)  # of data, in the file
      position = begin + len(data)
      try:
        text, rest = text + data.decode(), b''
      except UnicodeDecodeError as error:
        if error.reason != 'unexpected end of data' or position == stop:
          at = begin + error.start
          raise ValueError(f'{path}: not UTF-8 at byte {at}') from error
        text, rest = text + data[: error.start].decode(), data[error.start :]
      if position < stop:
        cut = cut_point(text)
        if cut:
          yield text[:cut], False
          text = text[cut:]
  if stop > start:
    yield text, True


def cut_point(text: str) -> int:
  """Where a token ends for certain: after the last line break with visible characters around it.

  The patterns of GPT-2 and GPT-4 never join those, while among several spaces it matters which are
  seen together. 0 if there is no such place; but where there is none for long, it is the end.
  """
  cut = text.rfind('\n', 0, max(len(text) - 1, 0))
  while cut > 0:
    if not text[cut - 1].isspace() and not text[cut + 1].isspace():
      return cut + 1
    cut = text.rfind('\n', 0, cut)
  return len(text) if len(text) > 4 * CHUNK else 0
