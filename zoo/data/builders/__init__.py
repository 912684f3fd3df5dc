"""Opens TFDS datasets that lie on disk, and prepares those that do not, as array_record files.

The modules of this package are datasets of our own that need no network: module and dataset have
the same name. They are prepared in place. Public ones need TensorFlow (their builders extract with
it, and tfrecord files are read with it); that runs in a process of its own, and only on demand:

  python -m zoo.data.tfds mnist --data_dir=DIR
"""

import contextlib
import difflib
import importlib
import importlib.util
import io
import os
import pkgutil
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import (
  constants,
  dataset_info,
  file_adapters,
  naming,
  read_only_builder,
)

from zoo.names import unknown

OWN = tuple(module.name for module in pkgutil.iter_modules(__path__))

# TFDS registers these packages in turn, and stops silently at one that lacks a dependency (h5py).
_PACKAGES = (
  *('question_answering', 'ranking', 'recommendation', 'robotics', 'structured', 'summarization'),
  *('text', 'text_simplification', 'time_series', 'translate', 'video', 'vision_language'),
)


def open_dataset(name: str, data_dir: str | os.PathLike[str] | None = None) -> Any:
  """Opens a dataset, after preparing it if it is not there and that is possible.

  Args:
    name: as TFDS has it: 'mnist', 'imdb_reviews/plain_text' (config), 'mnist:3.0.1' (version).
    data_dir: where datasets lie; None is TFDS's default (~/tensorflow_datasets).

  Returns:
    A `tfds.core.DatasetBuilder` that has array_record files.

  Raises:
    ValueError: if the name is unknown, or the data is damaged, cannot be prepared, or is not in
      array_record format; the message says what to do.
  """
  builder = _find(name, data_dir)
  if builder is None:
    if _is_own(name):
      prepare(name, data_dir)
    else:
      _prepare_apart(name, data_dir)
    builder = _find(name, data_dir)
  if builder is None:
    raise ValueError(f"dataset '{name}' was prepared, but is not in {_root(data_dir)}")
  if not _has_array_record(builder):
    raise ValueError(
      f"dataset '{name}' in {builder.data_dir} is in {builder.info.file_format.value} format only, "
      f"not array_record; convert it once, with TensorFlow (pip install -e '.[prepare]'): "
      f'{_command(name, data_dir)}'
    )
  return builder


def prepare(name: str, data_dir: str | os.PathLike[str] | None = None) -> None:
  """Writes a dataset as array_record, from tfrecord files that are there or with its own builder.

  Two processes may do this at once: each writes a folder of its own, and the faster one's stays.

  Args:
    name: as in `open_dataset`.
    data_dir: as in `open_dataset`.

  Raises:
    ValueError: if that fails; the message names the cause.
  """
  there, own = _find(name, data_dir), _is_own(name)
  cls, kwargs = _builder_class(name) if there is None else (None, {})
  if cls is not None and not own:
    _check_public(name, data_dir)
  try:
    if cls is None:
      if not _has_array_record(there):
        _convert(there)
      return
    if own:
      tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()) if own else contextlib.nullcontext():
      cls(data_dir=data_dir, file_format='array_record', **kwargs).download_and_prepare()
  except Exception as error:  # OSError, and whatever a builder's extraction raises
    if there is None and _find(name, data_dir) is not None:
      return  # another process was faster, and its folder could not be replaced
    raise ValueError(
      f"cannot prepare dataset '{name}' in {_root(data_dir)}: {first_line(error)}"
    ) from error


def first_line(error: Exception) -> str:
  """An error of another library in one line."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return f'{lines[0]} ({type(error).__name__})' if lines else type(error).__name__


def _prepare_apart(name: str, data_dir: str | os.PathLike[str] | None) -> None:
  """Prepares a public dataset in another process: TensorFlow would take this one's GPU memory."""
  _check_public(name, data_dir)
  arguments = [sys.executable, '-m', 'zoo.data.tfds', name, f'--data_dir={_root(data_dir)}']
  environment = os.environ | {'PYTHONPATH': os.pathsep.join(path for path in sys.path if path)}
  if subprocess.run(arguments, env=environment, check=False).returncode != 0:
    raise ValueError(f"dataset '{name}' is not prepared, and preparing it failed, as printed above")


def _check_public(name: str, data_dir: str | os.PathLike[str] | None) -> None:
  """Refuses at once what TFDS would find out after minutes, or say in a misleading way."""
  cls, _ = _builder_class(name)
  missing = f"dataset '{name}' is not prepared in {_root(data_dir)}"
  by_hand = (
    f'; first put its archives into {_root(data_dir)}/downloads/manual, see '
    f'https://www.tensorflow.org/datasets/catalog/{cls.name}'
    if getattr(cls, 'MANUAL_DOWNLOAD_INSTRUCTIONS', None)
    else ''
  )
  if importlib.util.find_spec('tensorflow') is None:
    raise ValueError(
      f"{missing}; on a machine with network: pip install -e '.[prepare]', then "
      f'{_command(name, data_dir)}{by_hand}'
    )
  for url in list(cls.url_infos or {})[:1]:
    try:
      urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=5).close()
    except urllib.error.HTTPError:
      pass  # but a server has answered
    except OSError as error:
      raise ValueError(
        f'{missing}, and {url} cannot be reached; on a machine with network: '
        f'{_command(name, data_dir)}{by_hand}'
      ) from error


def _convert(builder: Any) -> None:
  """Writes an array_record file beside each tfrecord file; TensorFlow verifies the checksums."""
  import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

  info = builder.info
  array_record = file_adapters.FileFormat.ARRAY_RECORD
  converted = dataset_info.get_split_dict_from_proto(
    info.as_proto, builder.data_path, file_format=array_record
  )
  for name, split in info.splits.items():
    for source, target in zip(split.filepaths, converted[name].filepaths, strict=True):
      partial = f'{target}.incomplete'
      examples: Any = enumerate(tf.data.TFRecordDataset(os.fspath(source)).as_numpy_iterator())
      file_adapters.ArrayRecordFileAdapter.write_examples(partial, examples)
      os.replace(partial, target)
  info.add_alternative_file_format(array_record)
  dataset_info.write_dataset_info_proto(info.as_proto, dataset_info_dir=builder.data_path)


def _find(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
  """The dataset as it lies on disk, whatever code wrote it; None if it is not there."""
  if _is_own(name) and ':' not in name:  # what an older version of our code wrote does not count
    name = f'{name}:{_builder_class(name)[0].VERSION}'
  try:
    return read_only_builder.builder_from_files(name, data_dir=data_dir)
  except tfds.core.DatasetNotFoundError:
    return None
  except Exception as error:  # an unreadable folder, damaged JSON, a name that does not parse
    raise ValueError(
      f"cannot open dataset '{name}' in {_root(data_dir)}: {first_line(error)}"
    ) from error


def _builder_class(name: str) -> tuple[Any, dict[str, Any]]:
  """The builder class that `name` means, with its config and version."""
  parsed, kwargs = naming.parse_builder_name_kwargs(name)
  base = parsed.name
  if base in OWN:
    importlib.import_module(f'{__name__}.{base}')
  for attempt in range(2):
    with contextlib.suppress(tfds.core.DatasetNotFoundError):
      if not parsed.namespace:
        cls: Any = tfds.builder_cls(base)
        break
    for package in _PACKAGES if attempt == 0 else ():
      with contextlib.suppress(ImportError):
        importlib.import_module(f'tensorflow_datasets.{package}')
  else:
    known = {*OWN, *tfds.list_builders(with_community_datasets=False)}
    close = ', '.join(map(repr, difflib.get_close_matches(base, sorted(known), n=3)))
    raise ValueError(
      f"unknown dataset '{name}'; {f'did you mean {close}? ' if close else ''}there are "
      f'{", ".join(OWN)} and those of TFDS (https://www.tensorflow.org/datasets/catalog)'
    )
  config, version = kwargs.get('config'), kwargs.get('version')
  if config and not cls.builder_configs:
    raise ValueError(f"dataset '{base}' has no configs, so no '{config}' either")
  if config and config not in cls.builder_configs:
    raise unknown(f"config of dataset '{base}'", config, cls.builder_configs)
  versions = [tfds.core.Version(v) for v in (cls.VERSION, *cls.SUPPORTED_VERSIONS) if v]
  if version and versions and not any(v.match(version) for v in versions):
    raise unknown(f"version of dataset '{base}'", version, map(str, versions))
  return cls, kwargs


def _has_array_record(builder: Any) -> bool:
  return file_adapters.FileFormat.ARRAY_RECORD in builder.info.available_file_formats()


def _is_own(name: str) -> bool:
  return name.split(':')[0].split('/')[0] in OWN


def _root(data_dir: str | os.PathLike[str] | None) -> str:
  return os.path.abspath(os.path.expanduser(data_dir or constants.DATA_DIR))


def _command(name: str, data_dir: str | os.PathLike[str] | None) -> str:
  return f'python -m zoo.data.tfds {name} --data_dir={_root(data_dir)}'
