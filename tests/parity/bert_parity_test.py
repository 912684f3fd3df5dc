"""BERT against `transformers`: what it returns, every gradient, files both ways."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.interop import bert
from zoo.interop.tensors import read_json, read_tensors, write_tensors
from zoo.models.bert import BERT

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

pytestmark = pytest.mark.parity

TINY = {
  'vocab_size': 97,
  'hidden_size': 32,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'intermediate_size': 48,
  'max_position_embeddings': 40,
}
OFF = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}
HEADS = ('BertModel', 'BertForMaskedLM', 'BertForSequenceClassification')


def theirs(head, sizes):
  torch.manual_seed(0)
  model = getattr(transformers, head)(transformers.BertConfig(**sizes, **OFF, num_labels=3))
  for name, p in model.named_parameters():
    if p.ndim == 1:  # biases and scales of 0 and 1 would hide mistakes
      p.data += 0.1 * torch.randn_like(p)
  return model.eval()


def ours(model):
  tensors = {name: x.detach().numpy() for name, x in model.state_dict().items()}
  return bert.from_hf(tensors, model.config.to_dict())


def batch_of(sizes, shape):
  """Tokens of different lengths, padded with 0; their types; which of them are real."""
  rng = np.random.default_rng(0)
  tokens = rng.integers(1, sizes.get('vocab_size', 30522), shape).astype(np.int32)
  for b, row in enumerate(tokens):
    row[shape[1] - 3 * b :] = 0
  return tokens, rng.integers(0, 2, shape).astype(np.int32), tokens != 0


def their_output(model, tokens, types):
  tokens, types = torch.from_numpy(tokens).long(), torch.from_numpy(types).long()
  out = model(tokens, attention_mask=tokens != 0, token_type_ids=types)
  return out.pooler_output if hasattr(out, 'pooler_output') else out.logits


def our_output(module, head, params, tokens, types):
  method = 'pooled' if head == 'BertModel' else '__call__'
  return module.apply({'params': params}, tokens, token_types=types, method=method)


def error_of(found, expected):
  return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('head', HEADS)
@pytest.mark.parametrize(('sizes', 'shape'), [(TINY, (4, 32)), ({}, (2, 64))], ids=['tiny', 'base'])
def test_outputs_and_the_gradient_of_every_parameter(head, sizes, shape):
  model = theirs(head, sizes)
  tokens, types, real = batch_of(sizes, shape)
  module, params = ours(model)
  assert sum(x.size for x in jax.tree.leaves(params)) == sum(p.numel() for p in model.parameters())

  expected = their_output(model, tokens, types)
  # At padding the outputs mean nothing, and differ.
  real = real if expected.ndim == 3 else np.ones(len(tokens), bool)
  found = jax.jit(lambda p: our_output(module, head, p, tokens, types))(params)
  error = error_of(found[real], expected.detach().numpy()[real])
  print(f'{head}: {error:.1e}')
  assert error <= 1e-4

  targets = np.random.default_rng(1).integers(0, expected.shape[-1], real.sum())
  loss = torch.nn.functional.cross_entropy(
    expected[torch.from_numpy(real)], torch.from_numpy(targets)
  )
  loss.backward()

  def our_loss(params):
    logits = our_output(module, head, params, tokens, types)[real]
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

  value, grads = jax.jit(jax.value_and_grad(our_loss))(params)
  np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
  check_gradients(bert.to_hf(module, grads)[0], model)


def check_gradients(found, model):
  expected = {name: p.grad.numpy() for name, p in model.named_parameters()}
  assert found.keys() == expected.keys()
  # The gradient of a key's bias is 0 but for rounding, so that errors are relative to all, too.
  whole = np.sqrt(sum(np.square(x).sum() for x in expected.values()))
  errors = {
    name: np.linalg.norm(found[name] - x) / max(np.linalg.norm(x), 1e-4 * whole)
    for name, x in expected.items()
  }
  worst = max(errors, key=lambda name: errors[name])
  print(f'gradients: {errors[worst]:.1e} ({worst})')
  assert errors[worst] <= 1e-3, worst


@pytest.mark.parametrize('head', HEADS)
def test_what_we_save_transformers_loads_with_equal_outputs(head, tmp_path):
  classes = 3 if head == 'BertForSequenceClassification' else 0
  module = BERT(
    vocab_size=97, max_length=40, num_layers=2, width=32, num_heads=4, ffn_width=48,
    num_classes=classes, activation='gelu', epsilon=1e-6, num_types=3,
  )  # fmt: skip
  tokens, types, real = batch_of(TINY, (4, 32))
  method = 'pooled' if head == 'BertModel' else '__call__'
  params = module.init(jax.random.key(0), jnp.asarray(tokens), method=method)['params']
  tensors, config = bert.to_hf(module, params)
  save(tmp_path, tensors, config)
  model, report = getattr(transformers, head).from_pretrained(tmp_path, output_loading_info=True)
  assert not any(report[kind] for kind in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
  with torch.no_grad():
    expected = their_output(model.eval(), tokens, types).numpy()
  real = real if expected.ndim == 3 else slice(None)
  found = our_output(module, head, params, tokens, types)
  assert error_of(found[real], expected[real]) <= 1e-4


@pytest.mark.parametrize('head', [*HEADS, 'BertForPreTraining'])
def test_what_transformers_saves_we_load(head, tmp_path):
  model = theirs(head, TINY)
  model.save_pretrained(tmp_path)
  _, params = bert.from_hf(read_tensors(tmp_path), read_json(tmp_path / 'config.json'))
  jax.tree.map(np.testing.assert_array_equal, params, ours(model)[1])
  if head == 'BertForPreTraining':
    assert {'pooler', 'masked_lm'} <= params.keys()


def save(folder, tensors, config):
  write_tensors(folder / 'model.safetensors', tensors)
  (folder / 'config.json').write_text(json.dumps(config))
