"""A DCGAN on scikit-learn's handwritten digits (8x8, no download).

Source: Radford et al. 2016, DCGAN; Miyato et al. 2018, Spectral Normalization.
Judge: python scripts/train.py --config=configs/digits_cnn.py --workdir=runs/digits_cnn
Command: python scripts/train.py --config=configs/digits_gan.py:runs/digits_cnn \
--workdir=runs/digits_gan
Without a judge (configs/digits_gan.py alone) all is the same but that nothing measures distances.
Hardware: 2 CPU cores (AMD EPYC).
Expected: not run.
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
        'width': 32,
        'latent_size': 32,
        'discriminator_norm': 'none',
        'spectral_norm': True,
      },
      'objective': {'name': 'gan', 'adversarial_loss': 'hinge', 'generator_ema': 0.99},
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
        'learning_rate': 4e-4,
        'b1': 0.5,
        'groups': (('generator/.*', {'learning_rate_multiplier': 0.5}),),
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
