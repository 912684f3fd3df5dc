"""Marian's tokeniser: a SentencePiece model for each language, and one vocabulary for both.

With these three files come the translation models of Helsinki-NLP. The pieces are SentencePiece's,
but their ids are those of vocab.json.
"""

import functools
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.subwords import check_ids, digest

FILES = ('source.spm', 'target.spm', 'vocab.json')
LANGUAGE = re.compile(r'>>[^<> ]+<<')  # what a model for several targets is told in front


@dataclass(frozen=True)
class MarianTokenizer:
  """Encodes text of the source's language, and decodes ids of the target's.

  Attributes:
    source: a SentencePiece model, serialised.
    target: likewise.
    vocabulary: piece -> id, with '</s>', '<unk>' and '<pad>'.
  """

  source: bytes
  target: bytes
  vocabulary: dict[str, int]

  def __post_init__(self):
    for name in ('</s>', '<unk>', '<pad>'):
      if name not in self.vocabulary:
        raise ValueError(f'{name} is not in the vocabulary')
    if sorted(self.vocabulary.values()) != list(range(len(self.vocabulary))):
      raise ValueError('the ids of the vocabulary are not 0, 1, 2 ...')
    _ = self.processors  # a damaged model is refused now

  @functools.cached_property
  def processors(self) -> tuple[Any, Any]:
    import sentencepiece

    load = sentencepiece.SentencePieceProcessor
    try:
      return load(model_proto=self.source), load(model_proto=self.target)
    except RuntimeError as error:
      raise ValueError(f'no SentencePiece model: {error}') from None

  @functools.cached_property
  def pieces(self) -> list[str]:
    return sorted(self.vocabulary, key=self.vocabulary.__getitem__)

  @property
  def vocab_size(self) -> int:
    return len(self.vocabulary)

  @property
  def token_bytes(self) -> None:
    """None: SentencePiece normalises the text, so that bytes are not kept."""

  @property
  def pad_id(self) -> int:
    return self.vocabulary['<pad>']

  @property
  def bos_id(self) -> None:
    """None: Marian's decoder starts with padding."""

  @property
  def eos_id(self) -> int:
    return self.vocabulary['</s>']

  @property
  def unk_id(self) -> int:
    return self.vocabulary['<unk>']

  @property
  def mask_id(self) -> None:
    """None: there is no such token."""

  @property
  def fingerprint(self) -> str:
    return digest(sorted(self.vocabulary.items()), self.source.hex(), self.target.hex())

  def encode(self, text: str) -> list[int]:
    """Ids of a text of the source's language; '</s>' in it is text, and is taken apart."""
    codes = []
    while language := LANGUAGE.match(text):
      codes.append(language.group())
      text = text[language.end() :].lstrip()
    return self.ids(codes + self.processors[0].encode(text, out_type=str))

  def encode_target(self, text: str) -> list[int]:
    """Ids of a text of the target's language."""
    return self.ids(self.processors[1].encode(text, out_type=str))

  def ids(self, pieces: Iterable[str]) -> list[int]:
    return [self.vocabulary.get(piece, self.unk_id) for piece in pieces]

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    return [np.array(self.encode(text), np.int32) for text in texts]

  def decode(self, ids: Iterable[int]) -> str:
    special = {self.pad_id, self.eos_id, self.unk_id}
    kept = [i for i in check_ids(ids, self.vocab_size).tolist() if i not in special]
    return self.processors[1].decode_pieces([self.pieces[i] for i in kept])

  def save(self, folder: str | os.PathLike[str]) -> None:
    """Writes the three files, which `load_marian` reads."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    (path / 'source.spm').write_bytes(self.source)
    (path / 'target.spm').write_bytes(self.target)
    text = json.dumps(self.vocabulary, ensure_ascii=False, indent=0)
    (path / 'vocab.json').write_text(text, encoding='utf-8')


def load_marian(folder: str | os.PathLike[str]) -> MarianTokenizer:
  """Loads the three FILES of a folder.

  Raises:
    ValueError: one of them is damaged, or lacks a special token.
  """
  path = Path(folder)
  try:
    vocabulary = json.loads((path / 'vocab.json').read_text(encoding='utf-8'))
    if not isinstance(vocabulary, dict):
      raise ValueError('vocab.json is no object')
    source, target = ((path / name).read_bytes() for name in FILES[:2])
    return MarianTokenizer(source, target, vocabulary)
  except (ValueError, TypeError) as error:
    raise ValueError(f"{path} holds no tokenizer of Marian's, or a damaged one: {error}") from None
