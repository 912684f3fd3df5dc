"""GPT-2 against `transformers`: forward, every gradient, 50 steps of AdamW, files both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.interop import gpt2, hub
from zoo.models.gpt2 import GPT2, SIZES
from zoo.optim import make_optimizer

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

pytestmark = pytest.mark.parity

TINY = {'n_layer': 2, 'n_embd': 32, 'n_head': 4, 'n_positions': 32, 'vocab_size': 97}
MEDIUM = {'n_layer': 4, 'n_embd': 256, 'n_head': 8, 'n_positions': 64, 'vocab_size': 2000}
SMALL = {'n_layer': 12, 'n_embd': 768, 'n_head': 12, 'n_positions': 1024, 'vocab_size': 50257}


def theirs(sizes, seed=0):
  """A `GPT2LMHeadModel`, random as it is initialised, without dropout."""
  torch.manual_seed(seed)
  off = {'resid_pdrop': 0.0, 'embd_pdrop': 0.0, 'attn_pdrop': 0.0}
  config = transformers.GPT2Config(**sizes, **off, bos_token_id=None, eos_token_id=None)
  return transformers.GPT2LMHeadModel(config)


def ours(model):
  """The same in the zoo, through the names and shapes of its state dict."""
  tensors = {name: x.detach().numpy() for name, x in model.state_dict().items()}
  return gpt2.from_hf(tensors, model.config.to_dict())


def batch_of(sizes, shape, seed=0):
  return np.random.default_rng(seed).integers(0, sizes['vocab_size'], shape).astype(np.int32)


def their_loss(model, tokens):
  logits = model(torch.from_numpy(tokens).long()).logits[:, :-1]
  targets = torch.from_numpy(tokens[:, 1:]).long()
  return torch.nn.functional.cross_entropy(
    logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
  )


def our_loss(module, params, tokens):
  logits = module.apply({'params': params}, tokens)[:, :-1]
  return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


@pytest.mark.parametrize(
  ('sizes', 'shape'), [(TINY, (3, 32)), (SMALL, (2, 64))], ids=['tiny', 'small']
)
def test_logits_and_the_gradient_of_every_parameter(sizes, shape):
  model, tokens = theirs(sizes), batch_of(sizes, shape)
  module, params = ours(model)
  assert sum(x.size for x in jax.tree.leaves(params)) == sum(p.numel() for p in model.parameters())
  with torch.no_grad():
    expected = model(torch.from_numpy(tokens).long()).logits.numpy()
  logits = jax.jit(module.apply)({'params': params}, tokens)
  error = np.abs(logits - expected).max() / np.abs(expected).max()
  print(f'logits: {error:.1e}')
  assert error <= 1e-4

  loss = their_loss(model, tokens)
  loss.backward()
  value, grads = jax.jit(jax.value_and_grad(lambda p: our_loss(module, p, tokens)))(params)
  np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
  found = gpt2.to_hf(module, grads)[0]
  assert found.keys() == dict(model.named_parameters()).keys()
  errors = {}
  for name, p in model.named_parameters():
    want = p.grad.numpy()
    errors[name] = np.linalg.norm(found[name] - want) / np.linalg.norm(want)
  worst = max(errors, key=errors.get)
  print(f'gradients: {errors[worst]:.1e} ({worst})')
  assert errors[worst] <= 1e-3, worst


def test_a_half_padded_scanned_model_has_the_same_logits():
  model, tokens = theirs(TINY), batch_of(TINY, (3, 32))
  tensors = {name: x.detach().numpy() for name, x in model.state_dict().items()}
  module, params = gpt2.from_hf(
    tensors, model.config.to_dict(), scan_layers=True, vocab_multiple=64
  )
  with torch.no_grad():
    expected = model(torch.from_numpy(tokens).long()).logits.numpy()
  logits = module.apply({'params': params}, tokens)[..., : TINY['vocab_size']]
  assert np.abs(logits - expected).max() / np.abs(expected).max() <= 1e-4


@pytest.mark.parametrize(
  ('sizes', 'shape'), [(MEDIUM, (4, 64)), (SMALL, (1, 32))], ids=['medium', 'small']
)
def test_the_losses_of_50_steps_of_adamw(sizes, shape):
  model, steps = theirs(sizes), 50
  module, params = ours(model)
  decayed = [p for p in model.parameters() if p.ndim >= 2]
  plain = [p for p in model.parameters() if p.ndim < 2]
  optimizer = torch.optim.AdamW(
    [{'params': decayed, 'weight_decay': 0.1}, {'params': plain, 'weight_decay': 0.0}],
    lr=3e-4,
    betas=(0.9, 0.95),
    eps=1e-8,
  )
  tx = make_optimizer('adamw', learning_rate=3e-4, weight_decay=0.1, b1=0.9, b2=0.95, eps=1e-8)

  @jax.jit
  def step(params, opt_state, tokens):
    value, grads = jax.value_and_grad(lambda p: our_loss(module, p, tokens))(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, value

  opt_state, errors, curve = tx.init(params), [], []
  for i in range(steps):
    # Few batches, again and again, so that the loss falls far.
    tokens = batch_of(sizes, shape, seed=i % 3)
    params, opt_state, value = step(params, opt_state, jnp.asarray(tokens))
    optimizer.zero_grad()
    loss = their_loss(model, tokens)
    loss.backward()
    optimizer.step()
    curve.append(loss.item())
    errors.append(abs(float(value) - loss.item()) / loss.item())
  print(f'loss {curve[0]:.3f} -> {curve[-1]:.3f}, greatest relative difference {max(errors):.1e}')
  assert curve[-1] < 0.8 * curve[0]
  assert max(errors) <= 1e-3, errors


def test_what_we_save_transformers_loads_with_equal_logits(tmp_path):
  module = GPT2(vocab_size=97, context_length=32, num_layers=2, width=32, num_heads=4)
  tokens = batch_of(TINY, (3, 32))
  params = jax.jit(module.init)(jax.random.key(0), tokens)['params']
  assert hub.save_pretrained(tmp_path, module, {'params': params}) == 'gpt2'
  model, report = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path, output_loading_info=True
  )
  assert not any(report[kind] for kind in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
  with torch.no_grad():
    expected = model.eval()(torch.from_numpy(tokens).long()).logits.numpy()
  logits = module.apply({'params': params}, tokens)
  assert np.abs(logits - expected).max() / np.abs(expected).max() <= 1e-4


def test_what_transformers_saves_we_load_also_in_several_files(tmp_path):
  model = theirs(TINY)
  for folder, size in (('one', '1GB'), ('several', '30KB')):
    model.save_pretrained(tmp_path / folder, max_shard_size=size)
  assert len(list((tmp_path / 'several').glob('*.safetensors'))) > 1
  _, expected = ours(model)
  for folder in ('one', 'several'):
    module, variables, tokenizer = hub.load_pretrained(tmp_path / folder, dropout=0.0)
    assert tokenizer is None
    assert module.vocab_size == 97
    jax.tree.map(np.testing.assert_array_equal, variables['params'], expected)


@pytest.mark.parametrize('size', SIZES)
def test_names_and_shapes_of_the_published_sizes_without_allocating_any(size):
  options = SIZES[size]
  config = transformers.GPT2Config(
    n_layer=options['num_layers'], n_embd=options['width'], n_head=options['num_heads']
  )
  with torch.device('meta'):
    model = transformers.GPT2LMHeadModel(config)
  expected = {n: tuple(p.shape) for n, p in model.named_parameters()}
  found = {f'transformer.{n}': shape for n, shape in gpt2.layout(GPT2(**options)).values()}
  assert found == expected
