"""ResNet against `transformers`: logits, every gradient, batch statistics, files both ways."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.interop import hub, resnet
from zoo.interop.tensors import read_json, read_tensors
from zoo.models.resnet import ResNet

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

pytestmark = pytest.mark.parity

SIZES = {
  'tiny': {'embedding_size': 8, 'hidden_sizes': [32, 64], 'depths': [2, 1]},
  'resnet18': {'hidden_sizes': [64, 128, 256, 512], 'depths': [2, 2, 2, 2], 'layer_type': 'basic'},
  'resnet50': {},
}


def theirs(size):
  torch.manual_seed(0)
  config = transformers.ResNetConfig(**SIZES[size], num_labels=5)
  model = transformers.ResNetForImageClassification(config)
  for p in [p for p in model.parameters() if p.ndim == 1]:  # 0 and 1 would hide mistakes
    p.data += 0.1 * torch.randn_like(p)
  for name, x in model.named_buffers():
    if name.endswith(('running_mean', 'running_var')):
      x += 0.1 * torch.rand_like(x)
  return model.eval()


def ours(model):
  tensors = {name: x.detach().numpy().copy() for name, x in model.state_dict().items()}
  return resnet.from_hf(tensors, model.config.to_dict())


def batch_of(shape):
  rng = np.random.default_rng(0)
  images = rng.normal(size=shape).astype(np.float32)
  return images, rng.integers(0, 5, shape[0])


def in_torch(images):
  return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def error_of(found, expected):
  return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('size', SIZES)
def test_logits_gradients_and_statistics(size):
  model = theirs(size)
  module, variables = ours(model)
  parameters = sum(x.size for x in jax.tree.leaves(variables['params']))
  assert parameters == sum(p.numel() for p in model.parameters())
  images, labels = batch_of((4, 64, 72, 3))
  with torch.no_grad():
    expected = model(in_torch(images)).logits.numpy()
  found = jax.jit(lambda v: module.apply(v, images, train=False))(variables)
  error = error_of(found, expected)
  print(f'{size}: logits {error:.1e}')
  assert error <= 1e-4

  rounded = gradients_of(model, images, labels, 'float')
  exact = gradients_of(model, images, labels, 'double')

  def loss(params):
    logits, after = module.apply(
      {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), (logits, after)

  gradients, (logits, after) = jax.jit(jax.grad(loss, has_aux=True))(variables['params'])
  model.train()
  with torch.no_grad():
    assert error_of(logits, model(in_torch(images)).logits.numpy()) <= 1e-4
  named, _ = resnet.to_hf(module, {'params': gradients, **after})
  check_statistics(named, model)

  # Of so small a batch 53 norms amplify rounding: torch's own gradients of ResNet-50 in float32 are
  # 2% from those in float64. So ours are held to the latter, and to twice what torch is off.
  worst = worst_of(named, exact)
  theirs_worst = worst_of(rounded, exact)
  print(f'{size}: gradients {worst:.1e}, those of torch {theirs_worst:.1e}')
  assert worst <= max(1e-3, 2 * theirs_worst)


def gradients_of(model, images, labels, precision):
  model = getattr(copy.deepcopy(model), precision)().train()
  out = model(getattr(in_torch(images), precision)(), labels=torch.from_numpy(labels))
  out.loss.backward()
  return {name: p.grad.numpy() for name, p in model.named_parameters()}


def worst_of(found, expected):
  """The greatest error of a gradient, relative to its norm."""
  return max(np.linalg.norm(found[n] - x) / np.linalg.norm(x) for n, x in expected.items())


def check_statistics(named, model):
  """Torch averages the unbiased variance, n / (n - 1) times ours of n places."""
  for name, module in model.named_modules():
    if isinstance(module, torch.nn.BatchNorm2d):
      mean = module.running_mean.numpy()
      np.testing.assert_allclose(named[f'{name}.running_mean'], mean, rtol=1e-3, atol=1e-4)
      found = named[f'{name}.running_var']
      assert error_of(found, module.running_var.numpy()) <= 0.1 / 3  # of 4 places, at the least


@pytest.mark.parametrize('classes', [0, 5])
@pytest.mark.parametrize('bottleneck', [False, True])
def test_what_we_save_transformers_loads_with_equal_outputs(classes, bottleneck, tmp_path):
  module = ResNet(stage_sizes=(2, 1), width=8, bottleneck=bottleneck, num_classes=classes)
  images, _ = batch_of((2, 40, 40, 3))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: jnp.asarray(rng.uniform(0.1, 0.5, size=x.shape), jnp.float32),
    resnet.shapes_of(module, 3),
  )
  assert hub.save_pretrained(tmp_path, module, variables) == 'resnet'
  cls = transformers.ResNetForImageClassification if classes else transformers.ResNetModel
  model, report = cls.from_pretrained(tmp_path, output_loading_info=True)
  assert not any(report[kind] for kind in ('missing_keys', 'unexpected_keys', 'mismatched_keys'))
  with torch.no_grad():
    out = model.eval()(in_torch(images))
  expected = (out.logits if classes else out.pooler_output[:, :, 0, 0]).numpy()
  assert error_of(module.apply(variables, images, train=False), expected) <= 1e-4


def test_what_transformers_saves_we_load(tmp_path):
  model = theirs('tiny')
  model.save_pretrained(tmp_path)
  _, variables = resnet.from_hf(read_tensors(tmp_path), read_json(tmp_path / 'config.json'))
  jax.tree.map(np.testing.assert_array_equal, variables, ours(model)[1])
