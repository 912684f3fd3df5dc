"""A person's own images as records: one subfolder per class, decoded by Pillow when read.

  PATH/cat/1.jpg  PATH/dog/a/2.png      one split, 'train'; slices of it make the others
  PATH/train/cat/1.jpg  PATH/test/...   the subfolders are the splits

Goals: the same order, and so the same 'train[:90%]', on every machine; every class in every slice.
Non-goals: labels other than one class per image; files that change while they are read.
"""

import dataclasses
import difflib
import hashlib
import os
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

EXTENSIONS = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.webp')
SPLITS = ('train', 'validation', 'valid', 'val', 'test')


@dataclasses.dataclass(frozen=True)
class FolderRecords:
  """Random access to image files: {'image': uint8 [H, W, C], 'label': int}.

  Attributes:
    name: what messages call the data.
    paths: the files, in the order of the records.
    labels: the class of each file, an index into `class_names`.
    class_names: the names of the class folders, sorted.
    image_size: (height, width) to which every image is fitted.
    channels: 3 for RGB, 1 for grey.
  """

  name: str
  paths: Sequence[Path]
  labels: Sequence[int]
  class_names: tuple[str, ...]
  image_size: tuple[int, int]
  channels: int

  @property
  def num_classes(self) -> int:
    return len(self.class_names)

  def __len__(self) -> int:
    return len(self.paths)

  def __getitem__(self, index: int) -> dict[str, Any]:
    path = self.paths[index]
    try:
      with Image.open(path) as image:
        pixels = fit(image, self.image_size, self.channels)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error ...
      raise ValueError(f'{path}: cannot decode this image: {error}') from error
    return {'image': pixels, 'label': self.labels[index]}

  def where(self, index: int) -> str:
    return str(self.paths[index])


def records(
  path: str | os.PathLike[str],
  split: str,
  image_size: tuple[int, int],
  channels: int = 3,
) -> FolderRecords:
  """Lists a folder of images, and checks the header of each file (25 microseconds a file).

  Without split subfolders, all images are 'train', in an order fixed by a hash of their names in
  which the classes alternate evenly: so 'train[:90%]' and 'train[90%:]' have the same mixture of
  classes, and adding a file moves few others across the boundary. There are split subfolders where
  `path` has a 'train' folder that itself has folders; then those of `SPLITS` that exist are the
  splits. Names beginning with a dot are ignored, folders within a class folder belong to the class.

  Args:
    path: the folder; '~' is expanded.
    split: as TFDS has it: 'train', 'train[:90%]', 'train[100:]', 'train+test'.
    image_size: (height, width). The short side is resized to fit and the centre is cut out.
    channels: 3 for RGB, 1 for grey.

  Returns:
    The records of the split.

  Raises:
    ValueError: if the folder is missing, has no images, one class only, an empty class folder or a
      file that is no image, or if the split is unknown.
  """
  if channels not in (1, 3):
    raise ValueError(f'channels must be 1 (grey) or 3 (RGB), not {channels}')
  root = Path(path).expanduser()
  if not root.is_dir():
    raise ValueError(f'{root}: no such folder of images')
  has_splits = (root / 'train').is_dir() and bool(_subfolders(root / 'train'))
  roots = {s: root / s for s in SPLITS if (root / s).is_dir()} if has_splits else {'train': root}
  class_names = [folder.name for folder in _subfolders(roots['train'])]
  if not class_names:
    raise ValueError(f'{root}: no images in class folders (one subfolder per class is expected)')
  listing = {name: _list_split(folder, class_names) for name, folder in roots.items()}
  if len(class_names) == 1:
    raise ValueError(f'{root}: only one class, {class_names[0]!r}; there must be two or more')
  infos = {
    name: types.SimpleNamespace(num_examples=len(files), shard_lengths=[len(files)])
    for name, files in listing.items()
  }
  chosen = [
    file
    for name, start, stop in split_slices(split, infos, str(root))
    for file in listing[name][start:stop]
  ]
  for file, _ in chosen:
    try:
      with Image.open(file):
        pass
    except Exception as error:
      reason = 'not an image' if isinstance(error, Image.UnidentifiedImageError) else error
      raise ValueError(f'{file}: cannot open this image: {reason}') from error
  paths, labels = zip(*chosen, strict=True)
  return FolderRecords(
    f'folder:{root} ({split})', paths, labels, tuple(class_names), image_size, channels
  )


def fit(image: Image.Image, size: tuple[int, int], channels: int) -> np.ndarray:
  """Turns an opened image upright and to (height, width): scales it to cover, cuts out the centre.

  The EXIF orientation is obeyed, transparency becomes white, 16-bit grey keeps its upper 8 bits.

  Args:
    image: as `Image.open` gave it, not yet decoded.
    size: (height, width).
    channels: 3 for RGB, 1 for grey.

  Returns:
    uint8 [height, width, channels].
  """
  # A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves at least twice the pixels asked for.
  image.draft(None, (2 * max(size), 2 * max(size)))
  image = ImageOps.exif_transpose(image)
  if image.mode.startswith('I'):  # Pillow's own conversion clips 16 bits at 255
    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
  if 'A' in image.getbands() or 'transparency' in image.info:
    image = image.convert('RGBA')
    image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
  image = image.convert('L' if channels == 1 else 'RGB')
  height, width = size
  image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
  return np.asarray(image).reshape(height, width, channels)


def split_slices(split: str, infos: Mapping[str, Any], name: str) -> list[tuple[str, int, int]]:
  """Resolves TFDS's split syntax against the splits that exist.

  Args:
    split: for example 'train[:90%]+test'.
    infos: for each split an object with `num_examples`, such as `tfds.core.SplitInfo`.
    name: what messages call the dataset.

  Returns:
    (split name, start, stop) for each part of the sum.

  Raises:
    ValueError: if there is no such split, or nothing in it.
  """
  import tensorflow_datasets as tfds

  try:
    parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
  except Exception as error:  # the types that TFDS raises here are many
    sizes = ', '.join(f'{s} ({i.num_examples:,} examples)' for s, i in infos.items())
    close = difflib.get_close_matches(split.split('[')[0], list(infos), n=1)
    hint = f"; did you mean '{close[0]}'?" if close and close[0] != split.split('[')[0] else ''
    raise ValueError(
      f"{name}: no split '{split}'; there is {sizes}, and slices such as 'train[:90%]'{hint}"
    ) from error
  spans = [
    (p.splitname, p.from_ or 0, infos[p.splitname].num_examples if p.to is None else p.to)
    for p in parts
  ]
  if sum(max(stop - start, 0) for _, start, stop in spans) == 0:
    raise ValueError(f"{name}: split '{split}' has no examples in it")
  return spans


def _subfolders(folder: Path) -> list[Path]:
  return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))


def _list_split(root: Path, class_names: Sequence[str]) -> list[tuple[Path, int]]:
  """The (file, label) of one split, ordered by a hash of the names, classes alternating evenly."""
  placed = []
  for folder in _subfolders(root):
    if folder.name not in class_names:
      raise ValueError(f"{folder}: class '{folder.name}' is not one of the classes in train")
    files = [
      Path(parent) / name
      for parent, _, names in os.walk(folder, followlinks=True)
      for name in names
      if name.lower().endswith(EXTENSIONS) and not name.startswith('.')
    ]
    if not files:
      raise ValueError(f'{folder}: no images ({", ".join(EXTENSIONS)}) in this class folder')
    digests = {file: _digest(file.relative_to(root).as_posix()) for file in files}
    label = class_names.index(folder.name)
    for rank, file in enumerate(sorted(files, key=digests.__getitem__)):
      placed.append(((rank + 0.5) / len(files), digests[file], file, label))
  return [(file, label) for _, _, file, label in sorted(placed)]


def _digest(text: str) -> bytes:
  return hashlib.blake2b(os.fsencode(text), digest_size=8).digest()
