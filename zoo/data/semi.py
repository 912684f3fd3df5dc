"""Data of which few examples have labels: batches of both kinds."""

from collections.abc import Mapping

import numpy as np

from zoo.data.dataset import Dataset, load_dataset
from zoo.data.joint import join


def load_semi_supervised(
  name: str = 'digits',
  *,
  dir: str | None = None,  # noqa: A002
  train: str = 'train',
  unlabeled: str = '',
  validation: str = '',
  test: str = 'test',
  classes: tuple[int, ...] = (),
  labels_per_class: int = 4,
  draw: int = 0,
  image_size: tuple[int, ...] = (),
  channels: int = 3,
  batch_size: int = 64,
  unlabeled_ratio: int = 7,
  eval_batch_size: int = 0,
  on_device: bool = True,
  normalization: str = 'standardize',
  mean: tuple[float, ...] = (),
  std: tuple[float, ...] = (),
  statistics: Mapping[str, np.ndarray] | None = None,
  workers: int = 4,
  shard: tuple[int, int] = (0, 1),
) -> Dataset:
  """Loads a dataset by name, for batches {'labeled': {...}, 'unlabeled': {...}}.

  Inputs are standardised by the unlabelled examples, which are the many. Those carry the labels of
  their records, as those that are held out on purpose do, for a log of how good guesses are: an
  objective must not learn from them. A split without labels, such as 'unlabelled' of STL-10 (all of
  them -1 in TFDS), has none here either. What is not named here is as in `dataset.load_dataset`.

  Args:
    name: a TFDS name or 'folder:PATH'.
    dir: where TFDS keeps datasets.
    train: split from which the labelled examples are drawn.
    unlabeled: split whose labels are not used; that of `train` if empty, the few labelled examples
      included, as published for FixMatch.
    validation: split to choose by.
    test: split for the final figures.
    classes: labels to keep.
    labels_per_class: how many labelled examples there are of each class; 0 for all of `train`.
    draw: which ones these are.
    image_size: (height, width) that pictures are fitted to.
    channels: of pictures from a folder.
    batch_size: labelled examples in a training batch, over all devices of this process.
    unlabeled_ratio: unlabelled examples for each labelled one in a batch.
    eval_batch_size: in an evaluation batch; 0 for `batch_size`.
    on_device: whether the data is kept on the device.
    normalization: 'standardize', 'scale' or 'none'.
    mean: to standardise by.
    std: likewise.
    statistics: the same as computed by an earlier load.
    workers: threads that decode.
    shard: (index, count) of this process.

  Raises:
    ValueError: whatever is wrong with name, split or a record; fewer examples of a class than
      `labels_per_class`; one line that names it.
  """
  if unlabeled_ratio < 1:
    raise ValueError(f'config.data.unlabeled_ratio must be at least 1, not {unlabeled_ratio}')
  common = {
    'dir': dir,
    'classes': classes,
    'image_size': image_size,
    'channels': channels,
    'on_device': on_device,
    'normalization': normalization,
    'mean': mean,
    'std': std,
    'workers': workers,
    'shard': shard,
  }
  many = load_dataset(
    name,
    train=unlabeled or train,
    test='',
    batch_size=batch_size * unlabeled_ratio,
    statistics=statistics,
    **common,
  )
  few = load_dataset(
    name,
    train=train,
    validation=validation,
    test=test,
    labels_per_class=labels_per_class,
    draw=draw,
    batch_size=batch_size,
    eval_batch_size=eval_batch_size,
    statistics=many.statistics,
    **common,
  )
  return few._replace(train=join({'labeled': few.train, 'unlabeled': many.train}))
