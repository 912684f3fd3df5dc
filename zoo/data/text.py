"""Text by name, ready to train on: windows of a corpus, pairs to translate, texts to classify."""

import os
from typing import Any

from zoo.data import corpus, pairs, tokenizers, windows
from zoo.data.dataset import Dataset
from zoo.data.documents import PREFIX, Documents, open_documents, text_field, text_fields
from zoo.data.tokenizers import Tokenizer
from zoo.names import unknown

KINDS = ('windows', 'pairs', 'labels')

MOST_BYTES = 2**31  # metrics count in int32


def load_text(
  name: str = 'pydocs',
  *,
  kind: str = 'windows',
  dir: str | None = None,  # noqa: A002
  train: str = 'train',
  validation: str = 'validation',
  test: str = '',
  text_key: str = '',
  source_key: str = '',
  target_key: str = '',
  tokenizer: str = 'byte',
  vocab_size: int = 8192,
  length: int = 256,
  target_length: int = 0,
  batch_size: int = 32,
  eval_batch_size: int = 0,
  packing: bool = False,
  random_offset: bool = True,
  on_device: bool = True,
  cache: str | None = None,
  trained: Tokenizer | None = None,
  workers: int = 0,
  shard: tuple[int, int] = (0, 1),
) -> Dataset:
  """Loads text by name.

  A batch holds, with 'weight' in evaluation: 'tokens' and 'targets', and 'mask' and 'segments'
  where needed (kind 'windows', see `zoo.data.windows`); 'source' and 'target' ('pairs'); or
  'tokens' and 'label' ('labels').

  Args:
    name: a TFDS name (ours, 'pydocs' and 'dates', need no network) or 'text:PATH', a file or a
      folder of .txt files, for windows.
    kind: 'windows', 'pairs' or 'labels'.
    dir: where TFDS keeps datasets; its own default if None.
    train: split to train on, in TFDS syntax: 'train[:90%]'.
    validation: split to choose by; none if empty.
    test: split for the final figures; none if empty.
    text_key: windows and labels: the field with the text; empty for 'text', or the only one.
    source_key: pairs: the field to translate from; empty for 'source', or the first of two by name.
    target_key: pairs: the field to translate to; empty for 'target', or the second of two by name.
    tokenizer: 'byte', 'char' or 'bpe', learnt from the training split, or the path of one.
    vocab_size: of 'bpe'.
    length: tokens in a window, source or text to classify; the latter with eos.
    target_length: pairs: tokens in a target, with eos; 0 for `length`.
    batch_size: examples in a training batch, over all devices of this process.
    eval_batch_size: in an evaluation batch; 0 for the same.
    packing: windows: number the documents of a window in 'segments', so that attention does not
      cross them.
    random_offset: windows: begin each epoch at a random token.
    on_device: encode all once and keep it on the device; otherwise stream it from the host, windows
      from a memory-mapped file of tokens.
    cache: the folder of such files; 'zoo_tokens' beside the TFDS data directory if None.
    trained: a tokeniser that there is already, from the run directory; `tokenizer` is then unused.
    workers: threads that encode pairs and labels.
    shard: (index, count) of this process.

  Raises:
    ValueError: whatever is wrong with name, split, text or tokeniser; one line that names it.
  """
  if kind not in KINDS:
    raise unknown('kind of text', kind, KINDS)
  if not train:
    raise ValueError('config.data.train names no split')
  options = (
    *(('length', length), ('target_length', target_length or length)),
    *(('batch_size', batch_size), ('eval_batch_size', eval_batch_size or batch_size)),
  )
  for option, value in options:
    if value < 1:
      raise ValueError(f'config.data.{option} must be at least 1, not {value}')
  splits = {'train': train, 'validation': validation, 'test': test}
  splits = {split: spec for split, spec in splits.items() if spec}
  sizes = (batch_size, eval_batch_size or batch_size)
  make = lambda texts: trained or tokenizers.make(tokenizer, texts, vocab_size)

  if kind == 'windows':
    documents = {s: open_documents(name, spec, dir, text_key) for s, spec in splits.items()}
    folder = None if on_device else cache or cache_folder(dir)
    options = {'packing': packing, 'on_device': on_device, 'shard': shard}
    return load_windows(documents, make, length, sizes, folder, random_offset, **options)

  if name.startswith(PREFIX):
    raise ValueError(f'{name} has no {kind}, only running text')
  from zoo.data import tfds

  records = {s: tfds.records(name, spec, dir) for s, spec in splits.items()}
  if kind == 'pairs':
    keys = pair_fields(records['train'], source_key, target_key)
    fields = {
      'source': pairs.Field(keys[0], length),
      'target': pairs.Field(keys[1], target_length or length),
    }
  else:
    fields = {'tokens': pairs.Field(text_field(records['train'], text_key), length, begin=True)}
  labels = kind == 'labels'
  encoded = (
    pairs.held(records, fields, make, sizes, labels=labels)
    if on_device
    else pairs.streamed(records, fields, make, sizes, labels=labels, shard=shard, workers=workers)
  )
  given = given_by(encoded.tokenizer)
  return Dataset(
    train=encoded.train,
    evaluation=encoded.evaluation,
    given=given | {'num_classes': records['train'].num_classes} if labels else given,
    class_names=tuple(records['train'].class_names or ()) if labels else (),
    tokenizer=encoded.tokenizer,
    notes=encoded.notes,
  )


def load_windows(
  documents: dict[str, Documents],
  make: pairs.Make,
  length: int,
  batch_sizes: tuple[int, int],
  folder: str | None,
  random_offset: bool,
  *,
  packing: bool,
  on_device: bool,
  shard: tuple[int, int],
) -> Dataset:
  """Windows over documents by split; `folder` is where files of tokens go, None for memory."""
  tokenizer = make(text for text, _ in documents['train'].pieces())
  if packing and tokenizer.eos_id is None:
    raise ValueError('the tokenizer has no eos token, which packing needs')
  tokens = {
    split: corpus.encode(d.pieces(), tokenizer, d.name)
    if folder is None
    else corpus.encode_once(d.pieces, tokenizer, d.name, folder, d.identity)
    for split, d in documents.items()
  }
  notes = tuple(
    f'{t.name}: {len(t.ids):,} tokens of {t.num_bytes:,} bytes, {t.num_unknown:,} unknown'
    for t in tokens.values()
  )
  options = {
    'on_device': on_device,
    'eos_id': tokenizer.eos_id if packing else None,
    'shard': shard,
  }
  source = windows.epochs(
    tokens.pop('train'), length, batch_sizes[0], random_offset=random_offset, **options
  )
  for t in tokens.values():
    if t.num_bytes >= MOST_BYTES:
      raise ValueError(
        f'{t.name}: {t.num_bytes:,} bytes are more than can be counted to judge by; take a part'
      )
  passes = {s: windows.one_pass(t, length, batch_sizes[1], **options) for s, t in tokens.items()}
  return Dataset(source, passes, given_by(tokenizer), tokenizer=tokenizer, notes=notes)


def given_by(tokenizer: Tokenizer) -> dict[str, Any]:
  """What models and objectives are told. A decoder begins with padding where there is no bos."""
  t = tokenizer
  ids = {'pad_id': t.pad_id, 'eos_id': t.eos_id, 'mask_id': t.mask_id}
  ids['bos_id'] = t.pad_id if t.bos_id is None else t.bos_id
  known: dict[str, Any] = {name: i for name, i in ids.items() if i is not None}
  known['special_ids'] = tuple(i for i in (t.bos_id, t.eos_id, t.unk_id) if i is not None)
  return known | {
    'input_key': 'tokens',
    'vocab_size': t.vocab_size,
    'token_bytes': t.token_bytes,
  }


def pair_fields(records: Any, source: str, target: str) -> tuple[str, str]:
  """The fields of records to translate from and to: 'source' and 'target', or the only two."""
  fields = text_fields(records)
  usual = ('source', 'target') if {'source', 'target'} <= set(fields) else tuple(fields)
  if len(usual) != 2 and not (source and target):
    raise ValueError(
      f'{records.name} does not have two text fields but {", ".join(fields) or "none"}; '
      'set config.data.source_key and config.data.target_key'
    )
  chosen = (source or other(usual, target, 0), target or other(usual, source, 1))
  for key in chosen:
    if key not in fields:
      raise unknown(f'text field of {records.name}', key, fields)
  return chosen


def other(fields: tuple[str, ...], taken: str, usual: int) -> str:
  """The field of two that is not taken; the usual one if none is."""
  return next(f for f in fields if f != taken) if taken in fields else fields[usual]


def cache_folder(data_dir: str | None) -> str:
  """Where files of tokens go: 'zoo_tokens' beside the folder of TFDS."""
  from tensorflow_datasets.core import constants

  root = os.path.abspath(os.path.expanduser(data_dir or constants.DATA_DIR))
  return os.path.join(os.path.dirname(root), 'zoo_tokens')
