"""A dataset ready to train on: sources for training and evaluation, and how inputs are scaled."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from zoo.data import arrays, normalize, subset
from zoo.names import unknown
from zoo.types import Batch, Source

NORMALIZATIONS = ('standardize', 'scale', 'none')


def unchanged(batch: Batch) -> Batch:
  """What a dataset does to batches that are ready as they are stored."""
  return batch


class Dataset(NamedTuple):
  """What an experiment learns from.

  Attributes:
    train: an endless source.
    evaluation: sources of one pass by split: 'validation' and 'test', those that there are.
    given: what models and objectives are told of the data, by the names of their arguments:
      num_classes, input_key, image_shape, vocab_size, pad_id and so on.
    class_names: of the labels, in their order.
    tokenizer: of text.
    statistics: {mean, std}, float32 [channels or features], to standardise by, or None.
    scale: batch -> batch: from what is stored to float32, pictures to [0, 1].
    standardize: batch -> batch: what follows `scale` and augmentation.
    notes: a line to print about each split: its size, and what was lost of it.
    environment: what examples come from if they are made by acting: an `Environment` or a
      `HostEnvironment`.
    bind: (policy) -> Dataset: the same, in which that policy acts; sources cannot be used before.
  """

  train: Source
  evaluation: dict[str, Source]
  given: Mapping[str, Any]
  class_names: tuple[str, ...] = ()
  tokenizer: Any = None
  statistics: Mapping[str, np.ndarray] | None = None
  scale: Callable[[Batch], Batch] = unchanged
  standardize: Callable[[Batch], Batch] = unchanged
  notes: tuple[str, ...] = ()
  environment: Any = None
  bind: 'Callable[[Any], Dataset] | None' = None


def load_dataset(
  name: str = 'digits',
  *,
  dir: str | None = None,  # noqa: A002
  train: str = 'train',
  validation: str = '',
  test: str = 'test',
  classes: tuple[int, ...] = (),
  labels_per_class: int = 0,
  draw: int = 0,
  image_size: tuple[int, ...] = (),
  channels: int = 3,
  batch_size: int = 128,
  eval_batch_size: int = 0,
  on_device: bool = True,
  normalization: str = 'standardize',
  mean: tuple[float, ...] = (),
  std: tuple[float, ...] = (),
  statistics: Mapping[str, np.ndarray] | None = None,
  workers: int = 4,
  shard: tuple[int, int] = (0, 1),
) -> Dataset:
  """Loads a dataset by name. Where it has no class labels there is no num_classes in `given`.

  Args:
    name: a TFDS name (ours, such as 'digits', need no network) or 'folder:PATH'.
    dir: where TFDS keeps datasets; its own default if None.
    train: split to train on, in TFDS syntax: 'train[:90%]'.
    validation: split to choose by; none if empty.
    test: split for the final figures; none if empty.
    classes: labels to keep, in all splits; they become 0, 1, ... in this order. () keeps all.
    labels_per_class: how many examples of each class to train on; 0 for all.
    draw: which ones these are.
    image_size: (height, width) that pictures are fitted to: folders need it.
    channels: of pictures from a folder: 3 for colour, 1 for grey.
    batch_size: examples in a training batch, over all devices of this process.
    eval_batch_size: in an evaluation batch; 0 for the same.
    on_device: decode all once and keep it on the device; otherwise stream it from the host.
    normalization: 'standardize' (mean 0 and variance 1, per channel or feature), 'scale' (pictures
      to [0, 1] and no more) or 'none'.
    mean: to standardise by, where it is known; computed from the training split otherwise.
    std: likewise.
    statistics: the same as computed by an earlier load.
    workers: threads that decode.
    shard: (index, count) of this process.

  Raises:
    ValueError: whatever is wrong with name, split or a record; one line that names it.
  """
  if normalization not in NORMALIZATIONS:
    raise unknown('config.data.normalization', normalization, NORMALIZATIONS)
  if bool(mean) != bool(std):
    raise ValueError('config.data.mean and config.data.std go together; one of them is missing')
  for option, value in (
    ('batch_size', batch_size),
    ('eval_batch_size', eval_batch_size or batch_size),
  ):
    if value < 1:
      raise ValueError(f'config.data.{option} must be at least 1, not {value}')

  splits = {'train': train, 'validation': validation, 'test': test}
  records = {
    kind: open_records(name, split, dir, image_size, channels)
    for kind, split in splits.items()
    if split
  }
  if 'train' not in records:
    raise ValueError('config.data.train names no split')
  records['train'] = subset.if_labelled(records['train'])
  labelled = records['train'].num_classes is not None
  for option, chooses in (('classes', classes), ('labels_per_class', labels_per_class)):
    if chooses and not labelled:
      raise ValueError(f'{name} has no class labels, by which config.data.{option} chooses')
  if classes:
    records = {kind: subset.of_classes(r, classes) for kind, r in records.items()}
  if labels_per_class:
    records['train'] = subset.few(records['train'], labels_per_class, draw)
  first = records['train'][0]
  input_key = 'image' if 'image' in first else 'features'
  given: dict[str, Any] = {'input_key': input_key}
  if input_key == 'image':
    given['image_shape'] = np.shape(first['image'])
  if labelled:
    given['num_classes'] = records['train'].num_classes

  from zoo.data import stream  # Grain, only now

  keys = (input_key, 'label') if labelled else (input_key,)
  eval_size = eval_batch_size or batch_size
  train_data = records['train']
  if on_device:
    held = {kind: stream.collect(r, keys, workers) for kind, r in records.items()}
    train_data = held.pop('train')
    source = arrays.epochs(train_data, batch_size)
    evaluation = {kind: arrays.one_pass(x, eval_size) for kind, x in held.items()}
  else:
    options = {'keys': keys, 'shard': shard, 'workers': workers}
    source = stream.stream(train_data, batch_size, **options)
    evaluation = {
      kind: stream.one_pass(r, eval_size, **options)
      for kind, r in records.items()
      if kind != 'train'
    }

  if normalization != 'standardize':
    statistics = None
  elif mean:
    statistics = {'mean': np.array(mean, np.float32), 'std': np.array(std, np.float32)}
  elif statistics is None:
    statistics = normalize.statistics(train_data, input_key, workers)
  return Dataset(
    train=source,
    evaluation=evaluation,
    given=given,
    class_names=tuple(records['train'].class_names) if labelled else (),
    statistics=statistics,
    scale=unchanged if normalization == 'none' else normalize.scale(input_key),
    standardize=normalize.standardize(statistics, input_key) if statistics else unchanged,
  )


def open_records(
  name: str, split: str, directory: str | None, image_size: tuple[int, ...], channels: int
) -> Any:
  """Random access to the examples of a split."""
  if len(image_size) not in (0, 2):
    raise ValueError(f'config.data.image_size must be (height, width), not {image_size}')
  size = (image_size[0], image_size[1]) if image_size else None
  if name.startswith('folder:'):
    from zoo.data import folder

    if size is None:
      raise ValueError(f'config.data.image_size must say how large the pictures of {name} shall be')
    return folder.records(name.removeprefix('folder:'), split, size, channels)
  from zoo.data import tfds

  return tfds.records(name, split, directory, size)
