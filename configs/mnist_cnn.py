"""A convolutional network on MNIST.

Source: LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition.
Data: `python -m zoo.data.tfds mnist` prepares it once (needs the extra 'prepare' and a network).
Command: python scripts/train.py --config=configs/mnist_cnn.py --workdir=runs/mnist_cnn
Expected: not run. (The example of flax reaches 99.17% test accuracy in 10 epochs.)
"""

from ml_collections import ConfigDict


def get_config(name: str = 'mnist') -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'cnn', 'widths': (32, 64), 'dropout': 0.3},
      'objective': {'name': 'classification', 'label_smoothing': 0.05},
      'data': {
        'name': name,
        'train': 'train[:55000]',
        'validation': 'train[55000:]',
        'test': 'test',
        'batch_size': 128,
        'eval_batch_size': 500,
        'augment': {'random_affine': {'degrees': 10.0, 'translate': 0.08}},
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 2e-3,
        'schedule': 'cosine',
        'warmup_steps': 200,
        'weight_decay': 0.01,
      },
      'train': {'steps': 4300, 'log_every': 100, 'eval_every': 430, 'checkpoint_every': 430},
    }
  )
