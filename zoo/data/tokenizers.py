"""Text to token ids and back: bytes, characters, or what the `tokenizers` library reads and trains.

Text is never taken for a special token: '<eos>' in a document is five characters. So what `encode`
gives holds no special id, and `decode` of it is the text again: for bytes and byte-level BPE any
text, for characters one over their alphabet.
"""

import functools
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from zoo.data import sentencepieces
from zoo.data.subwords import (
  FILE,
  ROLES,
  LibraryTokenizer,
  check_ids,
  digest,
  load_gpt2,
  train_bpe,
  write,
)
from zoo.names import unknown

NAMES = ('byte', 'char', 'bpe')
# What a folder may hold: ours or any of the `tokenizers` library, GPT-2's, Marian's.
KINDS = ((FILE,), ('vocab.json', 'merges.txt'), sentencepieces.FILES)


class Tokenizer(Protocol):
  """What every tokeniser has. A special id is None where there is no such token."""

  @property
  def vocab_size(self) -> int: ...

  @property
  def token_bytes(self) -> np.ndarray | None:
    """int32 [V]: the UTF-8 bytes that each token stands for, 0 for special tokens.

    Over the tokens of a text they add up to its size. (An unknown character counts 0.) None where
    that cannot be: the tokeniser changes the text, as one that folds case does.
    """
    ...

  @property
  def pad_id(self) -> int | None: ...

  @property
  def bos_id(self) -> int | None: ...

  @property
  def eos_id(self) -> int | None: ...

  @property
  def unk_id(self) -> int | None: ...

  @property
  def mask_id(self) -> int | None: ...

  @property
  def fingerprint(self) -> str:
    """16 hexadecimal digits; alike for tokenisers that give the same ids."""
    ...

  def encode(self, text: str) -> list[int]: ...

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    """`encode` of many texts, as int32 arrays."""
    ...

  def decode(self, ids: Iterable[int]) -> str:
    """The text of some tokens. Special ones say nothing, broken UTF-8 becomes U+FFFD."""
    ...

  def save(self, folder: str | os.PathLike[str]) -> None:
    """Writes 'tokenizer.json', or what else `load` reads."""
    ...


@dataclass(frozen=True)
class ByteTokenizer:
  """Ids 0 .. 255 are the bytes of UTF-8; nothing is learnt, nothing unknown."""

  vocab_size: int = 260
  pad_id: int = 256
  bos_id: int = 257
  eos_id: int = 258
  unk_id: int | None = None
  mask_id: int = 259

  @property
  def token_bytes(self) -> np.ndarray:
    return np.repeat(np.array([1, 0], np.int32), [256, self.vocab_size - 256])

  @property
  def fingerprint(self) -> str:
    return digest('byte')

  def encode(self, text: str) -> list[int]:
    return list(text.encode())

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]

  def decode(self, ids: Iterable[int]) -> str:
    array = check_ids(ids, self.vocab_size)
    return array[array < 256].astype(np.uint8).tobytes().decode(errors='replace')

  def save(self, folder: str | os.PathLike[str]) -> None:
    write(folder, json.dumps({'zoo': 'byte'}))


@dataclass(frozen=True)
class CharTokenizer:
  """A token per character of an alphabet; any other character becomes '<unk>', which is lost.

  Attributes:
    alphabet: the characters, each once; their ids follow those of the special tokens.
  """

  alphabet: str
  pad_id: int = 0
  bos_id: int = 1
  eos_id: int = 2
  unk_id: int = 3
  mask_id: int = 4

  @property
  def vocab_size(self) -> int:
    return len(ROLES) + len(self.alphabet)

  @property
  def token_bytes(self) -> np.ndarray:
    return np.array([0] * len(ROLES) + [len(c.encode()) for c in self.alphabet], np.int32)

  @property
  def fingerprint(self) -> str:
    return digest('char', self.alphabet)

  @functools.cached_property
  def table(self) -> np.ndarray:
    """int32 [number of code points]: the id of each."""
    table = np.full(0x110000, self.unk_id, np.int32)
    table[[ord(c) for c in self.alphabet]] = np.arange(len(ROLES), self.vocab_size)
    return table

  def encode(self, text: str) -> list[int]:
    return self.encode_batch([text])[0].tolist()

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    return [self.table[np.frombuffer(text.encode('utf-32-le'), np.uint32)] for text in texts]

  def decode(self, ids: Iterable[int]) -> str:
    characters = ['', '', '', '\ufffd', '', *self.alphabet]
    return ''.join(characters[i] for i in check_ids(ids, self.vocab_size).tolist())

  def save(self, folder: str | os.PathLike[str]) -> None:
    write(folder, json.dumps({'zoo': 'char', 'alphabet': self.alphabet}))


def make(name: str, texts: Iterable[str] = (), vocab_size: int = 8192) -> Tokenizer:
  """Makes or loads a tokeniser.

  Args:
    name: 'byte', 'char', 'bpe', or a path that `load` takes.
    texts: what the alphabet of 'char' or the merges of 'bpe' are learnt from; read once.
    vocab_size: of 'bpe', with its 4 special tokens and 256 bytes. Fewer if the text has no more
      pairs that occur twice.

  Raises:
    ValueError: an unknown name, no text to learn from, or a vocabulary below 260.
  """
  if name == 'byte':
    return ByteTokenizer()
  if name == 'char':
    alphabet: set[str] = set()
    for text in texts:
      alphabet.update(text)
    if not alphabet:
      raise ValueError("tokenizer 'char' has no text to take its alphabet from")
    return CharTokenizer(''.join(sorted(alphabet)))
  if name == 'bpe':
    return train_bpe(texts, vocab_size)
  if not Path(name).expanduser().exists():
    raise ValueError(f'{unknown("tokenizer", name, NAMES)}, and paths; there is no such path')
  return load(name)


def held_by(folder: Path) -> bool:
  """Whether a folder holds files that `load` reads."""
  return any(all((folder / name).is_file() for name in names) for names in KINDS)


def load(path: str | os.PathLike[str]) -> Tokenizer:
  """Loads a tokeniser.

  Args:
    path: a 'tokenizer.json', of ours or of the `tokenizers` library; a folder that holds one; or a
      folder with GPT-2's 'vocab.json' and 'merges.txt', or with Marian's 'source.spm', 'target.spm'
      and 'vocab.json'.

  Raises:
    ValueError: there is none, or it is damaged.
  """
  path = Path(path).expanduser()
  file = path / FILE if path.is_dir() else path
  pair = (path / 'vocab.json', path / 'merges.txt')
  if not file.is_file() and all(p.is_file() for p in pair):
    return load_gpt2(*pair)
  if not file.is_file() and all((path / name).is_file() for name in sentencepieces.FILES):
    return sentencepieces.load_marian(path)
  if not file.is_file():
    there = f'{path} holds no {FILE}, nor vocab.json with merges.txt or *.spm'
    raise ValueError(there if path.is_dir() else f'{path}: there is no such tokenizer file')
  import tokenizers

  try:
    text = file.read_text(encoding='utf-8')
    values = json.loads(text)
    kind = values.get('zoo')
    if kind == 'byte':
      return ByteTokenizer()
    if kind == 'char':
      if len(set(values['alphabet'])) != len(values['alphabet']):
        raise ValueError('a character occurs twice')
      return CharTokenizer(values['alphabet'])
    return LibraryTokenizer(tokenizers.Tokenizer.from_str(text))
  except Exception as error:  # JSON's, UnicodeDecodeError, KeyError, the library's bare Exception
    reason = f'{error}'.splitlines()[0] if f'{error}' else type(error).__name__
    raise ValueError(f'{file} is not a tokenizer, or damaged: {reason}') from error


def require_same(tokenizer: Tokenizer, fingerprint: str, owner: str) -> None:
  """Refuses a tokeniser that is not the one that a model was trained with.

  Args:
    tokenizer: what there is.
    fingerprint: of what there should be.
    owner: whose it is, for the message: a run directory.

  Raises:
    ValueError: they differ.
  """
  if tokenizer.fingerprint != fingerprint:
    raise ValueError(
      f'{owner} was made with another tokenizer: its fingerprint is {fingerprint}, this one, of '
      f'{tokenizer.vocab_size} tokens, has {tokenizer.fingerprint}'
    )
