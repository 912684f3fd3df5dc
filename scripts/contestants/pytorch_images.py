# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
"""The peers in PyTorch of models of pictures, channels last, which its CPU kernels take fastest."""

from typing import Any

import torch
from contestants.case import Call
from contestants.images import ADAM, LATENT_SIZE, SGD, WIDTH, Pictures
from contestants.pytorch_device import finished, mixed, put
from torch import nn
from torch.nn import functional

LAYOUT = torch.channels_last


def tensors(pictures: Pictures) -> tuple[Any, Any]:
  """The pictures, [B, C, H, W] with channels last in memory, and their classes."""
  batch = pictures.batch()
  image = put(batch['image']).permute(0, 3, 1, 2).contiguous(memory_format=LAYOUT)
  return image, put(batch['label'])


def resnet(pictures: Pictures, dtype: str, compiled: bool) -> Call:
  """ResNet-18 with a stem of 3 x 3, by SGD with momentum; autocast for bfloat16."""
  torch.manual_seed(0)
  layers = [conv(3, 64), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
  channels = 64
  for i, width in enumerate((64, 128, 256, 512)):
    for j in range(2):
      layers.append(Residual(channels, width, 2 if i and not j else 1))
      channels = width
  layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, pictures.num_classes)]
  model = nn.Sequential(*layers).to(memory_format=LAYOUT)
  optimizer = torch.optim.SGD(
    model.parameters(), lr=SGD['learning_rate'], momentum=SGD['momentum'], fused=True
  )
  forward = torch.compile(model) if compiled else model
  images, labels = tensors(pictures)

  def call() -> None:
    with mixed(dtype):
      loss = functional.cross_entropy(forward(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()

  return finished(call)


def conv(channels: int, width: int, stride: int = 1, size: int = 3) -> Any:
  return nn.Conv2d(channels, width, size, stride, size // 2, bias=False)


class Residual(nn.Module):
  """Two convolutions of 3 x 3 with batch norm, and what they are added to."""

  def __init__(self, channels: int, width: int, stride: int):
    super().__init__()
    self.conv_1, self.norm_1 = conv(channels, width, stride), nn.BatchNorm2d(width)
    self.conv_2, self.norm_2 = conv(width, width), nn.BatchNorm2d(width)
    same = stride == 1 and channels == width
    shortcut = nn.Sequential(conv(channels, width, stride, size=1), nn.BatchNorm2d(width))
    self.shortcut = nn.Identity() if same else shortcut

  def forward(self, x: Any) -> Any:
    y = functional.relu(self.norm_1(self.conv_1(x)), inplace=True)
    return functional.relu(self.norm_2(self.conv_2(y)) + self.shortcut(x), inplace=True)


def dcgan(pictures: Pictures) -> Call:
  """DCGAN as usual: a step of the discriminator, then one of the generator against the new one."""
  torch.manual_seed(0)
  widths = (WIDTH, 2 * WIDTH, 4 * WIDTH)
  down, channels = [], 3
  for i, width in enumerate(widths):
    down.append(nn.Conv2d(channels, width, 4, 2, 1, bias=i == 0))
    down += [nn.BatchNorm2d(width)] if i else []
    down.append(nn.LeakyReLU(0.2, inplace=True))
    channels = width
  discriminator = nn.Sequential(*down, nn.Flatten(), nn.Linear(16 * channels, 1))
  up = [nn.ConvTranspose2d(LATENT_SIZE, channels, 4, bias=False)]
  for width in widths[-2::-1]:
    up += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    up.append(nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=False))
    channels = width
  up += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
  generator = nn.Sequential(*up, nn.ConvTranspose2d(channels, 3, 4, 2, 1), nn.Tanh())
  networks = [network.to(memory_format=LAYOUT) for network in (discriminator, generator)]
  options = {'lr': ADAM['learning_rate'], 'betas': (ADAM['b1'], 0.999), 'fused': True}
  of_discriminator, of_generator = (torch.optim.Adam(n.parameters(), **options) for n in networks)
  real = 2 * tensors(pictures)[0] - 1

  def call() -> None:
    z = torch.randn(pictures.batch_size, LATENT_SIZE, 1, 1)
    fake = generator(z)
    scores = discriminator(real), discriminator(fake.detach())
    loss = functional.softplus(-scores[0]).mean() + functional.softplus(scores[1]).mean()
    of_discriminator.zero_grad(set_to_none=True)
    loss.backward()
    of_discriminator.step()
    discriminator.requires_grad_(False)  # whose gradient nobody wants
    of_generator.zero_grad(set_to_none=True)
    functional.softplus(-discriminator(fake)).mean().backward()
    of_generator.step()
    discriminator.requires_grad_(True)

  return finished(call)
