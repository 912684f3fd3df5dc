"""A DCGAN of 64x64 faces.

Source: Liu et al. 2015, Deep Learning Face Attributes in the Wild; Radford et al. 2016, DCGAN.
Command: python scripts/train.py --config=configs/celeb_a_gan.py --workdir=runs/celeb_a_gan
Prepare the data first (`python -m zoo.data.tfds celeb_a`, which needs TensorFlow and a network).
With celeb_a_gan.py:FILE, the weights of Inception, 'fid' is measured and the best kept by it: of
the first 10,000 pictures of each split.
Hardware: one GPU.
Expected: not run.
"""

from ml_collections import ConfigDict


def get_config(inception: str = '') -> ConfigDict:
  return ConfigDict(
    {
      'model': {
        'name': 'dcgan',
        'resolution': 64,
        'channels': 3,
        'width': 64,
        'latent_size': 128,
        'discriminator_norm': 'none',
        'dtype': 'bfloat16',
      },
      'objective': {'name': 'gan', 'r1': 1.0, 'r1_every': 16, 'generator_ema': 0.999},
      'data': {
        'name': 'celeb_a',
        'train': 'train',
        'validation': 'validation',
        'test': 'test',
        'image_size': (64, 64),
        'batch_size': 128,
        'on_device': False,
        'normalization': 'scale',
        'augment': {'random_flip': {}},
      },
      'optimizer': {'name': 'adam', 'learning_rate': 2e-4, 'b1': 0.5},
      'train': {
        'steps': 50_000,
        'log_every': 100,
        'eval_every': 5000,
        'preview_every': 1000,
        'checkpoint_every': 5000,
        'inception': inception,
        'best': 'fid' if inception else 'spread',
        'best_mode': 'min' if inception else 'max',
      },
    }
  )
