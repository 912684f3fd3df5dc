"""A multilayer perceptron on breast masses, malignant or benign: 30 features, no download.

Source: Wolberg et al. 1995, UCI Breast Cancer Wisconsin (Diagnostic).
Command: python scripts/train.py --config=configs/breast_cancer_mlp.py --workdir=runs/cancer_mlp
Hardware: 2 CPU cores (AMD EPYC), 11 s, compilation included.
Expected: 96.48% test accuracy (0.00 standard deviation over 3 seeds).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'mlp', 'widths': (64, 64), 'dropout': 0.3},
      'objective': {'name': 'classification', 'label_smoothing': 0.1},
      'data': {
        'name': 'breast_cancer',
        'train': 'train[:75%]',
        'validation': 'train[75%:]',
        'test': 'test',
        'batch_size': 64,
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 2e-3,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'weight_decay': 0.05,
      },
      'train': {
        'steps': 500,
        'steps_per_call': 50,
        'cpu_threads': 1,
        'log_every': 50,
        'eval_every': 250,
        'checkpoint_every': 250,
      },
    }
  )
