"""Exports a trained model: as a folder of safetensors, or as a StableHLO program.

  python scripts/export.py --workdir=runs/pydocs_gpt_bpe --out=exported [--step=best]
  python scripts/export.py --from=FOLDER --out=exported --format=stablehlo [--length=128]

The safetensors of GPT-2, BERT, Marian, ResNet and ViT models load with `transformers`; those of all
others, with names of our own, by `zoo.load_pretrained`. A program runs wherever JAX does, without
the zoo, on batches of any size. What was averaged or adapted in training is exported as it is
evaluated.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from absl import flags

from zoo import cli
from zoo.interop import hub, stablehlo
from zoo.runs import open_run
from zoo.types import PyTree

FLAGS = flags.FLAGS
flags.DEFINE_string('workdir', None, 'Run directory, as scripts/train.py left it.')
flags.DEFINE_string('from', None, 'In place of a run: a folder of weights, or a name on the hub.')
flags.DEFINE_string('out', None, 'Folder to write; it must not exist, or be empty.')
flags.DEFINE_enum('format', 'safetensors', ['safetensors', 'stablehlo'], 'What to write.')
flags.DEFINE_string('step', 'last', "Which checkpoint of a run: 'last', 'best' or a number.")
flags.DEFINE_string('member', 'best', "Of runs side by side: 'best' or a number from 0 on.")
flags.DEFINE_integer('length', 0, 'Tokens in the sequences of a program; 0 for any number.')
flags.mark_flag_as_required('out')

# Inputs of language models, and how their axes are called: b sequences of s or t tokens.
TOKENS = {'tokens': ('b', 't'), 'source': ('b', 's'), 'decoder_tokens': ('b', 't')}
KERNELS = ('attention', 'implementation')  # fields that choose kernels, some of one platform alone
LONGEST = ('context_length', 'max_length')


class Model(NamedTuple):
  """What is exported.

  Attributes:
    module: the model.
    variables: {'params': ...} and what else the module has.
    tokenizer: of a language model.
    predict: ({'params', 'extras'} of the train state, batch) -> what the run predicts.
    state: the first argument of it.
    spec: the second, as shapes.
  """

  module: nn.Module
  variables: PyTree
  tokenizer: Any
  predict: Callable[[PyTree, PyTree], PyTree] | None = None
  state: PyTree = None
  spec: Any = None


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'{argv[1]!r} is no flag')
  workdir, out = FLAGS.workdir, Path(FLAGS.out)
  source: Any = FLAGS['from'].value  # `from` is a word of Python
  if (workdir is None) == (source is None):
    raise ValueError('give either --workdir or --from')
  if FLAGS.length < 0:
    raise ValueError(f'--length must be at least 0, not {FLAGS.length}')
  if out.exists() and not (out.is_dir() and not any(out.iterdir())):
    raise ValueError(f'--out={out} is there already, and not empty')
  model = from_run(Path(workdir), FLAGS.step) if workdir else from_folder(source)
  name = type(model.module).__name__
  if FLAGS.format == 'safetensors':
    kind = hub.save_pretrained(out, model.module, model.variables, model.tokenizer)
    reader = 'zoo.load_pretrained' if kind == 'zoo' else f'transformers (model_type {kind})'
    print(f'{out}: safetensors of {name}, for {reader}')
    return 0
  stablehlo.export(*program(model, FLAGS.length), out)
  print(f'{out}: StableHLO of {name}; its README.md says how to run it')
  return 0


def from_folder(source: str) -> Model:
  """A model that `load_pretrained` reads."""
  return Model(*hub.load_pretrained(source))


def from_run(workdir: Path, step: str) -> Model:
  """The model of a run, as it is evaluated."""
  run = open_run(workdir, step, FLAGS.member)
  module, objective = run.experiment.module, run.experiment.objective
  predict = None
  if objective.predict is not None:
    call = objective.predict
    predict = lambda state, batch: call(state['params'], state['extras'], batch)
  return Model(
    module,
    run.variables,
    run.experiment.dataset.tokenizer,
    predict,
    {'params': run.state.params, 'extras': run.state.extras},
    run.experiment.dataset.train.spec,
  )


def program(model: Model, length: int) -> tuple[Callable[[PyTree, PyTree], PyTree], PyTree, PyTree]:
  """The function to export, its variables and its inputs.

  Models that read tokens give logits; others what their run predicts of a batch of its data.
  """
  module: Any = model.module
  module = module.clone(**dict.fromkeys((f for f in KERNELS if hasattr(module, f)), 'xla'))
  names = [n for n in inspect.signature(type(module).__call__).parameters if n in TOKENS]
  if names:
    most = next((getattr(module, f) for f in LONGEST if hasattr(module, f)), 0)
    if not length and getattr(module, 'positions', '') == 'sinusoidal':
      raise ValueError('sinusoidal positions are computed for one length: give --length')
    if 0 < most < length:
      raise ValueError(f'--length={length} is more than the model reads, {most}')
    axes = {name: TOKENS[name][:1] if length else TOKENS[name] for name in names}
    spec = {name: jax.ShapeDtypeStruct((1, length or 1), np.int32) for name in names}
    limits = {axis: most for name in names for axis in axes[name][1:] if most}
    call = lambda variables, inputs: module.apply(variables, *(inputs[name] for name in names))
    return call, model.variables, stablehlo.symbolic(spec, axes, limits)
  if model.predict is None:
    raise ValueError(f'{type(module).__name__} takes inputs of which only a run knows: --workdir')
  axes = dict.fromkeys(model.spec, ('b',))
  return model.predict, model.state, stablehlo.symbolic(model.spec, axes, {})


if __name__ == '__main__':
  cli.run(main)
