"""A multilayer perceptron on scikit-learn's handwritten digits: the smallest config.

A step takes a fraction of a millisecond, so 50 of them go in one dispatch.

Source: Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits.
Command: python scripts/train.py --config=configs/digits_mlp.py --workdir=runs/digits_mlp
Hardware: 2 CPU cores (AMD EPYC), 5 s, compilation included.
Expected: 95.35% test accuracy (0.44 standard deviation over 5 seeds).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'mlp', 'widths': (256, 256), 'dropout': 0.3},
      'objective': {'name': 'classification', 'label_smoothing': 0.1},
      'data': {
        'name': 'digits',
        'train': 'train[:85%]',
        'validation': 'train[85%:]',
        'test': 'test',
        'batch_size': 64,
        'augment': {'random_affine': {'degrees': 10.0, 'translate': 0.1}},
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 2e-3,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'weight_decay': 0.05,
      },
      'train': {
        'steps': 2000,
        'steps_per_call': 50,
        'cpu_threads': 1,
        'log_every': 100,
        'eval_every': 500,
        'checkpoint_every': 500,
      },
    }
  )
