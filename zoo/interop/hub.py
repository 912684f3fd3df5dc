"""Whole models by folder or by name on the Hugging Face hub: config, weights, tokenizer."""

import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn

from zoo.interop import bert, gpt2, marian, own, resnet, vit
from zoo.interop.tensors import (
  INDEX,
  WHOLE,
  PathLike,
  first_line,
  read_json,
  read_tensors,
  write_tensors,
)
from zoo.models.bert import BERT
from zoo.models.gpt2 import GPT2
from zoo.models.resnet import ResNet
from zoo.models.transformer import Transformer
from zoo.models.vit import ViT
from zoo.names import unknown
from zoo.types import PyTree


class Layout(NamedTuple):
  """How others write a model.

  Attributes:
    module: the Linen class.
    from_hf: (tensors, config, **options) -> (module, variables).
    to_hf: (module, variables) -> (tensors, config).
  """

  module: type[nn.Module]
  from_hf: Callable[..., tuple[nn.Module, PyTree]]
  to_hf: Callable[..., tuple[dict[str, Any], dict[str, Any]]]


def of_parameters(module: type[nn.Module], layout: Any) -> Layout:
  """The layout of a model that has parameters and no other variables."""

  def from_hf(tensors, config, **options):
    module, params = layout.from_hf(tensors, config, **options)
    return module, {'params': params}

  return Layout(module, from_hf, lambda module, v: layout.to_hf(module, v['params']))


LAYOUTS = {
  'bert': of_parameters(BERT, bert),
  'gpt2': of_parameters(GPT2, gpt2),
  'marian': of_parameters(Transformer, marian),
  'resnet': Layout(ResNet, resnet.from_hf, resnet.to_hf),
  'vit': of_parameters(ViT, vit),
}
# All that is fetched: neither pickles nor code.
FETCHED = ('*.safetensors', '*.json', 'merges.txt', 'vocab.txt', '*.spm')
ROLES = ('bos', 'eos', 'pad')


def load_pretrained(source: PathLike, **options: Any) -> tuple[nn.Module, PyTree, Any]:
  """Loads a model that was trained before.

  Args:
    source: a folder with config.json and safetensors, as `save_pretrained` or Hugging Face's
      libraries write it; or a name on the hub, 'openai-community/gpt2', which is fetched once.
    **options: fields of the module that are not part of what was trained: dropout, dtype ...

  Returns:
    The module, its variables (float32: {'params': ...}, and 'batch_stats' where there are some),
    and its tokenizer, or None where the folder holds none.

  Raises:
    ValueError: one line: no such folder or name, no network, an architecture that is not known, a
      config or weights that do not fit, a damaged file.
  """
  folder = find(source)
  config = read_json(folder / 'config.json')
  kind = config.get('model_type')
  if kind is None and (folder / 'checkpoints').is_dir():
    raise ValueError(f'{folder} is a run: scripts/export.py makes a folder of weights of it')
  if kind != own.MODEL_TYPE and kind not in LAYOUTS:
    raise unknown(f'model_type of {folder}', str(kind), [*LAYOUTS, own.MODEL_TYPE])
  tensors = read_tensors(folder)
  try:
    read = own.from_own if kind == own.MODEL_TYPE else LAYOUTS[kind].from_hf
    module, variables = read(tensors, config, **options)
  except ValueError as error:
    raise ValueError(f'{folder}: {error}') from None
  return module, variables, load_tokenizer(folder, getattr(module, 'vocab_size', None))


def save_pretrained(
  folder: PathLike, module: nn.Module, variables: PyTree, tokenizer: Any = None
) -> str:
  """Writes a folder that `load_pretrained` reads: config.json, model.safetensors, tokenizer.json.

  Models that `transformers` has are written in its layout, others in our own.

  Args:
    folder: where to write; made if need be.
    module: the model.
    variables: {'params': ...} and what else the module has.
    tokenizer: its tokenizer, if any.

  Returns:
    The layout: one of `LAYOUTS`, or 'zoo'.

  Raises:
    ValueError: parameters that do not fit the module.
  """
  kind, tensors, config = layout_of(module, variables)
  path = pathlib.Path(folder)
  path.mkdir(parents=True, exist_ok=True)
  ids = {f'{role}_token_id': getattr(tokenizer, f'{role}_id', None) for role in ROLES}
  ids = {name: i for name, i in ids.items() if i is not None and config.get(name) is None}
  write_tensors(path / WHOLE, tensors)
  (path / INDEX).unlink(missing_ok=True)
  write_json(path / 'config.json', config | ids)
  generation = {k: v for k, v in (config | ids).items() if k.endswith('_token_id')}
  if kind != own.MODEL_TYPE and generation:
    write_json(path / 'generation_config.json', generation)
  if tokenizer is not None:
    tokenizer.save(path)
    names = getattr(tokenizer, 'special_ids', None)  # of the `tokenizers` library
    if names is not None:
      by_id = {i: name for name, i in names.items()}
      known = {r: getattr(tokenizer, f'{r}_id') for r in (*ROLES, 'unk', 'mask')}
      special = {f'{r}_token': by_id[i] for r, i in known.items() if i is not None}
      # Without it `transformers` would add the special tokens of the published model to ours.
      write_json(
        path / 'tokenizer_config.json', {'tokenizer_class': 'PreTrainedTokenizerFast', **special}
      )
  return kind


def layout_of(module: nn.Module, variables: PyTree) -> tuple[str, dict[str, Any], dict[str, Any]]:
  """(layout, tensors, config) of a model: the layout of `transformers`, if it can express it."""
  for kind, layout in LAYOUTS.items():
    if type(module) is layout.module:
      try:
        return kind, *layout.to_hf(module, variables)
      except NotImplementedError:  # a variant that the published architecture has not
        break
  return own.MODEL_TYPE, *own.to_own(module, variables)


def find(source: PathLike) -> pathlib.Path:
  """The folder of a model, fetched from the hub if it is not a path."""
  path, source = pathlib.Path(source).expanduser(), str(source)
  if path.is_dir():
    if not (path / 'config.json').is_file():
      raise ValueError(f'{path} holds no model: it has no config.json')
    return path
  if path.is_absolute() or source.startswith(('.', '~')) or source.count('/') > 1 or path.exists():
    raise ValueError(f'{source} is no folder of a model')
  try:
    import huggingface_hub

    found = huggingface_hub.snapshot_download(source, allow_patterns=list(FETCHED))
  except Exception as error:  # the library's own kinds, of HTTP, of the system
    raise ValueError(
      f'{source} is neither a folder nor a model that could be fetched: {first_line(error)}'
    ) from None
  return pathlib.Path(found)


def load_tokenizer(folder: pathlib.Path, vocab_size: int | None) -> Any:
  """The tokenizer of a folder, or None if it has none.

  Raises:
    ValueError: it is damaged, or has more tokens than the model.
  """
  from zoo.data import tokenizers  # reads text, which few who load a model need

  if not tokenizers.held_by(folder):
    return None
  tokenizer = tokenizers.load(folder)
  if vocab_size is not None and tokenizer.vocab_size > vocab_size:
    raise ValueError(
      f'{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model {vocab_size}'
    )
  return tokenizer


def write_json(path: pathlib.Path, value: Any) -> None:
  path.write_text(json.dumps(value, indent=2, sort_keys=True) + '\n')
