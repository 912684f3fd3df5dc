"""Any TFDS dataset as records: random access to array_record files, without TensorFlow.

As a command it prepares a dataset, see `zoo/data/builders/__init__.py`:

  python -m zoo.data.tfds mnist --data_dir=DIR
"""

import argparse
import bisect
import dataclasses
import io
import itertools
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from zoo.data.builders import first_line, open_dataset, prepare
from zoo.data.folder import fit, split_slices


@dataclasses.dataclass(frozen=True)
class TfdsRecords:
  """Random access to a split: what TFDS decodes, with images as uint8 [H, W, C] and text as bytes.

  Attributes:
    name: what messages call the data.
    source: TFDS's data source, which leaves the fields in `images` encoded.
    images: the channels of each image field.
    files: (number of records up to and with this file, path) per file.
    class_names: the names of the classes of the field 'label', None if it has none.
    image_size: (height, width) to which the field 'image' is fitted, None to leave it.
  """

  name: str
  source: Sequence[dict[str, Any]]
  images: dict[str, int]
  files: Sequence[tuple[int, str]]
  class_names: tuple[str, ...] | None
  image_size: tuple[int, int] | None

  @property
  def num_classes(self) -> int | None:
    return None if self.class_names is None else len(self.class_names)

  def __len__(self) -> int:
    return len(self.source)

  def __getitem__(self, index: int) -> dict[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(f'{self.name} has {len(self)} records, there is no record {index}')
    try:
      example = dict(self.source[index])
      for key, channels in self.images.items():
        size = self.image_size if key == 'image' else None
        example[key] = _decode(example[key], channels, size)
    except ImportError as error:
      raise ValueError(f'{self.name} has fields that only TensorFlow decodes') from error
    except Exception as error:  # array_record's RuntimeError, Pillow's many
      raise ValueError(f'{self.where(index)} is damaged: {first_line(error)}') from error
    return example

  def where(self, index: int) -> str:
    path = self.files[bisect.bisect_right(self.files, index, key=lambda file: file[0])][1]
    return f'{self.name} record {index} (in {path})'


def records(
  name: str,
  split: str,
  data_dir: str | os.PathLike[str] | None = None,
  image_size: tuple[int, int] | None = None,
) -> TfdsRecords:
  """Opens a split of a dataset, after preparing the dataset if that is possible.

  Args:
    name: as TFDS has it: 'mnist', 'imdb_reviews/plain_text' (config), 'mnist:3.0.1' (version).
    split: as TFDS has it: 'train', 'train[:90%]', 'train+test'.
    data_dir: where datasets lie; None is TFDS's default (~/tensorflow_datasets).
    image_size: (height, width) to which the field 'image' is fitted, for images of many sizes.

  Returns:
    The records of the split.

  Raises:
    ValueError: if the name or the split is unknown, or the data is not there, or not readable; the
      message says what to do.
  """
  builder = open_dataset(name, data_dir)
  info = builder.info
  split_slices(split, info.splits, name)
  fields: dict[str, Any] = dict(getattr(info.features, 'items', dict)())  # a few sets have no dict
  images = {
    key: int(fields[key].shape[-1])
    for key, feature in fields.items()
    if type(feature) is tfds.features.Image and feature.np_dtype == np.uint8
  }
  skip: Any = tfds.decode.SkipDecoding
  source = builder.as_data_source(
    split,
    decoders={key: skip() for key in images},
    file_format='array_record',
  )
  files = info.splits[split].file_instructions
  ends = itertools.accumulate(file.take for file in files)
  label = fields.get('label')
  return TfdsRecords(
    name=f'{name} ({split})',
    source=source,
    images=images,
    files=list(zip(ends, (os.fspath(file.filename) for file in files), strict=True)),
    class_names=tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else None,
    image_size=image_size,
  )


def _decode(data: bytes, channels: int, size: tuple[int, int] | None) -> np.ndarray:
  """PNG or JPEG to uint8 [H, W, C], with Pillow: the same pixels whether or not OpenCV is there."""
  with Image.open(io.BytesIO(data)) as image:
    if size is not None:
      return fit(image, size, channels)
    pixels = np.asarray(image.convert('RGB') if channels == 3 else image)
  return pixels.reshape(*pixels.shape[:2], channels)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(description='Prepares a TFDS dataset as array_record files.')
  parser.add_argument('name', help="as TFDS has it: 'mnist', 'imdb_reviews/plain_text'")
  parser.add_argument('--data_dir', help='where datasets lie (default: ~/tensorflow_datasets)')
  options = parser.parse_args()
  try:
    prepare(options.name, options.data_dir)
  except ValueError as error:
    sys.exit(str(error))
