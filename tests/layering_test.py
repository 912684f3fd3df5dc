"""Who may import whom (design: imports go down only), read off the source with ast."""

import ast
import graphlib
import io
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# For scripts and zoo/__init__.py alone.
TOP = {'catalog', 'experiment', 'judge', 'realism', 'preview', 'runs', 'cli', 'benchmark', 'sweep'}
# With a module that they are given: below the top, above what is shared.
DECODING = {'decoding_cache', 'generate', 'text_stream', 'beam', 'sampling', 'translate'}
JOINING = {'population'}  # objective, optimiser and source, for the top
SIBLINGS = {'objectives', 'training', 'data', 'models', 'optim', 'previews'}
LAYERS = {'', 'interop'} | TOP | JOINING | SIBLINGS | DECODING
# The optimiser is two files: schedules.py is a part of it.
SHARED = {
  *(
    'types',
    'names',
    'paths',
    'presets',
    'losses',
    'metrics',
    'figures',
    'td',
    'robust',
    'examples',
    'config',
    'provenance',
    'schedules',
    'sparsity',
    'slimming',
    'attention_heads',
    'platform',
    'huge_pages',
  ),
}
FAMILIES = {
  *('cnn', 'mlp', 'lstm', 'rnn', 'gru', 'gpt', 'gpt2', 'bert', 'transformer', 'resnet', 'unet'),
  *('gan', 'wgan', 'dcgan', 'vae', 'autoencoder', 'vit', 'dqn', 'qnetwork', 'fixmatch'),
  *('classifier', 'classification', 'seq2seq', 'diffusion'),
}


def module_name(path: Path) -> str:
  parts = path.relative_to(ROOT).with_suffix('').parts
  return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


FILES = {module_name(path): path for path in sorted((ROOT / 'zoo').rglob('*.py'))}
SCRIPTS = sorted((ROOT / 'scripts').glob('*.py'))


def imports(path: Path) -> set[str]:
  """The modules of ours that a file names in import statements, also those within functions."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'{path}: a relative import'
      # `from zoo.data import folder` names a module, `from zoo.names import unknown` a function.
      names = {f'{node.module}.{alias.name}' for alias in node.names}
      found |= {name if name in FILES else str(node.module) for name in names}
  return {name for name in found if name in FILES}


def group(module: str) -> str:
  return module.split('.')[1] if '.' in module else ''


IMPORTS = {module: imports(path) for module, path in FILES.items()}


def test_every_file_has_a_layer():
  assert {group(module) for module in FILES} <= LAYERS | SHARED


def test_types_import_nothing_of_ours():
  assert not IMPORTS['zoo.types']


@pytest.mark.parametrize('module', sorted(FILES))
def test_imports_go_down_only(module):
  layer = group(module)
  if not layer:  # zoo/__init__.py
    allowed = TOP | {'interop'}
  elif layer in TOP:
    allowed = TOP | {'interop'} | DECODING | JOINING | SIBLINGS | SHARED
  elif layer == 'interop':
    allowed = {'interop', 'models'} | SHARED
    allowed |= {'data'} if module == 'zoo.interop.hub' else set()  # a tokenizer beside the weights
  elif layer in DECODING:
    allowed = DECODING | SHARED
  elif layer in JOINING:
    allowed = JOINING | SIBLINGS | SHARED
  elif layer in SIBLINGS:
    allowed = {layer} | SHARED
  else:
    allowed = SHARED
  wrong = sorted(name for name in IMPORTS[module] if group(name) not in allowed)
  assert not wrong, f'{module} imports {", ".join(wrong)}'


def test_there_are_no_cycles():
  # Raises CycleError, which names the cycle.
  list(graphlib.TopologicalSorter(IMPORTS).static_order())


SHARED_BY_MODELS = {
  f'zoo.models.{name}'
  for name in (
    'layers',
    'attention',
    'cells',
    'conv',
    'conv_cpu',
    'cudnn',
    'products',
    'recurrent',
    'residual',
    'rnn',
    'scan',
  )
}


def test_models_share_their_layers_and_nothing_else():
  for module, named in IMPORTS.items():
    if group(module) == 'models' and module != 'zoo.models':
      assert {n for n in named if group(n) == 'models'} <= SHARED_BY_MODELS, module


def test_scripts_do_not_import_each_other():
  names = {path.stem for path in SCRIPTS}
  for path in SCRIPTS:
    for node in ast.walk(ast.parse(path.read_text())):
      named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
      named += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
      assert not names & {name.removeprefix('scripts.') for name in named}, path


def test_training_code_knows_no_family():
  for module, path in FILES.items():
    if group(module) != 'training':
      continue
    for words, line in code_words(path):
      assert not words & FAMILIES, f'{path.name}:{line} names {words & FAMILIES}'


def code_words(path: Path):
  """Words of names and strings, without comments and docstrings, and their lines."""
  docstrings = docstring_lines(path.read_text())
  for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
    if token.type in (tokenize.NAME, tokenize.STRING) and token.start[0] not in docstrings:
      yield words(token.string), token.start[0]


def words(name: str) -> set[str]:
  """The words of an identifier: {'gan', 'trainer'} of GANTrainer or gan_trainer."""
  found = re.findall(r'[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*', name)
  return {word.lower() for word in found}


def test_words_of_identifiers():
  assert words('GANTrainer') == {'gan', 'trainer'}
  assert words("'is_gan'") == {'is', 'gan'}
  assert words('gpt2_loss') == {'gpt2', 'loss'}
  assert words('organise') == {'organise'}


def docstring_lines(text: str) -> set[int]:
  return {
    line
    for node in ast.walk(ast.parse(text))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if isinstance(node.value.value, str)
    for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
  }


@pytest.mark.parametrize('module', sorted(FILES))
def test_a_file_is_one_idea(module):
  text = FILES[module].read_text()
  lines = set()
  for token in tokenize.generate_tokens(io.StringIO(text).readline):
    if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.DEDENT):
      lines |= set(range(token.start[0], token.end[0] + 1))
  lines -= docstring_lines(text)
  assert len(lines) <= 250, f'{module} has {len(lines)} lines of code'


IMPORT_ZOO = """
import sys, time
import jax, flax, optax
start = time.process_time()
import zoo
seconds = time.process_time() - start
heavy = {'tensorflow', 'tensorflow_datasets', 'grain', 'sklearn', 'matplotlib', 'orbax', 'PIL'}
heavy |= {'tokenizers', 'safetensors', 'babel', 'sacrebleu', 'torch', 'transformers'}
assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))
assert zoo.list_models('c*') == ['cnn']
jax.config.update('jax_num_cpu_devices', 3)  # refused once a backend has been initialised
assert jax.device_count() == 3
print(seconds)
"""


def test_importing_zoo_is_light_and_touches_no_device():
  variables = {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'} | {'JAX_PLATFORMS': 'cpu'}
  seconds = []
  while len(seconds) < 3:
    done = subprocess.run(
      [sys.executable, '-c', IMPORT_ZOO],
      cwd=ROOT,
      env=variables,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr
    seconds.append(float(done.stdout))
    if seconds[-1] <= 2:  # of the processor, so that another program's work does not count
      return
  raise AssertionError(f'import zoo took {seconds} s beyond jax, flax and optax')
