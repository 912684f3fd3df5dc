"""Some of the records of a split: of some classes, or a few of each; or all, without labels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.data.stream import Records


@dataclasses.dataclass(frozen=True)
class Subset:
  """Records chosen from others, their labels renamed.

  Attributes:
    records: those that are chosen from; they have labels.
    indices: which, in their new order.
    classes: the old label of each new one.
  """

  records: Any
  indices: np.ndarray
  classes: tuple[int, ...]

  @property
  def name(self) -> str:
    return self.records.name

  @property
  def num_classes(self) -> int:
    return len(self.classes)

  @property
  def class_names(self) -> tuple[str, ...]:
    return tuple(self.records.class_names[c] for c in self.classes)

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index: int) -> dict[str, Any]:
    example = self.records[int(self.indices[index])]
    return {**example, 'label': self.classes.index(int(example['label']))}

  def where(self, index: int) -> str:
    return self.records.where(int(self.indices[index]))


@dataclasses.dataclass(frozen=True)
class Unlabelled:
  """Records whose 'label' says nothing, and is left out.

  Attributes:
    records: those that are passed on.
  """

  records: Any
  num_classes: None = None
  class_names: None = None

  @property
  def name(self) -> str:
    return self.records.name

  def __len__(self) -> int:
    return len(self.records)

  def __getitem__(self, index: int) -> dict[str, Any]:
    return {name: x for name, x in self.records[index].items() if name != 'label'}

  def where(self, index: int) -> str:
    return self.records.where(index)


def if_labelled(records: Any) -> Any:
  """The records, without labels where the first is -1: so TFDS has it of splits without any."""
  has_labels = records.num_classes is not None and len(records) > 0
  return Unlabelled(records) if has_labels and int(records[0]['label']) == -1 else records


def labels_of(records: Records) -> np.ndarray:
  """The label of every record, int64 [N]. Reads them all."""
  return np.array([int(records[i]['label']) for i in range(len(records))], np.int64)


def of_classes(records: Records, classes: Sequence[int]) -> Subset:
  """The records of some classes, which become 0, 1, ... in the order given.

  Args:
    records: of labelled examples.
    classes: labels to keep, at least two.

  Raises:
    ValueError: a class that there is not, that is named twice, or of which there are no records.
  """
  classes = tuple(classes)
  total = records.num_classes or 0
  if len(set(classes)) != len(classes) or len(classes) < 2:
    raise ValueError(f'config.data.classes must be two classes or more, each once, not {classes}')
  if not all(0 <= c < total for c in classes):
    raise ValueError(
      f'config.data.classes must be in 0 .. {total - 1}, those of {records.name}; not {classes}'
    )
  labels = labels_of(records)
  for c in classes:
    if not (labels == c).any():
      raise ValueError(
        f'{records.name} has no example of class {c}, which config.data.classes asks'
      )
  return Subset(records, np.flatnonzero(np.isin(labels, classes)), classes)


def few(records: Records, per_class: int, seed: int = 0) -> Subset:
  """The same number of records of each class, drawn without replacement: one draw per seed.

  Args:
    records: of labelled examples.
    per_class: how many of each class.
    seed: which draw.

  Raises:
    ValueError: a class that has fewer, or `per_class` below 1.
  """
  if per_class < 1:
    raise ValueError(f'config.data.labels_per_class must be at least 1, not {per_class}')
  labels, rng = labels_of(records), np.random.default_rng(seed)
  chosen = []
  for c in range(records.num_classes or 0):
    of_class = np.flatnonzero(labels == c)
    if len(of_class) < per_class:
      raise ValueError(
        f'{records.name} has {len(of_class)} examples of class {c}; '
        f'config.data.labels_per_class={per_class} asks for more'
      )
    chosen.append(rng.choice(of_class, per_class, replace=False))
  return Subset(records, np.sort(np.concatenate(chosen)), tuple(range(records.num_classes or 0)))
