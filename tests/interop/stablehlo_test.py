import json

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from zoo.interop import stablehlo
from zoo.models.gpt2 import GPT2

TINY = GPT2(vocab_size=11, context_length=8, num_layers=1, width=8, num_heads=2, attention='xla')


def loaded(folder):
  """As the README says."""
  program = jax.export.deserialize(bytearray((folder / 'model.stablehlo').read_bytes()))
  return program, load_file(folder / 'model.safetensors')


@pytest.mark.slow
def test_a_language_model_runs_on_any_batch_of_any_length(tmp_path):
  variables = jax.jit(TINY.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
  spec = {'tokens': jax.ShapeDtypeStruct((1, 1), jnp.int32)}
  spec = stablehlo.symbolic(spec, {'tokens': ('b', 't')}, {'t': 8})
  stablehlo.export(lambda v, x: TINY.apply(v, x['tokens']), variables, spec, tmp_path)
  program, tensors = loaded(tmp_path)
  assert program.platforms == ('cpu', 'cuda', 'tpu')
  apply = jax.jit(TINY.apply)
  for shape in ((1, 8), (3, 5)):
    tokens = jax.random.randint(jax.random.key(1), shape, 0, 11)
    logits = jax.jit(program.call)(tensors, {'tokens': tokens})
    np.testing.assert_allclose(logits, apply(variables, tokens), rtol=1e-5, atol=1e-6)
  with pytest.raises(ValueError, match='shape'):
    jax.jit(program.call)(tensors, {'tokens': jnp.zeros((1, 9), jnp.int32)})


def test_what_has_no_influence_is_neither_input_nor_saved(tmp_path):
  variables = {
    'params': {'w': np.ones((3, 2), np.float32)},
    'extras': {'ema': np.ones(4, np.float32)},
  }
  batch = {
    'x': jax.ShapeDtypeStruct((4, 3), np.float32),
    'label': jax.ShapeDtypeStruct((4,), np.int32),
  }
  spec = stablehlo.symbolic(batch, {'x': ('b',), 'label': ('b',)}, {})

  def predict(variables, batch):
    return {'y': batch['x'] @ variables['params']['w'], 'sum': batch['x'].sum(1)}

  stablehlo.export(predict, variables, spec, tmp_path)
  program, tensors = loaded(tmp_path)
  assert tensors.keys() == {'params/w'}
  for size in (1, 5):
    found = program.call(tensors, {'x': np.full((size, 3), 2, np.float32)})
    np.testing.assert_array_equal(found['y'], np.full((size, 2), 6))
  signature = json.loads((tmp_path / 'signature.json').read_text())
  assert signature['inputs'] == {'x': 'float32[b, 3]'}
  assert signature['outputs'] == {'y': 'float32[b, 2]', 'sum': 'float32[b]'}
  assert 'float32[b, 3]' in (tmp_path / 'README.md').read_text()
