"""ResNet-18 with a stem for small pictures on CIFAR-10.

Source: He et al. 2016, Deep Residual Learning for Image Recognition, section 4.2, for data and
augmentation; 200 epochs of a cosine after Loshchilov and Hutter 2017, SGDR.
Data: `python -m zoo.data.tfds cifar10` prepares it once (needs the extra 'prepare' and a network).
Command: python scripts/train.py --config=configs/cifar10_resnet18.py --workdir=runs/resnet18
Hardware: one GPU.
Expected: not run.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  epoch = 45_000 // 128
  return ConfigDict(
    {
      'model': {'name': 'resnet18_cifar'},
      # As a penalty, which passes through the momentum, weight decay is what it was published with.
      'objective': {'name': 'classification', 'l2': 5e-4},
      'data': {
        'name': 'cifar10',
        'train': 'train[:45000]',
        'validation': 'train[45000:]',
        'test': 'test',
        'batch_size': 128,
        'eval_batch_size': 500,
        'augment': {'random_crop': {'padding': 4}, 'random_flip': {}},
      },
      'optimizer': {
        'name': 'sgd',
        'learning_rate': 0.1,
        'momentum': 0.9,
        'nesterov': True,
        'schedule': 'cosine',
        'warmup_steps': 5 * epoch,
      },
      'train': {
        'steps': 200 * epoch,
        'log_every': 100,
        'eval_every': 5 * epoch,
        'checkpoint_every': 5 * epoch,
      },
    }
  )
