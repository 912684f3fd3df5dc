"""Models of pictures that scripts/peers.py compares: their sizes, and our side."""

from typing import Any, NamedTuple

import numpy as np
from contestants.case import Call, Case, zoo_step


class Pictures(NamedTuple):
  """A batch of pictures of classes."""

  batch_size: int
  side: int = 32
  num_classes: int = 10

  def batch(self) -> dict[str, np.ndarray]:
    """Pictures as zoo has them, [B, H, W, 3] in [0, 1], and their classes."""
    rng = np.random.default_rng(0)
    image = rng.random((self.batch_size, self.side, self.side, 3), np.float32)
    return {'image': image, 'label': rng.integers(0, self.num_classes, self.batch_size)}


SGD: dict[str, Any] = {'learning_rate': 0.1, 'momentum': 0.9}  # of ResNet
ADAM: dict[str, Any] = {
  'learning_rate': 2e-4,
  'b1': 0.5,
}  # of DCGAN, as Radford et al. 2016 have it
LATENT_SIZE, WIDTH = 100, 64  # of DCGAN


def zoo_resnet(pictures: Pictures, dtype: str) -> Call:
  import optax

  import zoo
  from zoo.objectives import classification

  options: dict[str, Any] = {'stem': 'cifar', 'num_classes': pictures.num_classes, 'dtype': dtype}
  objective = classification(zoo.create_model('resnet18', **options), num_classes=10)
  return zoo_step(objective, optax.sgd(**SGD), pictures.batch())


def zoo_dcgan(pictures: Pictures) -> Call:
  import optax

  import zoo
  from zoo.objectives import gan

  options: dict[str, Any] = {
    'resolution': pictures.side,
    'width': WIDTH,
    'latent_size': LATENT_SIZE,
  }
  return zoo_step(gan(zoo.create_model('dcgan', **options)), optax.adam(**ADAM), pictures.batch())


def in_torch() -> Any:
  """The module of the peers in torch, imported in their processes only."""
  from contestants import pytorch_images

  return pytorch_images


def resnet_case(dtype: str) -> Case:
  pictures = Pictures(128)
  return Case(
    f'train ResNet-18, 32 x 32 pictures, batch 128, {dtype}',
    pictures.batch_size,
    lambda: zoo_resnet(pictures, dtype),
    {
      'torch.compile': lambda: in_torch().resnet(pictures, dtype, compiled=True),
      'torch eager': lambda: in_torch().resnet(pictures, dtype, compiled=False),
    },
    'images',
  )


def dcgan_case() -> Case:
  pictures = Pictures(64)
  return Case(
    'train DCGAN, 32 x 32 pictures, batch 64, float32',
    pictures.batch_size,
    lambda: zoo_dcgan(pictures),
    {'torch eager': lambda: in_torch().dcgan(pictures)},
    'images',
  )
