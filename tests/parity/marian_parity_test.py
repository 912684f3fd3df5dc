"""The Transformer against `transformers`' Marian: logits, gradients, greedy decoding, files."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.data.sentencepieces_test import FRENCH, WORDS, marian_tokenizer
from zoo.interop import marian
from zoo.interop.tensors import read_json, read_tensors, write_tensors
from zoo.models.transformer import Transformer

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

pytestmark = pytest.mark.parity


def sizes_of(vocab_size, width, layers, heads, ffn_width, length):
  each = {'layers': layers, 'attention_heads': heads, 'ffn_dim': ffn_width}
  both = {f'{side}_{k}': v for side in ('encoder', 'decoder') for k, v in each.items()}
  return {
    **both,
    'vocab_size': vocab_size,
    'pad_token_id': vocab_size - 1,
    'decoder_start_token_id': vocab_size - 1,
    'eos_token_id': 0,
    'd_model': width,
    'max_position_embeddings': length,
    'scale_embedding': True,
    'activation_function': 'swish',
  }


TINY = sizes_of(97, 32, 2, 4, 48, 40)
OPUS = sizes_of(58_101, 512, 6, 8, 2048, 512)  # Helsinki-NLP/opus-mt-en-de
APART = {'share_encoder_decoder_embeddings': False, 'decoder_vocab_size': 120}
VARIANTS = {
  'shared': TINY,
  'apart': TINY | APART,
  'untied': TINY | APART | {'tie_word_embeddings': False},
  'gelu, not scaled': TINY | {'activation_function': 'gelu', 'scale_embedding': False},
}


def theirs(sizes):
  torch.manual_seed(0)
  model = transformers.MarianMTModel(transformers.MarianConfig(**sizes, dropout=0.0))
  for p in model.parameters():
    if p.ndim == 1:  # biases and scales of 0 and 1 would hide mistakes
      p.data += 0.1 * torch.randn_like(p)
  model.final_logits_bias += torch.randn_like(model.final_logits_bias)
  return model.eval()


def ours(model):
  tensors = {name: x.detach().numpy() for name, x in model.state_dict().items()}
  return marian.from_hf(tensors, model.config.to_dict())


def batch_of(module, shape):
  """Sources of different lengths, padded; targets of one length."""
  rng = np.random.default_rng(0)
  source_size = module.source_vocab_size or module.vocab_size
  source = rng.integers(1, source_size - 1, shape).astype(np.int32)
  for b, row in enumerate(source):
    row[shape[1] - 3 * b :] = module.pad_id
  targets = rng.integers(0, module.vocab_size, (shape[0], shape[1] // 2)).astype(np.int32)
  decoder_tokens = np.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=module.bos_id)
  return source, decoder_tokens, targets


def their_logits(model, source, decoder_tokens):
  source = torch.from_numpy(source).long()
  return model(
    source,
    attention_mask=source != model.config.pad_token_id,
    decoder_input_ids=torch.from_numpy(decoder_tokens).long(),
  ).logits


def error_of(found, expected):
  return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize(
  ('sizes', 'shape'),
  [*((sizes, (4, 20)) for sizes in VARIANTS.values()), (OPUS, (2, 64))],
  ids=[*VARIANTS, 'opus-mt'],
)
def test_logits_and_the_gradient_of_every_parameter(sizes, shape):
  model = theirs(sizes)
  # torch does not train the embedding of padding where it is read, and a decoder starts with it.
  for layer in model.modules():
    if isinstance(layer, torch.nn.Embedding):
      layer.padding_idx = None
  model.final_logits_bias.requires_grad_()  # a buffer there
  module, params = ours(model)
  trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
  assert sum(x.size for x in jax.tree.leaves(params)) == trained + module.vocab_size

  source, decoder_tokens, targets = batch_of(module, shape)
  expected = their_logits(model, source, decoder_tokens)
  found = jax.jit(module.apply)({'params': params}, source, decoder_tokens)
  error = error_of(found, expected.detach().numpy())
  print(f'logits: {error:.1e}')
  assert error <= 1e-4

  loss = torch.nn.functional.cross_entropy(
    expected.reshape(-1, expected.shape[-1]), torch.from_numpy(targets).long().reshape(-1)
  )
  loss.backward()

  def our_loss(params):
    logits = module.apply({'params': params}, source, decoder_tokens)
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

  value, grads = jax.jit(jax.value_and_grad(our_loss))(params)
  np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
  found = marian.to_hf(module, grads)[0]
  expected = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
  expected['final_logits_bias'] = model.final_logits_bias.grad
  assert found.keys() == expected.keys()
  # The gradient of a key's bias is 0 but for rounding, so that errors are relative to all, too.
  whole = torch.stack([x.norm() for x in expected.values()]).norm().item()
  errors = {
    name: np.linalg.norm(found[name] - x.numpy()) / max(x.norm().item(), 1e-4 * whole)
    for name, x in expected.items()
  }
  worst = max(errors, key=lambda name: errors[name])
  print(f'gradients: {errors[worst]:.1e} ({worst})')
  assert errors[worst] <= 1e-3, worst


def test_greedy_decoding_gives_the_same_tokens():
  model = theirs(TINY)
  module, params = ours(model)
  source, _, _ = batch_of(module, (4, 20))
  expected = model.generate(
    torch.from_numpy(source).long(),
    attention_mask=torch.from_numpy(source != module.pad_id),
    max_new_tokens=15,
    min_new_tokens=15,
    num_beams=1,
    do_sample=False,
    forced_eos_token_id=None,
  ).numpy()
  cache = module.apply({'params': params}, source, 15, method='start')
  decode = jax.jit(lambda p, t, c: module.apply({'params': p}, t, c, method='decode'))
  tokens = jnp.full((4, 1), module.bos_id)
  for _ in range(15):
    logits, cache = decode(params, tokens[:, -1:], cache)
    best = logits[:, -1].at[:, module.eos_id].set(-jnp.inf).argmax(-1)  # min_new_tokens
    tokens = jnp.concatenate([tokens, best[:, None]], 1)
  np.testing.assert_array_equal(tokens, expected)


@pytest.mark.parametrize('share', ['all', 'target', 'none'])
def test_what_we_save_transformers_loads_with_equal_logits(share, tmp_path):
  module = Transformer(
    vocab_size=97, source_vocab_size=0 if share == 'all' else 80, pad_id=3, bos_id=7, eos_id=5,
    max_length=40, encoder_layers=1, decoder_layers=2, width=32, num_heads=4, ffn_width=48,
    share_embeddings=share,
  )  # fmt: skip
  source, decoder_tokens, _ = batch_of(module, (4, 20))
  params = jax.jit(module.init)(jax.random.key(0), source, decoder_tokens)['params']
  tensors, config = marian.to_hf(module, params)
  write_tensors(tmp_path / 'model.safetensors', tensors)
  (tmp_path / 'config.json').write_text(json.dumps(config))
  model, report = transformers.AutoModelForSeq2SeqLM.from_pretrained(
    tmp_path, output_loading_info=True
  )
  assert not any(report[kind] for kind in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
  with torch.no_grad():
    expected = their_logits(model.eval(), source, decoder_tokens).numpy()
  logits = module.apply({'params': params}, source, decoder_tokens)
  assert error_of(logits, expected) <= 1e-4


@pytest.mark.parametrize('sizes', VARIANTS.values(), ids=VARIANTS)
def test_what_transformers_saves_we_load(sizes, tmp_path):
  model = theirs(sizes)
  model.save_pretrained(tmp_path)
  module, params = marian.from_hf(read_tensors(tmp_path), read_json(tmp_path / 'config.json'))
  expected_module, expected = ours(model)
  assert module == expected_module
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_the_tokenizer_gives_the_same_ids_and_the_same_text(tmp_path):
  tokenizer = marian_tokenizer()
  tokenizer.save(tmp_path)
  reference = transformers.MarianTokenizer(
    *(str(tmp_path / name) for name in ('source.spm', 'target.spm', 'vocab.json'))
  )
  for text in (*WORDS['source'], f'{FRENCH} a dog', 'a  dog\tsees', '犬 Ünïcode ﬁ'):
    assert [*tokenizer.encode(text), tokenizer.eos_id] == reference(text)['input_ids'], text
  for text in WORDS['target']:
    ids = reference(text_target=text)['input_ids']
    assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True) == text
