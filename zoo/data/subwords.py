"""Tokenisers of the `tokenizers` library: byte-level BPE, trained here or GPT-2's, and any other.

And what all tokenisers of the zoo share: the names of special tokens, fingerprints, files.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILE = 'tokenizer.json'
# What published tokenisers call their special tokens, the usual name first.
ROLES = {
  'pad': ('<pad>', '[PAD]'),
  'bos': ('<bos>', '<s>', '[CLS]', '<|endoftext|>'),
  'eos': ('<eos>', '</s>', '[SEP]', '<|endoftext|>'),
  'unk': ('<unk>', '[UNK]'),
  'mask': ('<mask>', '[MASK]'),
}


@dataclass(frozen=True)
class LibraryTokenizer:
  """A `tokenizers.Tokenizer`: byte-level BPE, ours or GPT-2's, or any other that it can load.

  No special tokens are added to a text, whatever the file says; who wants them adds them.
  """

  library: Any

  def __post_init__(self):
    self.library.encode_special_tokens = True  # '<eos>' in a text is text
    self.library.no_padding()
    self.library.no_truncation()

  @functools.cached_property
  def description(self) -> dict[str, Any]:
    return json.loads(self.library.to_str())

  @functools.cached_property
  def special_ids(self) -> dict[str, int]:
    return {t['content']: t['id'] for t in self.description['added_tokens'] if t['special']}

  def special(self, role: str) -> int | None:
    ids = [self.special_ids[name] for name in ROLES[role] if name in self.special_ids]
    return ids[0] if ids else None

  @property
  def vocab_size(self) -> int:
    return 1 + max(self.library.get_vocab().values())

  @property
  def token_bytes(self) -> np.ndarray | None:
    return self.sizes

  @functools.cached_property
  def sizes(self) -> np.ndarray | None:
    steps = [self.description['pre_tokenizer'] or {}]
    steps += steps[0].get('pretokenizers', [])
    level = next((step for step in steps if step.get('type') == 'ByteLevel'), None)
    if level is None or level['add_prefix_space'] or self.description['normalizer']:
      return None
    sizes = np.zeros(self.vocab_size, np.int32)
    for token, i in self.library.get_vocab().items():
      sizes[i] = len(token)  # byte-level BPE writes each byte as one character
    for token in self.description['added_tokens']:
      sizes[token['id']] = 0 if token['special'] else len(token['content'].encode())
    return sizes

  @property
  def pad_id(self) -> int | None:
    return self.special('pad')

  @property
  def bos_id(self) -> int | None:
    return self.special('bos')

  @property
  def eos_id(self) -> int | None:
    return self.special('eos')

  @property
  def unk_id(self) -> int | None:
    return self.special('unk')

  @property
  def mask_id(self) -> int | None:
    return self.special('mask')

  @property
  def fingerprint(self) -> str:
    # Not the whole file: versions of the library write merges, and defaults, in different ways.
    model = self.description['model']
    scores = model['vocab'] if model.get('type') == 'Unigram' else []
    merges = [m if isinstance(m, str) else ' '.join(m) for m in model.get('merges', [])]
    around = [self.description[part] for part in ('normalizer', 'pre_tokenizer')]
    return digest(
      sorted(self.library.get_vocab().items()), merges, sorted(self.special_ids), around, *scores
    )

  def encode(self, text: str) -> list[int]:
    return self.library.encode(text, add_special_tokens=False).ids

  def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
    encodings = self.library.encode_batch(list(texts), add_special_tokens=False)
    return [np.array(encoding.ids, np.int32) for encoding in encodings]

  def decode(self, ids: Iterable[int]) -> str:
    return self.library.decode(check_ids(ids, self.vocab_size).tolist(), skip_special_tokens=True)

  def save(self, folder: str | os.PathLike[str]) -> None:
    write(folder, self.library.to_str(pretty=True))


def train_bpe(texts: Iterable[str], vocab_size: int) -> LibraryTokenizer:
  """Learns byte-level BPE. The same texts give the same tokeniser.

  References:
    Sennrich et al. 2016, Neural Machine Translation of Rare Words with Subword Units, section 3.2.
    Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.2: on bytes.
  """
  import tokenizers

  special = [ROLES[role][0] for role in ('pad', 'bos', 'eos', 'mask')]
  if vocab_size < 256 + len(special):
    raise ValueError(f"tokenizer 'bpe' needs a vocabulary of at least 260, not {vocab_size}")
  library = byte_level(tokenizers.models.BPE())
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=vocab_size,
    min_frequency=2,
    special_tokens=special,
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  library.train_from_iterator(texts, trainer)
  return LibraryTokenizer(library)


def load_gpt2(vocab: str | os.PathLike[str], merges: str | os.PathLike[str]) -> LibraryTokenizer:
  """Loads byte-level BPE in the two files that GPT-2 was published with."""
  import tokenizers

  try:
    model = tokenizers.models.BPE.from_file(os.fspath(vocab), os.fspath(merges))
  except Exception as error:  # the library's own, bare
    reason = f'{error}'.splitlines()[0]
    raise ValueError(
      f'{vocab} and {merges} are not a vocabulary and its merges: {reason}'
    ) from error
  library = byte_level(model)
  end = '<|endoftext|>'
  if library.token_to_id(end) is not None:
    library.add_special_tokens([end])
  return LibraryTokenizer(library)


def byte_level(model: Any) -> Any:
  """A `tokenizers.Tokenizer` that splits as GPT-2 does and works on bytes."""
  import tokenizers

  library = tokenizers.Tokenizer(model)
  library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  library.decoder = tokenizers.decoders.ByteLevel()
  return library


def check_ids(ids: Iterable[int], vocab_size: int) -> np.ndarray:
  """Ids as int64 [N].

  Raises:
    ValueError: one that is outside the vocabulary.
  """
  array = np.array(ids if isinstance(ids, np.ndarray) else list(ids), np.int64)
  outside = array[(array < 0) | (array >= vocab_size)]
  if outside.size:
    raise ValueError(f'there is no token {outside[0]} in a vocabulary of {vocab_size}')
  return array


def digest(*parts: Any) -> str:
  text = json.dumps(parts, ensure_ascii=True, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(folder: str | os.PathLike[str], text: str) -> None:
  """Writes 'tokenizer.json' whole or not at all."""
  file = Path(folder) / FILE
  file.parent.mkdir(parents=True, exist_ok=True)
  partial = file.with_name(f'{FILE}.{os.getpid()}.tmp')
  partial.write_text(text, encoding='utf-8')
  os.replace(partial, file)
