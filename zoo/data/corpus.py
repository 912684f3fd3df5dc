"""A corpus as one row of tokens: in memory, or written once to a file and mapped from there.

A corpus comes in pieces, (text, whether a document ends with it), so that neither it nor a document
of any size is held in memory whole. An eos token follows each document.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from zoo.data.tokenizers import Tokenizer

Piece = tuple[str, bool]
GROUP = 2**22  # characters encoded at once


class Tokens(NamedTuple):
  """A corpus as one row of tokens.

  Attributes:
    ids: uint16 or int32 [N], in memory or a read-only memory map.
    num_bytes: of its text in UTF-8.
    num_unknown: how many of the tokens are '<unk>'.
    name: what messages call it.
  """

  ids: np.ndarray
  num_bytes: int
  num_unknown: int
  name: str


def encode(pieces: Iterable[Piece], tokenizer: Tokenizer, name: str) -> Tokens:
  """Tokenises a corpus that fits in memory.

  Args:
    pieces: (text, whether a document ends with it). An eos token follows each document.
    tokenizer: whose ids to give; if it has no eos token, documents just follow each other.
    name: what messages call the corpus.
  """
  parts = [np.zeros(0, id_dtype(tokenizer))]
  num_bytes, num_unknown = encode_to(parts.append, pieces, tokenizer)
  return Tokens(np.concatenate(parts), num_bytes, num_unknown, name)


def encode_once(
  pieces: Callable[[], Iterable[Piece]],
  tokenizer: Tokenizer,
  name: str,
  folder: str | os.PathLike[str],
  identity: str,
) -> Tokens:
  """Tokenises a corpus into a file, unless that has been done, and maps the file into memory.

  No more than a group of documents is held at a time, and afterwards only what is read. A folder
  appears whole or not at all; two processes may do this at once.

  Args:
    pieces: begins to read the corpus, as in `encode`.
    tokenizer: as in `encode`.
    name: as in `encode`.
    folder: where the files are kept, each in a folder named by corpus and tokeniser.
    identity: of the corpus: another one, or a changed one, must have another.

  Raises:
    ValueError: the file is damaged or the folder not writable.
  """
  dtype = id_dtype(tokenizer)
  key = hashlib.sha256(f'{identity}\n{tokenizer.fingerprint}\n{dtype}'.encode()).hexdigest()[:16]
  path = Path(folder).expanduser() / key
  if not path.is_dir():
    try:
      write_tokens(path, pieces, tokenizer, {'corpus': identity, 'dtype': str(dtype)})
    except OSError as error:
      raise ValueError(f'cannot write the tokens of {name} into {path}: {error}') from error
  try:
    about = json.loads((path / 'tokens.json').read_text())
    size = (path / 'tokens.bin').stat().st_size
    if size != about['num_tokens'] * dtype.itemsize:
      raise ValueError(f'{size} bytes instead of {about["num_tokens"] * dtype.itemsize}')
    ids = np.zeros(0, dtype)
    if size:
      ids = np.memmap(path / 'tokens.bin', dtype, mode='r')
    return Tokens(ids, about['num_bytes'], about['num_unknown'], name)
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(
      f'the tokens of {name} in {path} are damaged ({error}); remove that folder'
    ) from error


def write_tokens(
  path: Path,
  pieces: Callable[[], Iterable[Piece]],
  tokenizer: Tokenizer,
  about: dict[str, Any],
) -> None:
  """Writes path/tokens.bin and, about it, path/tokens.json."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=path.parent, prefix=f'{path.name}.tmp') as partial:
    inner = Path(partial) / path.name
    inner.mkdir()
    with (inner / 'tokens.bin').open('wb') as file:
      num_bytes, num_unknown = encode_to(lambda ids: file.write(ids.tobytes()), pieces(), tokenizer)
      file.flush()
      os.fsync(file.fileno())
      num_tokens = file.tell() // id_dtype(tokenizer).itemsize
    about = about | {
      'fingerprint': tokenizer.fingerprint,
      'num_tokens': num_tokens,
      'num_bytes': num_bytes,
      'num_unknown': num_unknown,
    }
    (inner / 'tokens.json').write_text(json.dumps(about))
    try:
      os.replace(inner, path)
    except OSError:
      if not path.is_dir():  # else another process was faster
        raise


def encode_to(
  write: Callable[[np.ndarray], Any], pieces: Iterable[Piece], tokenizer: Tokenizer
) -> tuple[int, int]:
  """Calls `write` with the tokens of a corpus, in order, one array after the other.

  Returns:
    (bytes of the text, unknown tokens).
  """
  dtype, end = id_dtype(tokenizer), tokenizer.eos_id
  num_bytes = num_unknown = 0
  for group in groups(pieces):
    num_bytes += sum(len(text.encode()) for text, _ in group)
    for ids, (_, ends) in zip(tokenizer.encode_batch([t for t, _ in group]), group, strict=True):
      num_unknown += 0 if tokenizer.unk_id is None else np.count_nonzero(ids == tokenizer.unk_id)
      write(np.append(ids, end).astype(dtype) if ends and end is not None else ids.astype(dtype))
  return num_bytes, int(num_unknown)


def groups(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
  """Pieces in lists of about GROUP characters: a library encodes many at a time faster."""
  group, size = [], 0
  for piece in pieces:
    group.append(piece)
    size += len(piece[0])
    if size >= GROUP:
      yield group
      group, size = [], 0
  if group:
    yield group


def id_dtype(tokenizer: Tokenizer) -> np.dtype:
  """The smallest integers that hold all ids."""
  return np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.int32)
