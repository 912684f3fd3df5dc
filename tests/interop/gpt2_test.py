import pathlib
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo import paths
from zoo.interop import gpt2
from zoo.models.gpt2 import GPT2, SIZES

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'gpt2.npz'
TINY = GPT2(vocab_size=11, context_length=8, num_layers=2, width=8, num_heads=2)
TOKENS = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def initial(module=TINY, seed=0):
  """Parameters of which no two are alike: also biases and scales are random."""
  params = module.init(jax.random.key(seed), TOKENS)['params']
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
  return tree.unflatten(
    [x + 0.1 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
  )


def exported():
  return gpt2.to_hf(TINY, initial())


@pytest.mark.slow
def test_there_and_back_is_the_identity():
  params = initial()
  module, again = gpt2.from_hf(*gpt2.to_hf(TINY, params))
  assert module == TINY
  chex.assert_trees_all_equal(again, params)


@pytest.mark.slow
def test_the_scanned_layout_and_a_padded_vocabulary_hold_the_same_model():
  tensors, config = exported()
  wide, params = gpt2.from_hf(tensors, config, scan_layers=True, vocab_multiple=8, dropout=0.0)
  assert params['blocks']['qkv']['kernel'].shape == (2, 8, 24)
  assert params['token_embedding']['embedding'].shape == (16, 8)
  logits = wide.apply({'params': params}, TOKENS)
  expected = TINY.apply({'params': initial()}, TOKENS)
  np.testing.assert_allclose(logits[..., :11], expected, rtol=1e-5, atol=1e-6)
  assert (logits[..., 11:] == -1e9).all()
  back, same_config = gpt2.to_hf(wide, params)
  assert same_config | {'resid_pdrop': 0.1, 'embd_pdrop': 0.1, 'attn_pdrop': 0.1} == config
  chex.assert_trees_all_equal(back, tensors)


@pytest.mark.slow
def test_prefix_buffers_and_a_tied_head_do_not_matter():
  tensors, config = exported()
  bare = {name.removeprefix('transformer.'): x for name, x in tensors.items()}
  bare |= {'h.0.attn.bias': np.ones((1, 1, 8, 8)), 'h.1.attn.masked_bias': np.array(-1e4)}
  bare['lm_head.weight'] = bare['wte.weight']
  chex.assert_trees_all_equal(gpt2.from_hf(bare, config)[1], initial())


@pytest.mark.slow
def test_half_precision_becomes_float32():
  tensors, config = exported()
  half = {name: x.astype(jnp.bfloat16) for name, x in tensors.items()}
  _, params = gpt2.from_hf(half, config)
  expected = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), initial())
  chex.assert_trees_all_equal(params, expected)


@pytest.mark.parametrize(
  ('size', 'count'),
  # Radford et al. 2019 give 117M, 345M, 762M, 1542M; these are the counts of the published files.
  [
    ('gpt2', 124_439_808),
    ('gpt2_medium', 354_823_168),
    ('gpt2_large', 774_030_080),
    ('gpt2_xl', 1_557_611_200),
  ],
)
def test_the_published_sizes_have_their_number_of_parameters_and_tensors(size, count):
  module = GPT2(**SIZES[size])
  layout = gpt2.layout(module)
  assert sum(int(np.prod(shape)) for _, shape in layout.values()) == count
  assert len(layout) == 4 + 12 * module.num_layers
  params = jax.eval_shape(lambda key: module.init(key, jnp.zeros((1, 1), int)), jax.random.key(0))
  shapes = {path: x.shape for path, x in paths.named_leaves(params['params'])}
  assert shapes == {path: shape for path, (_, shape) in layout.items()}


def renamed(tensors, config):
  tensors['transformer.h.0.ln1.weight'] = tensors.pop('transformer.h.0.ln_1.weight')


def transposed(tensors, config):
  name = 'transformer.h.1.mlp.c_fc.weight'
  tensors[name] = tensors[name].T


def untied(tensors, config):
  tensors['lm_head.weight'] = tensors['transformer.wte.weight'] + 1


def field(**values):
  return lambda tensors, config: config.update(values)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      renamed,
      'GPT-2 tensors: missing h.0.ln_1.weight (nearest: h.0.ln1.weight); unexpected h.0.ln',
    ),
    (transposed, 'wrong shape: h.1.mlp.c_fc.weight is [32, 8], not [8, 32]'),
    (untied, 'lm_head.weight is not wte.weight'),
    (field(n_layer=3), 'missing h.2.ln_1.weight, h.2.ln_1.bias, h.2.attn.c_attn.weight, h.2'),
    (field(n_layer=1), 'unexpected h.1.ln_1.weight (nearest: h.0.ln_1.weight)'),
    (field(n_layer=10**9), 'n_layer = 1000000000, but there are 28 tensors'),
    (field(n_layer='2'), "n_layer must be a whole number above 0, not '2'"),
    (field(vocab_size=12), 'wrong shape: wte.weight is [11, 8], not [12, 8]'),
    (field(n_embd=True), 'n_embd must be a whole number above 0, not True'),
    (
      field(activation_function='relu'),
      "activation_function = 'relu' is not supported, only 'gelu_",
    ),
    (field(layer_norm_epsilon=1e-6), 'layer_norm_epsilon = 1e-06 is not supported, only 1e-05'),
    (field(n_inner=16), 'n_inner = 16 is not supported, only None or 32'),
    (field(scale_attn_by_inverse_layer_idx=True), 'scale_attn_by_inverse_layer_idx = True is not'),
    (field(resid_pdrop=1.5), 'resid_pdrop must be in [0, 1), not 1.5'),
    (field(n_head=3), 'width 8 is not a multiple of num_heads 3'),
  ],
)
def test_what_does_not_fit_is_named_in_one_line(change, message):
  tensors, config = exported()
  change(tensors, config)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    gpt2.from_hf(tensors, config)
  assert '\n' not in str(error.value)


def test_parameters_of_another_module_are_refused():
  with pytest.raises(ValueError, match='GPT-2 parameters: missing blocks_2/norm_1/scale'):
    gpt2.to_hf(TINY.clone(num_layers=3), initial())
  with pytest.raises(ValueError, match='GPT-2 parameters: unexpected blocks_1/'):
    gpt2.to_hf(TINY.clone(num_layers=1), initial())


def test_logits_loss_and_gradients_are_those_that_torch_computed():
  """Of a tiny random `GPT2LMHeadModel`; see tests/golden/make.py."""
  with np.load(GOLDEN, allow_pickle=False) as file:
    golden = dict(file)
  tensors = {k.removeprefix('w:'): x for k, x in golden.items() if k.startswith('w:')}
  names = ('n_layer', 'n_embd', 'n_head', 'n_positions', 'vocab_size')
  config = dict(zip(names, golden['sizes'].tolist(), strict=True))
  module, params = gpt2.from_hf(tensors, config, dropout=0.0)
  tokens = jnp.asarray(golden['tokens'])

  def loss(params):
    logits = module.apply({'params': params}, tokens)[:, :-1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

  logits = module.apply({'params': params}, tokens)
  error = np.abs(logits - golden['logits']).max() / np.abs(golden['logits']).max()
  assert error < 1e-5, error
  value, grads = jax.jit(jax.value_and_grad(loss))(params)
  np.testing.assert_allclose(value, golden['loss'], rtol=1e-5)
  norms = {name: np.linalg.norm(x) for name, x in gpt2.to_hf(module, grads)[0].items()}
  assert norms.keys() == tensors.keys()
  for name, norm in norms.items():
    np.testing.assert_allclose(norm, golden[f'g:{name}'], rtol=1e-4, err_msg=name)
