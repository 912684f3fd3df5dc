"""A small perceptron taught by digits_cnn, which has learnt the same digits before.

Source: Hinton et al. 2015, Distilling the Knowledge in a Neural Network.
Command: python scripts/train.py --config=configs/digits_distill.py --workdir=runs/digits_distill
Before it: configs/digits_cnn.py into runs/digits_cnn; or --config=configs/digits_distill.py:DIR
Student alone: --config.objective.alpha=0.0
Hardware: 2 CPU cores (AMD EPYC), 20 s, compilation included.
Expected: 91.36% test accuracy (0.39 standard deviation over 3 seeds); alone 91.02% (0.19). The
  teacher: 99.33%. Of the validation split 97.33% (0.77) and alone 96.15% (0.26).
"""

from ml_collections import ConfigDict


def get_config(teacher: str = 'runs/digits_cnn') -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'mlp', 'widths': (32,)},
      'objective': {'name': 'distillation', 'temperature': 4.0, 'alpha': 0.9},
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
      'train': {
        'steps': 1500,
        'teacher': teacher,
        'log_every': 50,
        'eval_every': 500,
        'checkpoint_every': 500,
      },
    }
  )
