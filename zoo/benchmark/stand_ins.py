"""Random data of the shapes of a config's, for machines that do not have them.

Each loader of `zoo.catalog.LOADERS` that reads something has a stand-in here, which takes the same
options and needs no package that reads data. It holds one batch, on the device whatever
`data.on_device` says, and no split to evaluate on.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from zoo.catalog import LOADERS
from zoo.data import arrays, corpus, normalize, tokenizers, windows
from zoo.data.dataset import Dataset, unchanged
from zoo.data.joint import join
from zoo.data.text import given_by
from zoo.data.tokenizers import Tokenizer
from zoo.names import unknown

PRINTABLE = 95  # characters of ASCII, for an alphabet that is not known
FOLDER = 'folder'  # pictures of a person's own


class Known(NamedTuple):
  """What the examples of a dataset look like.

  Attributes:
    shape: of a picture (or of a vector of features); () if pictures are of many sizes.
    num_classes: 0 if there are no labels.
  """

  shape: tuple[int, ...] = ()
  num_classes: int = 0


DATASETS = {
  'breast_cancer': Known((30,), 2),
  'celeb_a': Known((218, 178, 3)),
  'cifar10': Known((32, 32, 3), 10),
  'cifar100': Known((32, 32, 3), 100),
  'digits': Known((8, 8, 1), 10),
  'fashion_mnist': Known((28, 28, 1), 10),
  FOLDER: Known((), 10),
  'imagenet2012': Known((), 1000),
  'imdb_reviews': Known((), 2),
  'mnist': Known((28, 28, 1), 10),
  'photos/32': Known((32, 32, 3)),
  'photos/64': Known((64, 64, 3)),
  'stl10': Known((96, 96, 3), 10),
  'svhn_cropped': Known((32, 32, 3), 10),
}


def known(name: str) -> Known:
  """What there is to know of a dataset by its name in a config.

  Raises:
    ValueError: nothing is known of it; the nearest name that is.
  """
  name = FOLDER if name.startswith(f'{FOLDER}:') else name
  if name not in DATASETS:
    raise unknown('data to stand in for', name, DATASETS)
  return DATASETS[name]


def examples(
  name: str,
  *,
  image_size: tuple[int, ...],
  channels: int,
  batch_size: int,
  normalization: str,
  classes: tuple[int, ...] = (),
  mean: tuple[float, ...] = (),
  std: tuple[float, ...] = (),
  **_: Any,
) -> Dataset:
  """In the place of `load_dataset`, whose options these are."""
  shape, num_classes = known(name)
  num_classes = len(classes) or num_classes
  if len(shape) != 1 and image_size:
    shape = (*image_size, shape[-1] if shape else channels)
  if not shape:
    raise ValueError(f'config.data.image_size must say how large the pictures of {name} shall be')
  key = 'features' if len(shape) == 1 else 'image'
  rng, size = np.random.default_rng(0), (batch_size, *shape)
  pictures = lambda: rng.integers(256, size=size, dtype=np.uint8)
  held: dict[str, np.ndarray] = {
    key: rng.random(size, np.float32) if key == 'features' else pictures()
  }
  given: dict[str, Any] = {'input_key': key}
  if key == 'image':
    given['image_shape'] = shape
  if num_classes:
    given['num_classes'] = num_classes
    held['label'] = rng.integers(num_classes, size=batch_size, dtype=np.int32)
  statistics = None
  if normalization == 'standardize':
    center, spread = mean or (0.5,) * shape[-1], std or (0.25,) * shape[-1]
    statistics = {'mean': np.array(center, np.float32), 'std': np.array(spread, np.float32)}
  return Dataset(
    train=arrays.epochs(held, batch_size),
    evaluation={},
    given=given,
    class_names=tuple(map(str, range(num_classes))),
    statistics=statistics,
    scale=unchanged if normalization == 'none' else normalize.scale(key),
    standardize=normalize.standardize(statistics, key) if statistics else unchanged,
  )


def semi_supervised(name: str, *, batch_size: int, unlabeled_ratio: int, **options: Any) -> Dataset:
  """In the place of `load_semi_supervised`."""
  few = examples(name, batch_size=batch_size, **options)
  many = examples(name, batch_size=batch_size * unlabeled_ratio, **options)
  return few._replace(train=join({'labeled': few.train, 'unlabeled': many.train}))


def anomalies(name: str, *, batch_size: int, **options: Any) -> Dataset:
  """In the place of `load_anomalies`: no labels to learn from."""
  found = examples(name, batch_size=batch_size, **options)
  key = found.given['input_key']
  normal = {key: found.train.data[key]}
  return found._replace(train=arrays.epochs(normal, batch_size))


def text(
  name: str,
  *,
  kind: str,
  tokenizer: str,
  vocab_size: int,
  length: int,
  target_length: int,
  batch_size: int,
  packing: bool,
  random_offset: bool,
  **_: Any,
) -> Dataset:
  """In the place of `load_text`."""
  made = vocabulary(tokenizer, vocab_size)
  rng, given = np.random.default_rng(0), given_by(made)
  ids = lambda length: rng.integers(made.vocab_size, size=(batch_size, length), dtype=np.int32)
  if kind == 'windows':
    row = np.append(ids(length).ravel(), 0)  # a corpus is no whole number of windows
    eos = made.eos_id if packing else None
    tokens = corpus.Tokens(row, row.size, 0, name)
    options = {'random_offset': random_offset, 'eos_id': eos}
    source = windows.epochs(tokens, length, batch_size, **options)
    return Dataset(source, {}, given, tokenizer=made)
  if kind == 'pairs':
    held = {'source': ids(length), 'target': ids(target_length or length)}
    return Dataset(arrays.epochs(held, batch_size), {}, given, tokenizer=made)
  given['num_classes'] = known(name).num_classes
  label = rng.integers(given['num_classes'], size=batch_size, dtype=np.int32)
  held = {'tokens': ids(length), 'label': label}
  return Dataset(arrays.epochs(held, batch_size), {}, given, tokenizer=made)


def vocabulary(name: str, size: int) -> Tokenizer:
  """A tokeniser with as many tokens as the one that a config asks for would have.

  Args:
    name: `data.tokenizer`: of a path, its own; of 'char', one of ASCII.
    size: `data.vocab_size`.
  """
  if name not in ('char', 'bpe'):
    return tokenizers.make(name)
  special = tokenizers.CharTokenizer('').vocab_size
  count = PRINTABLE if name == 'char' else size - special
  return tokenizers.CharTokenizer(''.join(chr(0x10000 + i) for i in range(count)))


STAND_INS: Mapping[str, Callable[..., Dataset]] = {
  **LOADERS,  # environments are no data: those on the device need nothing
  'anomaly': anomalies,
  'examples': examples,
  'semi_supervised': semi_supervised,
  'text': text,
}
