"""Seven tenths of the channels of digits_cnn: fine-tunes what `scripts/prune.py` left of it.

  python scripts/train.py --config=configs/digits_cnn.py --workdir=runs/digits_cnn
  python scripts/prune.py --workdir=runs/digits_cnn --out=runs/digits_slim --keep=0.7

come first. Without `train.init_from` the small network starts at random.

Source: Li et al. 2017, Pruning Filters for Efficient ConvNets; Alpaydin and Kaynak 1998 (data).
Command: python scripts/train.py --config=configs/digits_prune.py --workdir=runs/digits_prune \
--config.train.init_from=runs/digits_slim
Hardware: 2 CPU cores (AMD EPYC).
Expected: not run.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'cnn', 'widths': (22, 45), 'dropout': 0.2},
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
