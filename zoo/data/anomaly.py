"""Data for anomaly detection: some classes are held out of training, and are the anomalies."""

from collections.abc import Mapping

import numpy as np

from zoo.data import arrays, normalize
from zoo.data.dataset import NORMALIZATIONS, Dataset, load_dataset, unchanged
from zoo.names import unknown


def load_anomalies(
  name: str = 'digits',
  *,
  dir: str | None = None,  # noqa: A002
  train: str = 'train',
  validation: str = '',
  test: str = 'test',
  held_out: tuple[int, ...] = (0,),
  image_size: tuple[int, ...] = (),
  channels: int = 3,
  batch_size: int = 128,
  eval_batch_size: int = 0,
  normalization: str = 'standardize',
  statistics: Mapping[str, np.ndarray] | None = None,
  workers: int = 4,
) -> Dataset:
  """Loads a dataset by name, and keeps it on the device.

  Batches to train on hold normal examples, without labels. Those of evaluation hold all, and their
  'label' is 1 for anomalies and 0 for normal examples. Inputs are standardised by the normal
  training examples. What is not named here is as in `dataset.load_dataset`.

  Args:
    name: a TFDS name or 'folder:PATH'.
    dir: where TFDS keeps datasets.
    train: split whose normal examples are trained on.
    validation: split to choose by, the threshold too.
    test: split for the final figures.
    held_out: labels of the classes that are anomalies; all others are normal.
    image_size: (height, width) that pictures are fitted to.
    channels: of pictures from a folder.
    batch_size: examples in a training batch.
    eval_batch_size: in an evaluation batch; 0 for the same.
    normalization: 'standardize', 'scale' or 'none'.
    statistics: to standardise by, as computed by an earlier load.
    workers: threads that decode.

  Raises:
    ValueError: whatever is wrong with name, split or a record; a class that there is not, no normal
      class, or an evaluation split without examples of both kinds.
  """
  if normalization not in NORMALIZATIONS:
    raise unknown('config.data.normalization', normalization, NORMALIZATIONS)
  every = load_dataset(
    name,
    dir=dir,
    train=train,
    validation=validation,
    test=test,
    image_size=image_size,
    channels=channels,
    batch_size=batch_size,
    eval_batch_size=eval_batch_size,
    normalization='none' if normalization == 'none' else 'scale',
    workers=workers,
  )
  classes, key = range(every.given['num_classes']), every.given['input_key']
  if not held_out or not set(held_out) < set(classes):
    raise ValueError(
      f'config.data.held_out must be some, not all, of the classes 0 .. {len(classes) - 1} of '
      f'{name}; not {held_out}'
    )

  data = every.train.data
  normal = {key: data[key][~np.isin(data['label'], held_out)]}
  if not len(normal[key]):
    raise ValueError(f'{name} ({train}) has no normal examples, held_out={held_out}')
  evaluation = {}
  for split, source in every.evaluation.items():
    label = np.isin(source.data['label'], held_out).astype(np.int32)
    if label.min() == label.max():
      kind = 'normal ones' if label.min() else 'anomalies'
      raise ValueError(f'the {split} examples of {name} include no {kind}, held_out={held_out}')
    marked = {key: source.data[key], 'label': label}
    evaluation[split] = arrays.one_pass(marked, eval_batch_size or batch_size)

  if normalization != 'standardize':
    statistics = None
  elif statistics is None:
    statistics = normalize.statistics(normal, key, workers)
  return every._replace(
    train=arrays.epochs(normal, batch_size),
    evaluation=evaluation,
    class_names=('normal', 'anomaly'),
    statistics=statistics,
    standardize=normalize.standardize(statistics, key) if statistics else unchanged,
  )
