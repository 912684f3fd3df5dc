"""The digits 0 to 4, with all their labels: what digits_transfer starts from.

Group norm, whose statistics are of one example: so a transfer needs parameters alone, and where
they are frozen the features are too.

Source: Yosinski et al. 2014, How Transferable are Features in Deep Neural Networks?
Command: python scripts/train.py --config=configs/digits_0to4.py --workdir=runs/digits_0to4
Hardware: 2 CPU cores (AMD EPYC), 23 s, compilation included.
Expected: 100% test accuracy, 99.11% of the validation split (one seed).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'cnn', 'widths': (32, 64), 'norm': 'group', 'dropout': 0.2},
      'objective': {'name': 'classification', 'label_smoothing': 0.1},
      'data': {
        'name': 'digits',
        'train': 'train[:85%]',
        'validation': 'train[85%:]',
        'test': 'test',
        'classes': (0, 1, 2, 3, 4),
        'batch_size': 64,
        'augment': {'random_affine': {'degrees': 10.0, 'translate': 0.1}},
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 3e-3,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'weight_decay': 0.01,
      },
      'train': {'steps': 600, 'log_every': 50, 'eval_every': 200, 'checkpoint_every': 200},
    }
  )
