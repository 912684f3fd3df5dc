"""A plain convolutional network (no skip connections) on CIFAR-10.

Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images; the network after
Simonyan and Zisserman 2015.
Data: `python -m zoo.data.tfds cifar10` prepares it once (needs the extra 'prepare' and a network).
Command: python scripts/train.py --config=configs/cifar10_cnn.py --workdir=runs/cifar10_cnn
Expected: not run.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'cnn', 'widths': (64, 128, 256), 'dropout': 0.3},
      'objective': {'name': 'classification', 'label_smoothing': 0.1, 'ema_decay': 0.999},
      'data': {
        'name': 'cifar10',
        'train': 'train[:45000]',
        'validation': 'train[45000:]',
        'test': 'test',
        'batch_size': 256,
        'eval_batch_size': 500,
        'augment': {
          'random_crop': {'padding': 4, 'mode': 'reflect'},
          'random_flip': {},
          'cutmix': {'alpha': 1.0},
        },
      },
      'optimizer': {
        'name': 'sgd',
        'learning_rate': 0.1,
        'momentum': 0.9,
        'nesterov': True,
        'schedule': 'cosine',
        'warmup_steps': 880,
        'weight_decay': 5e-4,
      },
      'train': {'steps': 8800, 'log_every': 100, 'eval_every': 440, 'checkpoint_every': 440},
    }
  )
