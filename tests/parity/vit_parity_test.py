"""ViT against `transformers`: logits, every gradient, files both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.interop import hub, vit
from zoo.interop.tensors import read_json, read_tensors
from zoo.models.vit import SIZES, ViT

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

pytestmark = pytest.mark.parity

CONFIGS = {
  'tiny': {
    'hidden_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 4, 'intermediate_size': 48,
    'image_size': 24, 'patch_size': 8,
  },
  'vit_ti16': {
    'hidden_size': 192, 'num_hidden_layers': 12, 'num_attention_heads': 3, 'intermediate_size': 768,
    'image_size': 64,
  },
}  # fmt: skip


def theirs(size, folder):
  """A model, saved to a folder: its names in memory are not those in files."""
  torch.manual_seed(0)
  config = transformers.ViTConfig(**CONFIGS[size], num_labels=5)
  model = transformers.ViTForImageClassification(config)
  for p in [p for p in model.parameters() if p.ndim == 1]:  # 0 and 1 would hide mistakes
    p.data += 0.1 * torch.randn_like(p)
  model.save_pretrained(folder)
  return model.eval()


def in_torch(images):
  return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def error_of(found, expected):
  return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('size', CONFIGS)
def test_logits_and_the_gradient_of_every_parameter(size, tmp_path):
  model = theirs(size, tmp_path)
  module, params = vit.from_hf(read_tensors(tmp_path), read_json(tmp_path / 'config.json'))
  assert module.epsilon == 1e-12
  if size in SIZES:
    assert module == ViT(**SIZES[size], num_classes=5, epsilon=1e-12)
  assert sum(x.size for x in jax.tree.leaves(params)) == sum(p.numel() for p in model.parameters())
  side = CONFIGS[size]['image_size']
  rng = np.random.default_rng(0)
  images = rng.normal(size=(4, side, side, 3)).astype(np.float32)
  labels = rng.integers(0, 5, 4)
  out = model(in_torch(images), labels=torch.from_numpy(labels))
  out.loss.backward()

  def loss(params):
    logits = module.apply({'params': params}, images, train=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), logits

  gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(params)
  error = error_of(logits, out.logits.detach().numpy())
  print(f'{size}: logits {error:.1e}')
  assert error <= 1e-4

  # What torch has for gradients takes the same way into a file, and from there to our names.
  with torch.no_grad():
    for p in model.parameters():
      p.copy_(p.grad)
  model.save_pretrained(tmp_path / 'gradients')
  _, expected = vit.from_hf(
    read_tensors(tmp_path / 'gradients'), read_json(tmp_path / 'config.json')
  )
  # The gradient of a key's bias is 0 but for rounding, so that errors are relative to all, too.
  whole = np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(expected)))
  errors = jax.tree.map(
    lambda g, x: float(np.linalg.norm(g - x) / max(np.linalg.norm(x), 1e-4 * whole)),
    gradients,
    expected,
  )
  worst = max(jax.tree.leaves(errors))
  print(f'{size}: gradients {worst:.1e}')
  assert worst <= 1e-3, errors


@pytest.mark.parametrize('classes', [0, 5])
def test_what_we_save_transformers_loads_with_equal_outputs(classes, tmp_path):
  module = ViT(
    patch_size=8, num_layers=2, width=32, num_heads=4, ffn_width=48, num_classes=classes,
    activation='gelu',
  )  # fmt: skip
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(scale=0.1, size=x.shape), jnp.float32),
    vit.shapes_of(module, 24, 3),
  )
  assert hub.save_pretrained(tmp_path, module, {'params': params}) == 'vit'
  if classes:
    cls, options = transformers.ViTForImageClassification, {}
  else:
    cls, options = transformers.ViTModel, {'add_pooling_layer': False}
  model, report = cls.from_pretrained(tmp_path, output_loading_info=True, **options)
  assert not any(report[kind] for kind in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
  images = rng.normal(size=(2, 24, 24, 3)).astype(np.float32)
  with torch.no_grad():
    out = model.eval()(in_torch(images))
  expected = (out.logits if classes else out.last_hidden_state[:, 0]).numpy()
  found = module.apply({'params': params}, images, train=False)
  assert error_of(found, expected) <= 1e-4


def test_a_backbone_with_a_pooler_is_read_without_it(tmp_path):
  config = transformers.ViTConfig(**CONFIGS['tiny'])
  transformers.ViTModel(config).save_pretrained(tmp_path)
  assert any(name.startswith('pooler.') for name in read_tensors(tmp_path))
  module, _, _ = hub.load_pretrained(tmp_path)
  assert isinstance(module, ViT) and module.num_classes == 0
