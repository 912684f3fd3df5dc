"""Named arrays in safetensors files, in and out. Nothing here, or below it, reads a pickle.

A model is one file, `model.safetensors`, or several with an index, as Hugging Face has them:
`model.safetensors.index.json` says which file holds which tensor. Whatever a file holds, reading it
runs none of it, and a damaged or hostile one ends in a ValueError of one line.
"""

import collections
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from zoo.interop.names import listed

PathLike = str | os.PathLike[str]

WHOLE = 'model.safetensors'
LONGEST_HEADER = 100_000_000  # bytes; the library's own bound
INDEX = 'model.safetensors.index.json'
PICKLES = ('.bin', '.pt', '.pth', '.ckpt', '.pkl', '.pickle', '.msgpack', '.h5')
# What files that are given another name begin with. A safetensors file begins with the length of
# its header, which may look like any of these, and then with '{'.
SIGNATURES = {
  b'PK\x03\x04': 'a zip archive, as torch.save writes it',
  b'\x80\x02': 'a pickle',
  b'\x80\x03': 'a pickle',
  b'\x80\x04': 'a pickle',
  b'\x80\x05': 'a pickle',
  b'\x89HDF': 'an HDF5 file',
  b'version https://git-lfs': 'a Git LFS pointer, not the file itself',
}
# fmt: off
DTYPES = (
  'BOOL', 'U8', 'I8', 'I16', 'U16', 'F16', 'BF16', 'I32', 'U32', 'F32', 'C64', 'F64', 'I64', 'U64',
)
# fmt: on


def read_tensors(path: PathLike) -> dict[str, np.ndarray]:
  """Reads a safetensors file, or a folder with `model.safetensors` or an index and its files.

  Args:
    path: the file or the folder.

  Returns:
    Arrays by name, of the type they were saved in; BF16 is `ml_dtypes.bfloat16`.

  Raises:
    ValueError: a file of another format, or one that is damaged; an index that does not fit the
      folder, or that names a file outside it.
    OSError: there is no such file, or it cannot be read.
  """
  path = pathlib.Path(path)
  if not path.is_dir():
    return read_file(path)
  if (path / WHOLE).exists():
    return read_file(path / WHOLE)
  if (path / INDEX).exists():
    return read_shards(path, read_json(path / INDEX))
  others = sorted(p.name for p in path.iterdir() if p.suffix in PICKLES)
  hint = f'; {others[0]} is of a format that is not read, since it may run code' if others else ''
  raise ValueError(f'{path} has neither {WHOLE} nor {INDEX}{hint}')


def read_file(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads one safetensors file; see `read_tensors`."""
  import safetensors

  check_header(path)
  try:
    with safetensors.safe_open(path, framework='np') as file:
      return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
  except safetensors.SafetensorError as error:
    reason = first_line(error).removeprefix('Error while deserializing header: ')
    raise ValueError(f'{path} is no sound safetensors file: {reason}') from None


def check_header(path: pathlib.Path) -> None:
  """Refuses what the library lets pass or says badly: pickles, repeated names, odd types."""
  unsound = f'{path} is no sound safetensors file:'
  with open(path, 'rb') as file:
    start = file.read(32)
    for signature, what in SIGNATURES.items():
      if start.startswith(signature) and start[8:9] != b'{':
        raise ValueError(f'{path} is {what}; only safetensors files are read')
    if path.suffix in PICKLES:
      raise ValueError(f'{path} is named like a pickle; only safetensors files are read')
    length = int.from_bytes(start[:8], 'little')
    if len(start) < 8 or length > min(path.stat().st_size - 8, LONGEST_HEADER):
      raise ValueError(f'{unsound} it ends before its header does')
    file.seek(8)
    header = file.read(length)

  repeated: list[str] = []

  def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = collections.Counter(name for name, _ in found)
    repeated.extend(name for name, count in counts.items() if count > 1)
    return dict(found)

  try:
    entries = json.loads(header, object_pairs_hook=pairs)
  except (ValueError, RecursionError) as error:  # of JSON or of UTF-8
    raise ValueError(f'{unsound} its header is no JSON: {first_line(error)}') from None
  if repeated:
    raise ValueError(f'{unsound} its header repeats {listed(repeated)}')
  for name, entry in entries.items() if isinstance(entries, dict) else ():
    dtype = entry.get('dtype') if isinstance(entry, dict) else None
    if name != '__metadata__' and dtype not in DTYPES:
      raise ValueError(f'{path}: {name} has the type {dtype!r}; {", ".join(DTYPES)} are read')


def read_shards(folder: pathlib.Path, index: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Reads the files of an index, which must hold exactly what it says."""
  places = index.get('weight_map')
  if not isinstance(places, dict) or not places:
    raise ValueError(f'{folder / INDEX} has no weight_map of tensor names to files')
  for name, file in places.items():
    plain = isinstance(file, str) and pathlib.PurePath(file).name == file and '\\' not in file
    if not plain or not file.endswith('.safetensors'):
      raise ValueError(f'{folder / INDEX} places {name} in {file!r}, no file of its own folder')

  tensors: dict[str, np.ndarray] = {}
  for file in sorted(set(places.values())):
    if not (folder / file).is_file():
      raise ValueError(f'{folder / INDEX} names {file}, which is not there')
    found = read_file(folder / file)
    expected = {name for name, place in places.items() if place == file}
    if found.keys() != expected:
      wrong = sorted(found.keys() ^ expected)
      raise ValueError(f'{folder / INDEX} and {file} disagree on {listed(wrong)}')
    tensors |= found
  return tensors


def write_tensors(path: PathLike, tensors: Mapping[str, np.ndarray]) -> None:
  """Writes one safetensors file, so that the name never stands for half of it.

  Args:
    path: the file, or a folder that gets `model.safetensors`; parents are made.
    tensors: arrays by name; what is no NumPy array is converted.
  """
  from safetensors.numpy import save_file

  path = pathlib.Path(path)
  path = path if path.suffix == '.safetensors' else path / WHOLE
  path.parent.mkdir(parents=True, exist_ok=True)
  # The library writes the bytes of an array in Fortran order as they lie, which is another array.
  arrays = {name: np.asarray(x, order='C') for name, x in tensors.items()}
  temporary = path.with_name(f'.{path.name}.tmp')
  # Whom the file is meant for: `transformers` reads no file that does not say so.
  save_file(arrays, temporary, metadata={'format': 'pt'})
  temporary.replace(path)


def read_json(path: PathLike) -> dict[str, Any]:
  """Reads a JSON object.

  Raises:
    ValueError: it is something else, or damaged.
    OSError: there is no such file.
  """
  try:
    value = json.loads(pathlib.Path(path).read_bytes())
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{path} is no JSON: {first_line(error)}') from None
  if not isinstance(value, dict):
    raise ValueError(f'{path} holds no JSON object')
  return value


def first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0]
