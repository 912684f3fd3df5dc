"""Inception against the same network put together of torch's layers, with the same random weights.

torchvision's own has other pools and an optional head; its names, and the order in which blocks
join their branches, are those of the published weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.interop import inception
from zoo.interop.tensors import write_tensors
from zoo.models.inception import InceptionV3, to_input

torch = pytest.importorskip('torch')
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

pytestmark = pytest.mark.parity


class Basic(nn.Module):
  def __init__(self, inputs, outputs, size, **options):
    super().__init__()
    self.conv = nn.Conv2d(inputs, outputs, size, bias=False, **options)
    self.bn = nn.BatchNorm2d(outputs, eps=0.001)

  def forward(self, x):
    return F.relu(self.bn(self.conv(x)))


def mean3(x):
  return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class Mixed(nn.Module):
  """Branches: name of the first layer -> how they are chained; `layers`: name -> (in, out, ...)."""

  def __init__(self, layers):
    super().__init__()
    for name, (inputs, outputs, size, options) in layers.items():
      setattr(self, name, Basic(inputs, outputs, size, **options))

  def chain(self, x, *names):
    for name in names:
      x = getattr(self, name)(x)
    return x


class A(Mixed):
  def __init__(self, c, pool):
    p = {'padding': 1}
    super().__init__(
      {
        'branch1x1': (c, 64, 1, {}),
        'branch5x5_1': (c, 48, 1, {}),
        'branch5x5_2': (48, 64, 5, {'padding': 2}),
        'branch3x3dbl_1': (c, 64, 1, {}),
        'branch3x3dbl_2': (64, 96, 3, p),
        'branch3x3dbl_3': (96, 96, 3, p),
        'branch_pool': (c, pool, 1, {}),
      }
    )

  def forward(self, x):
    return torch.cat(
      [
        self.chain(x, 'branch1x1'),
        self.chain(x, 'branch5x5_1', 'branch5x5_2'),
        self.chain(x, 'branch3x3dbl_1', 'branch3x3dbl_2', 'branch3x3dbl_3'),
        self.chain(mean3(x), 'branch_pool'),
      ],
      1,
    )


class B(Mixed):
  def __init__(self):
    super().__init__(
      {
        'branch3x3': (288, 384, 3, {'stride': 2}),
        'branch3x3dbl_1': (288, 64, 1, {}),
        'branch3x3dbl_2': (64, 96, 3, {'padding': 1}),
        'branch3x3dbl_3': (96, 96, 3, {'stride': 2}),
      }
    )

  def forward(self, x):
    double = self.chain(x, 'branch3x3dbl_1', 'branch3x3dbl_2', 'branch3x3dbl_3')
    return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class C(Mixed):
  def __init__(self, w):
    row, column = ((1, 7), {'padding': (0, 3)}), ((7, 1), {'padding': (3, 0)})
    super().__init__(
      {
        'branch1x1': (768, 192, 1, {}),
        'branch7x7_1': (768, w, 1, {}),
        'branch7x7_2': (w, w, *row),
        'branch7x7_3': (w, 192, *column),
        'branch7x7dbl_1': (768, w, 1, {}),
        'branch7x7dbl_2': (w, w, *column),
        'branch7x7dbl_3': (w, w, *row),
        'branch7x7dbl_4': (w, w, *column),
        'branch7x7dbl_5': (w, 192, *row),
        'branch_pool': (768, 192, 1, {}),
      }
    )

  def forward(self, x):
    return torch.cat(
      [
        self.branch1x1(x),
        self.chain(x, *(f'branch7x7_{i}' for i in (1, 2, 3))),
        self.chain(x, *(f'branch7x7dbl_{i}' for i in (1, 2, 3, 4, 5))),
        self.branch_pool(mean3(x)),
      ],
      1,
    )


class D(Mixed):
  def __init__(self):
    super().__init__(
      {
        'branch3x3_1': (768, 192, 1, {}),
        'branch3x3_2': (192, 320, 3, {'stride': 2}),
        'branch7x7x3_1': (768, 192, 1, {}),
        'branch7x7x3_2': (192, 192, (1, 7), {'padding': (0, 3)}),
        'branch7x7x3_3': (192, 192, (7, 1), {'padding': (3, 0)}),
        'branch7x7x3_4': (192, 192, 3, {'stride': 2}),
      }
    )

  def forward(self, x):
    seven = self.chain(x, *(f'branch7x7x3_{i}' for i in (1, 2, 3, 4)))
    return torch.cat([self.chain(x, 'branch3x3_1', 'branch3x3_2'), seven, F.max_pool2d(x, 3, 2)], 1)


class E(Mixed):
  def __init__(self, c, around):
    row, column = ((1, 3), {'padding': (0, 1)}), ((3, 1), {'padding': (1, 0)})
    super().__init__(
      {
        'branch1x1': (c, 320, 1, {}),
        'branch3x3_1': (c, 384, 1, {}),
        'branch3x3_2a': (384, 384, *row),
        'branch3x3_2b': (384, 384, *column),
        'branch3x3dbl_1': (c, 448, 1, {}),
        'branch3x3dbl_2': (448, 384, 3, {'padding': 1}),
        'branch3x3dbl_3a': (384, 384, *row),
        'branch3x3dbl_3b': (384, 384, *column),
        'branch_pool': (c, 192, 1, {}),
      }
    )
    self.around = around

  def forward(self, x):
    three = self.branch3x3_1(x)
    double = self.chain(x, 'branch3x3dbl_1', 'branch3x3dbl_2')
    parts = [self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three)]
    parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
    return torch.cat([*parts, self.branch_pool(self.around(x))], 1)


class Reference(nn.Module):
  def __init__(self):
    super().__init__()
    self.Conv2d_1a_3x3 = Basic(3, 32, 3, stride=2)
    self.Conv2d_2a_3x3 = Basic(32, 32, 3)
    self.Conv2d_2b_3x3 = Basic(32, 64, 3, padding=1)
    self.Conv2d_3b_1x1 = Basic(64, 80, 1)
    self.Conv2d_4a_3x3 = Basic(80, 192, 3)
    self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
    self.Mixed_6a = B()
    self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = C(128), C(160), C(160), C(192)
    self.Mixed_7a = D()
    self.Mixed_7b = E(1280, mean3)
    self.Mixed_7c = E(2048, lambda x: F.max_pool2d(x, 3, 1, 1))
    self.fc = nn.Linear(2048, 1008)

  def forward(self, images):
    x = resized(images)
    x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
    x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
    x = F.max_pool2d(x, 3, 2)
    for name, block in self.named_children():
      x = block(x) if name.startswith('Mixed') else x
    return x.mean((2, 3))


def resized(images):
  return 2 * F.interpolate(images, (299, 299), mode='bilinear', align_corners=False) - 1


def in_torch(images):
  return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize('size', [(32, 32), (64, 48), (320, 400)])
def test_resizing(size):
  images = np.random.default_rng(0).random((2, *size, 3)).astype(np.float32)
  expected = resized(in_torch(images)).numpy().transpose(0, 2, 3, 1)
  np.testing.assert_allclose(to_input(jnp.asarray(images)), expected, atol=2e-5)


def test_features(tmp_path):
  torch.manual_seed(0)
  model = Reference().eval()
  for name, x in model.named_buffers():
    if name.endswith(('running_mean', 'running_var')):
      x += 0.1 * torch.rand_like(x)
  for p in [p for p in model.parameters() if p.ndim == 1]:  # 0 and 1 would hide mistakes
    p.data += 0.1 * torch.randn_like(p)
  tensors = {name: x.detach().numpy() for name, x in model.state_dict().items()}
  write_tensors(tmp_path / 'inception.safetensors', tensors)
  variables = inception.load_inception(tmp_path / 'inception.safetensors')
  images = np.random.default_rng(0).random((2, 40, 32, 3)).astype(np.float32)
  with torch.no_grad():
    expected = model(in_torch(images)).numpy()
  found = jax.jit(InceptionV3().apply)(variables, images)
  error = np.abs(found - expected).max() / np.abs(expected).max()
  print(f'features {error:.1e}, spread {np.std(expected) / np.abs(expected).max():.1e}')
  assert found.shape == (2, 2048)
  assert error <= 1e-4
