"""A DCGAN on scikit-learn's handwritten digits (8x8, no download), judged by a classifier of them.

Source: Radford et al. 2016, DCGAN; Mescheder et al. 2018, R1.
Judge: python scripts/train.py --config=configs/digits_cnn.py --workdir=runs/digits_cnn
Command: python scripts/train.py --config=configs/digits_gan.py:runs/digits_cnn --workdir=runs/dgan
Without ':runs/digits_cnn' all is the same, but that nobody measures distances.
Hardware: 2 shared CPU cores (AMD EPYC), 84 s with twelve evaluations; other work ran beside it.
Expected: on the test split fd_zoo 4.68 (0.53 standard deviation over 3 seeds) at a floor of 1.86,
recall 81.0% (3.8), precision 47.7% (0.5).
"""

from ml_collections import ConfigDict


def get_config(judge: str = '') -> ConfigDict:
  return ConfigDict(
    {
      'model': {
        'name': 'dcgan',
        'resolution': 8,
        'channels': 1,
        'base': 2,
        'width': 16,
        'latent_size': 32,
        'discriminator_norm': 'none',
      },
      'objective': {'name': 'gan', 'r1': 0.1, 'r1_every': 4, 'generator_ema': 0.99},
      'data': {
        'name': 'digits',
        'train': 'train[:85%]',
        'validation': 'train[85%:]',
        'test': 'test',
        'batch_size': 64,
        'normalization': 'scale',
      },
      'optimizer': {
        'name': 'adam',
        'learning_rate': 2e-3,
        'b1': 0.5,
        'schedule': 'cosine',
        'final_scale': 0.1,
      },
      'train': {
        'steps': 3000,
        'judge': judge,
        'log_every': 50,
        'eval_every': 250,
        'preview_every': 250,
        'checkpoint_every': 500,
        'best': 'fd_zoo' if judge else 'spread',
        'best_mode': 'min' if judge else 'max',
      },
    }
  )
