"""Datasets that need no files: records made of a seed, and folders of small pictures."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from zoo.data.environment import Environment, Transition, with_time_limit
from zoo.types import Array


@dataclasses.dataclass(frozen=True)
class FakeRecords:
  """Records of given images and labels, as `zoo.data.dataset.open_records` returns them."""

  images: np.ndarray
  labels: np.ndarray
  num_classes: int | None
  name: str = 'fake'

  @property
  def class_names(self) -> tuple[str, ...]:
    return tuple(f'class {c}' for c in range(self.num_classes or 0))

  def __len__(self) -> int:
    return len(self.images)

  def __getitem__(self, index: int) -> dict[str, Any]:
    labels = {} if self.num_classes is None else {'label': self.labels[index]}
    return {'image': self.images[index], **labels}

  def where(self, index: int) -> str:
    return f'{self.name} record {index}'


def make_records(
  shape: tuple[int, ...], num_classes: int = 10, size: int = 64, seed: int = 0
) -> FakeRecords:
  """Random pictures of a class each; all classes occur. Without labels if there are none."""
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (size, *shape), dtype=np.uint8)
  return FakeRecords(images, np.arange(size) % max(num_classes, 1), num_classes or None)


class Examples(list):
  """Examples as TFDS's data sources give them: one by one, or many at a time."""

  def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
    return [self[i] for i in indices]


@dataclasses.dataclass(frozen=True)
class FakeText:
  """Records of text and labels, as `zoo.data.tfds.records` returns them."""

  source: Examples
  class_names: tuple[str, ...] | None = None
  name: str = 'fake'
  files: tuple[tuple[int, str], ...] = ()

  @property
  def num_classes(self) -> int | None:
    return None if self.class_names is None else len(self.class_names)

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> dict[str, Any]:
    return self.source[index]

  def where(self, index: int) -> str:
    return f'{self.name} record {index}'


def make_text(keys: tuple[str, ...], num_classes: int = 0, size: int = 64) -> FakeText:
  """Random sentences in every field of `keys`, with a label if there are classes."""
  rng = np.random.default_rng(0)
  words = np.array(['red', 'green', 'blue', 'old', 'new', 'tree', 'house', 'river', 'and', 'or'])
  sentence = lambda: ' '.join(rng.choice(words, 40)).encode()
  examples = [{key: sentence() for key in keys} for _ in range(size)]
  if num_classes:
    examples = [{**x, 'label': i % num_classes} for i, x in enumerate(examples)]
  names = tuple(f'class {c}' for c in range(num_classes)) or None
  return FakeText(Examples(examples), names)


def make_folder(root: Path, classes: tuple[str, ...], count: int = 10) -> Path:
  """A folder of PNG files, one subfolder per class."""
  rng = np.random.default_rng(0)
  for name in classes:
    (root / name).mkdir(parents=True)
    for i in range(count):
      pixels = rng.integers(0, 256, (16, 12, 3), dtype=np.uint8)
      Image.fromarray(pixels).save(root / name / f'{i}.png')
  return root


def make_minatar(name: str) -> Environment:
  """An environment like one of MinAtar, which needs gymnax: boards of noise."""
  shape = jax.ShapeDtypeStruct((10, 10, 4), jnp.float32)
  none = jnp.zeros((), bool)
  board = lambda key: jax.random.bernoulli(key, 0.3, shape.shape).astype(jnp.float32)

  def step(state: Array, action: Array, key: Array) -> Transition:
    return Transition(state, board(key), jax.random.normal(key), none, none)

  reset = lambda key: (jnp.zeros(()), board(key))
  return with_time_limit(Environment(name, 3, shape, 20, reset, step))
