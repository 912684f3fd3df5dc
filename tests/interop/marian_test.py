import json
import pathlib
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.interop import marian
from zoo.models.transformer import Transformer, sinusoids

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'marian.npz'
TINY = Transformer(
  vocab_size=11, pad_id=10, bos_id=10, eos_id=0, max_length=8, encoder_layers=1, decoder_layers=2,
  width=8, num_heads=2, ffn_width=12, activation='swish', logits_bias=True,
)  # fmt: skip
APART = TINY.clone(share_embeddings='target', source_vocab_size=9)
VARIANTS = {'all': TINY, 'target': APART, 'none': APART.clone(share_embeddings='none')}
SHARED = 'model.shared.weight'


def params_of(module) -> Any:
  rng = np.random.default_rng(0)
  draw = lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32)
  return jax.tree.map(draw, marian.shapes(module))


def exported(module=TINY):
  return marian.to_hf(module, params_of(module))


@pytest.mark.parametrize('share', VARIANTS)
def test_there_and_back_is_the_identity(share):
  tensors, config = exported(VARIANTS[share])
  module, params = marian.from_hf(tensors, json.loads(json.dumps(config)))
  assert module == VARIANTS[share]
  chex.assert_trees_all_equal(params, params_of(VARIANTS[share]))


def test_matrices_are_transposed_and_the_bias_of_logits_is_a_row():
  tensors, _ = exported()
  params = params_of(TINY)
  weight = tensors['model.decoder.layers.1.encoder_attn.q_proj.weight']
  kernel = params['decoder_1']['cross_attention']['query']['kernel']
  np.testing.assert_array_equal(weight, kernel.T)
  np.testing.assert_array_equal(tensors['final_logits_bias'], params['logits_bias'][None])
  assert tensors[SHARED].shape == (11, 8)


def test_second_names_of_a_table_and_fixed_positions_do_not_matter():
  tensors, config = exported()
  for side in ('encoder', 'decoder'):
    tensors[f'model.{side}.embed_tokens.weight'] = tensors[SHARED]
    tensors[f'model.{side}.embed_positions.weight'] = sinusoids(8, 8)
  tensors['lm_head.weight'] = tensors.pop(SHARED)  # whichever of them a file has kept
  chex.assert_trees_all_equal(marian.from_hf(tensors, config)[1], params_of(TINY))


def test_a_model_without_a_bias_of_logits_gets_one_of_zeros():
  module = TINY.clone(logits_bias=False)
  tensors, config = exported(module)
  again, params = marian.from_hf(tensors, config)
  assert again == TINY
  np.testing.assert_array_equal(params.pop('logits_bias'), np.zeros(11))
  chex.assert_trees_all_equal(params, params_of(module))
  del tensors['final_logits_bias']
  assert not marian.from_hf(tensors, config)[1]['logits_bias'].any()


def test_options_change_what_is_a_matter_of_taste():
  tensors, config = exported()
  half = {name: x.astype(jnp.bfloat16) for name, x in tensors.items()}
  module, params = marian.from_hf(half, config, dropout=0.3, dtype='bfloat16', remat=True)
  assert module == TINY.clone(dropout=0.3, dtype='bfloat16', remat=True)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype('float32')}


@pytest.mark.parametrize(
  'options', [{'positions': 'learned'}, {'pre_norm': True}, {'activation': 'mish'}]
)
def test_other_transformers_are_not_marian(options):
  module = TINY.clone(**options)
  with pytest.raises(NotImplementedError):
    marian.to_hf(module, params_of(module))


def renamed(tensors, config):
  tensors['model.encoder.layers.0.fc3.bias'] = tensors.pop('model.encoder.layers.0.fc1.bias')


def transposed(tensors, config):
  name = 'model.encoder.layers.0.fc2.weight'
  tensors[name] = tensors[name].T


def untied(tensors, config):
  tensors['lm_head.weight'] = tensors[SHARED] + 1


def flat_bias(tensors, config):
  tensors['final_logits_bias'] = tensors['final_logits_bias'][0]


def learned(tensors, config):
  tensors['model.encoder.embed_positions.weight'] = sinusoids(8, 8)[::-1]


def field(**values):
  return lambda tensors, config: config.update(values)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      renamed,
      'Marian tensors: missing model.encoder.layers.0.fc1.bias (nearest: model.encoder.layers.0.fc',
    ),
    (transposed, 'wrong shape: model.encoder.layers.0.fc2.weight is [12, 8], not [8, 12]'),
    (untied, 'lm_head.weight is not model.shared.weight: only tied ones are supported'),
    (learned, 'model.encoder.embed_positions.weight is not sinusoidal'),
    (flat_bias, 'final_logits_bias is [11], not [1, 11]'),
    (field(encoder_layers=2), 'missing model.encoder.layers.1.self_attn.k_proj.bias'),
    (field(decoder_layers=10**9), 'decoder_layers = 1000000000, but there are'),
    (field(d_model=-8), 'd_model must be a whole number above 0, not -8'),
    (field(decoder_attention_heads=4), 'decoder_attention_heads = 4 is not supported, only 2'),
    (field(decoder_ffn_dim=16), 'decoder_ffn_dim = 16 is not supported, only 12'),
    (field(normalize_before=True), 'normalize_before = True is not supported, only False'),
    (field(activation_function='tanh'), "activation_function = 'tanh' is not supported"),
    (field(eos_token_id=[0, 1]), 'eos_token_id must be a token, not [0, 1]'),
    (field(share_encoder_decoder_embeddings=False), 'model.encoder.embed_tokens.weight'),
  ],
)
def test_what_does_not_fit_is_named_in_one_line(change, message):
  tensors, config = exported()
  change(tensors, config)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    marian.from_hf(tensors, config)
  assert '\n' not in str(error.value)


def test_parameters_of_another_module_are_refused():
  with pytest.raises(ValueError, match='Marian parameters: missing encoder_1/attention/key/bias'):
    marian.to_hf(TINY.clone(encoder_layers=2), params_of(TINY))


def load_golden() -> tuple[dict[str, np.ndarray], Transformer, Any]:
  """A tiny random `MarianMTModel` and what it did; see tests/golden/make.py."""
  with np.load(GOLDEN, allow_pickle=False) as file:
    golden = dict(file)
  tensors = {k.removeprefix('w:'): x for k, x in golden.items() if k.startswith('w:')}
  return golden, *marian.from_hf(tensors, json.loads(str(golden['config'])))


@pytest.mark.slow
def test_logits_and_gradients_are_those_that_torch_computed():
  golden, module, params = load_golden()
  labels = golden['labels']
  shifted = np.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=module.bos_id)
  logits_of = lambda p: module.apply({'params': p}, golden['source'], shifted)

  def loss(params):
    return optax.softmax_cross_entropy_with_integer_labels(logits_of(params), labels).mean()

  error = np.abs(logits_of(params) - golden['logits']).max() / np.abs(golden['logits']).max()
  assert error < 1e-5, error
  found = marian.to_hf(module, jax.jit(jax.grad(loss))(params))[0]
  del found['final_logits_bias']  # which torch does not train
  expected = {k.split(':')[1]: x for k, x in golden.items() if k.startswith('gradient:')}
  assert found.keys() == expected.keys()
  for name, x in found.items():
    norm = np.linalg.norm(x)
    np.testing.assert_allclose(norm, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_greedy_decoding_with_a_cache_gives_the_tokens_that_transformers_generated():
  golden, module, params = load_golden()
  expected, token = golden['generated'], golden['generated'][:, :1]
  assert (token == module.bos_id).all()
  cache = module.apply({'params': params}, golden['source'], 11, method='start')
  decode = jax.jit(lambda t, c: module.apply({'params': params}, t, c, method='decode'))
  for t in range(1, 12):
    logits, cache = decode(token, cache)
    token = logits[:, -1].argmax(-1)[:, None].astype(np.int32)
    np.testing.assert_array_equal(token, expected[:, t : t + 1], err_msg=str(t))
