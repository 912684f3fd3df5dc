"""Text to arrays of fixed length: pairs to translate, and texts to classify.

Every text ends with an eos token and is padded at the right. One that is too long loses its end,
but keeps the eos; a note says how many there are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from zoo.data import arrays, stream
from zoo.data.documents import decode, scan
from zoo.data.tokenizers import Tokenizer
from zoo.types import Source

SAMPLE = 1000  # texts that tell how many are too long, where not all are encoded beforehand

Make = Callable[[Iterable[str]], Tokenizer]  # from texts to learn from


class Field(NamedTuple):
  """One text of an example.

  Attributes:
    key: the field of the record that holds it.
    length: tokens of the array, with eos and padding.
    begin: whether a bos token comes first, if the tokeniser has one.
  """

  key: str
  length: int
  begin: bool = False


class Encoded(NamedTuple):
  """Sources of examples {name: int32 [B, length] for each field}, with 'label' if asked for.

  Attributes:
    train: an endless source.
    evaluation: sources of one pass, by split.
    tokenizer: of all splits.
    notes: a line about each split.
  """

  train: Source
  evaluation: dict[str, Source]
  tokenizer: Tokenizer
  notes: tuple[str, ...]


def held(
  records: Mapping[str, Any],
  fields: Mapping[str, Field],
  make: Make,
  batch_sizes: tuple[int, int],
  *,
  labels: bool = False,
) -> Encoded:
  """Encodes all texts once and puts them on the device.

  Args:
    records: by split, 'train' among them: as from `zoo.data.tfds`.
    fields: what to encode, by the name it has in a batch.
    make: makes the tokeniser from the texts of the training split.
    batch_sizes: examples in a batch, of training and of evaluation.
    labels: whether a batch has the field 'label' too, int32 [B].

  Raises:
    ValueError: a tokeniser without pad or eos, a length below 2, no labels, or a bad record.
  """
  check(records, fields, labels)
  texts, classes = {}, {}
  for split, of_split in records.items():
    texts[split], classes[split] = columns(of_split, fields, labels)
  tokenizer = make(text for column in texts['train'].values() for text in column)
  pad_and_eos(tokenizer)

  examples, notes = {}, []
  for split, of_split in records.items():
    encoded, shortened = {}, []
    for name, field in fields.items():
      ids = encode_all(tokenizer, name, texts[split].pop(name))
      encoded[name] = np.stack([fit(row, field, tokenizer) for row in ids])
      shortened.append(sum(too_long(row, field, tokenizer) for row in ids))
    if labels:
      encoded['label'] = classes[split]
    examples[split] = encoded
    notes.append(note(of_split.name, len(of_split), fields, shortened))
  train = arrays.epochs(examples.pop('train'), batch_sizes[0])
  passes = {split: arrays.one_pass(x, batch_sizes[1]) for split, x in examples.items()}
  return Encoded(train, passes, tokenizer, tuple(notes))


def streamed(
  records: Mapping[str, Any],
  fields: Mapping[str, Field],
  make: Make,
  batch_sizes: tuple[int, int],
  *,
  labels: bool = False,
  shard: tuple[int, int] = (0, 1),
  workers: int = 0,
) -> Encoded:
  """Encodes batch by batch on the host. Arguments are those of `held` and `stream.stream`.

  The notes are about the first records of each split only.
  """
  check(records, fields, labels)
  train = records['train']
  learnt = (
    decode(example[field.key], train, i)
    for i, example in enumerate(scan(train))
    for field in fields.values()
  )
  tokenizer = make(learnt)
  pad_and_eos(tokenizer)
  encoded = {s: EncodedRecords(r, tokenizer, fields, labels) for s, r in records.items()}
  keys = (*fields, 'label') if labels else tuple(fields)
  options = {'keys': keys, 'shard': shard, 'workers': workers}

  notes = []
  for of_split in encoded.values():
    count = min(len(of_split), SAMPLE)
    ids = [of_split.encode(of_split.records[i], i) for i in range(count)]
    shortened = [sum(too_long(row[n], f, tokenizer) for row in ids) for n, f in fields.items()]
    notes.append(note(of_split.name, count, fields, shortened))
  source = stream.stream(encoded.pop('train'), batch_sizes[0], **options)
  passes = {s: stream.one_pass(r, batch_sizes[1], **options) for s, r in encoded.items()}
  return Encoded(source, passes, tokenizer, tuple(notes))


@dataclass(frozen=True)
class EncodedRecords:
  """Records whose texts are encoded when they are read: a `zoo.data.stream.Records`."""

  records: Any
  tokenizer: Tokenizer
  fields: Mapping[str, Field]
  labels: bool

  @property
  def name(self) -> str:
    return self.records.name

  @property
  def num_classes(self) -> int | None:
    return self.records.num_classes if self.labels else None

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> dict[str, Any]:
    record = self.records[index]
    ids = self.encode(record, index)
    example = {name: fit(ids[name], field, self.tokenizer) for name, field in self.fields.items()}
    return example | ({'label': record['label']} if self.labels else {})

  def encode(self, record: Mapping[str, Any], index: int) -> dict[str, np.ndarray]:
    """The tokens of every field, as many as there are."""
    return {
      name: encode_all(self.tokenizer, name, [decode(record[field.key], self.records, index)])[0]
      for name, field in self.fields.items()
    }

  def where(self, index: int) -> str:
    return self.records.where(index)


def encode_all(tokenizer: Tokenizer, name: str, texts: Sequence[str]) -> list[np.ndarray]:
  """The tokens of each text of a field, by its own model where a tokeniser has one for targets."""
  if name == 'target' and (encode := getattr(tokenizer, 'encode_target', None)):
    return [np.array(encode(text), np.int32) for text in texts]
  return tokenizer.encode_batch(texts)


def columns(
  records: Any, fields: Mapping[str, Field], labels: bool
) -> tuple[dict[str, list[str]], np.ndarray]:
  """All texts by field, and all labels, int32 [N] (none if not asked for)."""
  found: dict[str, list[str]] = {name: [] for name in fields}
  classes = []
  for i, example in enumerate(scan(records)):
    for name, field in fields.items():
      found[name].append(decode(example[field.key], records, i))
    if labels:
      label = int(example['label'])
      if not 0 <= label < records.num_classes:
        raise ValueError(
          f"{records.where(i)}: 'label' is {label}, but must be in [0, {records.num_classes})"
        )
      classes.append(label)
  return found, np.array(classes, np.int32)


def too_long(ids: Any, field: Field, tokenizer: Tokenizer) -> bool:
  return len(ids) > room(field, tokenizer)


def room(field: Field, tokenizer: Tokenizer) -> int:
  """The tokens of a text that fit."""
  return field.length - 1 - (field.begin and tokenizer.bos_id is not None)


def fit(ids: Any, field: Field, tokenizer: Tokenizer) -> np.ndarray:
  """Begins, ends and pads a text: int32 [length]."""
  pad, eos = pad_and_eos(tokenizer)
  row = np.full(field.length, pad, np.int32)
  kept = ids[: room(field, tokenizer)]
  start = field.length - 1 - room(field, tokenizer)
  row[:start] = tokenizer.bos_id or 0
  row[start : start + len(kept)] = kept
  row[start + len(kept)] = eos
  return row


def check(records: Mapping[str, Any], fields: Mapping[str, Field], labels: bool) -> None:
  for name, field in fields.items():
    if field.length < 3:
      raise ValueError(f'the length of {name} must be at least 3, not {field.length}')
  for of_split in records.values():
    if labels and of_split.num_classes is None:
      raise ValueError(f'{of_split.name} has no class labels, which classification needs')


def pad_and_eos(tokenizer: Tokenizer) -> tuple[int, int]:
  """The two special ids that texts of fixed length need."""
  pad, eos = tokenizer.pad_id, tokenizer.eos_id
  if pad is None or eos is None:
    role = 'pad' if pad is None else 'eos'
    raise ValueError(f'the tokenizer has no {role} token, which texts of fixed length need')
  return pad, eos


def note(name: str, count: int, fields: Mapping[str, Field], shortened: list[int]) -> str:
  """How many texts were too long, in a line."""
  parts = [
    f'{cut} {text} too long for {field.length} tokens'
    for (text, field), cut in zip(fields.items(), shortened, strict=True)
  ]
  return f'{name}: of {count:,} examples {", ".join(parts)}'
