"""A convolutional network on scikit-learn's handwritten digits (8x8, no download): the main job.

Source: Alpaydin and Kaynak 1998, UCI Optical Recognition of Handwritten Digits.
Command: python scripts/train.py --config=configs/digits_cnn.py --workdir=runs/digits_cnn
Hardware: 2 CPU cores (AMD EPYC), 10 s, compilation included.
Expected: 99.19% test accuracy (0.38 standard deviation over 5 seeds).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'cnn', 'widths': (32, 64), 'dropout': 0.2},
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
        'learning_rate': 3e-3,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'weight_decay': 0.01,
      },
      'train': {'steps': 1000, 'log_every': 50, 'eval_every': 200, 'checkpoint_every': 200},
    }
  )
