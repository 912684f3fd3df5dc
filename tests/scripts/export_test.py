import json
import re
import shutil

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.scripts import command
from zoo.data.tokenizers import train_bpe
from zoo.interop import hub, own
from zoo.interop.tensors import read_json, read_tensors
from zoo.models.gpt2 import GPT2
from zoo.runs import open_run

TINY = GPT2(vocab_size=260, context_length=8, num_layers=1, width=8, num_heads=2)


@pytest.fixture(scope='module')
def gpt2(tmp_path_factory):
  folder = tmp_path_factory.mktemp('gpt2')
  params = jax.jit(TINY.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))['params']
  hub.save_pretrained(folder, TINY, {'params': params}, train_bpe(['the cat sat'], 260))
  return folder


def exported(out, *args):
  done = command.run('export', f'--out={out}', *args)
  assert done.returncode == 0, done.stderr
  assert not done.stderr
  return done.stdout


def called(folder, inputs):
  """Runs a program as its README says."""
  code = re.findall('```python\n(.*?)```', (folder / 'README.md').read_text(), re.DOTALL)[0]
  assert 'jax.jit(program.call)(load_file(' in code
  program = jax.export.deserialize(bytearray((folder / 'model.stablehlo').read_bytes()))
  return jax.jit(program.call)(load_file(folder / 'model.safetensors'), inputs)


@pytest.mark.slow
def test_a_run_is_exported_as_it_is_evaluated(tmp_path, monkeypatch):
  monkeypatch.setenv('TFDS_DATA_DIR', str(command.home() / 'tfds'))
  workdir = command.finished()
  run = open_run(workdir)
  text = exported(tmp_path / 'weights', f'--workdir={workdir}')
  assert text == f'{tmp_path}/weights: safetensors of MLP, for zoo.load_pretrained\n'
  tensors, config = read_tensors(tmp_path / 'weights'), read_json(tmp_path / 'weights/config.json')
  module, variables = own.from_own(tensors, config)
  assert module == run.experiment.module.clone(axis_name=None)
  chex.assert_trees_all_equal(variables, jax.device_get(run.variables))
  ema = run.state.extras['ema']['Dense_0']['kernel']  # the config has an average
  np.testing.assert_array_equal(variables['params']['Dense_0']['kernel'], ema)

  exported(tmp_path / 'program', f'--workdir={workdir}', '--format=stablehlo')
  signature = json.loads((tmp_path / 'program/signature.json').read_text())
  assert signature['inputs'] == {'image': 'uint8[b, 8, 8, 1]'}
  state, predict = run.state, run.experiment.objective.predict
  for size in (1, 5):
    images = np.random.default_rng(0).integers(0, 256, (size, 8, 8, 1)).astype(np.uint8)
    expected = predict(state.params, state.extras, {'image': jnp.asarray(images)})
    logits = called(tmp_path / 'program', {'image': images})
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_language_model_is_exported_from_a_folder(gpt2, tmp_path):
  text = exported(tmp_path / 'again', f'--from={gpt2}')
  assert 'for transformers (model_type gpt2)' in text
  for name in ('config.json', 'model.safetensors', 'tokenizer.json', 'generation_config.json'):
    assert (tmp_path / 'again' / name).read_bytes() == (gpt2 / name).read_bytes()

  exported(tmp_path / 'program', f'--from={gpt2}', '--format=stablehlo')
  module, variables, _ = hub.load_pretrained(gpt2)
  for shape in ((1, 8), (3, 5)):
    tokens = jax.random.randint(jax.random.key(1), shape, 0, 260)
    expected = module.apply(variables, tokens)
    logits = called(tmp_path / 'program', {'tokens': tokens})
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
  signature = json.loads((tmp_path / 'program/signature.json').read_text())
  assert signature['inputs'] == {'tokens': 'int32[b, t]'}


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    ([], 'give either --workdir or --from'),
    (['--from={}', '--workdir={}'], 'give either --workdir or --from'),
    (['--from={}/nothing'], '{}/nothing is no folder of a model'),
    (['--workdir={}'], 'export.py: error: '),
    (['--from={}', '--format=pickle'], '--format=pickle: value should be one of'),
    (
      ['--from={}', '--format=stablehlo', '--length=9'],
      '--length=9 is more than the model reads, 8',
    ),
    (['--from={}', '--length=-1'], '--length must be at least 0, not -1'),
    (['--from={}', '--out={}'], '--out={} is there already, and not empty'),
  ],
)
def test_bad_input_is_one_line(gpt2, tmp_path, args, message):
  args = [f'--out={tmp_path}/out', *(arg.format(gpt2) for arg in args)]
  done = command.run('export', *args)
  assert message.format(gpt2) in command.refusal(done)
  assert not (tmp_path / 'out').exists()


def test_a_damaged_folder_is_refused(gpt2, tmp_path):
  folder = shutil.copytree(gpt2, tmp_path / 'copy')
  data = (folder / 'model.safetensors').read_bytes()
  (folder / 'model.safetensors').write_bytes(data[:-4])
  done = command.run('export', f'--from={folder}', f'--out={tmp_path}/out')
  assert 'is no sound safetensors file' in command.refusal(done)
