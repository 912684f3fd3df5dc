"""A convolutional network on Fashion-MNIST.

Source: Xiao, Rasul, Vollgraf 2017, Fashion-MNIST: a Novel Image Dataset.
Data: `python -m zoo.data.tfds fashion_mnist` prepares it once (extra 'prepare', and a network).
Command: python scripts/train.py --config=configs/fashion_mnist_cnn.py --workdir=runs/fashion
Expected: not run.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'cnn', 'widths': (32, 64, 128), 'dropout': 0.3},
      'objective': {'name': 'classification', 'label_smoothing': 0.1},
      'data': {
        'name': 'fashion_mnist',
        'train': 'train[:55000]',
        'validation': 'train[55000:]',
        'test': 'test',
        'batch_size': 128,
        'eval_batch_size': 500,
        'augment': {
          'random_crop': {'padding': 2},
          'random_flip': {},
          'cutout': {'size': 8},
        },
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 2e-3,
        'schedule': 'cosine',
        'warmup_steps': 200,
        'weight_decay': 0.02,
      },
      'train': {'steps': 8600, 'log_every': 100, 'eval_every': 430, 'checkpoint_every': 430},
    }
  )
