"""A U-Net that restores photographs: denoise, inpaint, deblur or super.

Source: scikit-learn's two photographs (danielbuechele, vultilion; CC BY 2.0); Ronneberger et al.
2015, U-Net; Zhang et al. 2017, Beyond a Gaussian Denoiser, for the noise; Chen et al. 2022, Simple
Baselines for Image Restoration, for the distance.
Command: python scripts/train.py --config=configs/photos_restoration.py:denoise --workdir=runs/p
Hardware: 2 CPU cores (AMD EPYC), 18 to 25 minutes beside other work.
Expected: denoise 35.78 dB (0.05 standard deviation over 3 seeds), SSIM 0.926 on the test split; the
best non-local means has 34.07, the best median filter 28.85 (scripts/baselines.py). The mean over
eight symmetries is 0.9 dB of it: a run without, and without transposed pictures, had 34.75, and
35.63 with. Inpaint 44.05 dB (0.08 over 3 seeds), biharmonic inpainting 43.75. The other tasks: not
run.
"""

from ml_collections import ConfigDict

TASKS = {
  'denoise': {'noise': (25.0,)},
  'inpaint': {'noise': (), 'holes': 4, 'hole_size': 12},
  'deblur': {'noise': (2.0,), 'blur': 1.6},
  'super': {'noise': (), 'factor': 2},
}


def get_config(task: str = 'denoise') -> ConfigDict:
  if task not in TASKS:
    raise ValueError(f'{task!r} is no task of photos_restoration; there are: {", ".join(TASKS)}')
  return ConfigDict(
    {
      'model': {
        'name': 'unet',
        'widths': (32, 64, 96, 128),
        'patch_size': 2,
        'norm': 'none',
        'residual': True,
      },
      'objective': {
        'name': 'restoration',
        **TASKS[task],
        'distance': 'psnr',
        'ensemble': True,
        'ema_decay': 0.995,
        'ema_warmup': True,
      },
      'data': {
        'name': 'photos/64',
        'train': 'train',
        'validation': 'validation',
        'test': 'test',
        'normalization': 'scale',
        'batch_size': 8,
        'eval_batch_size': 12,
        'augment': {'random_dihedral': {}},
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 2e-3,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'clip_norm': 1.0,
      },
      'train': {
        'steps': 3600,
        'log_every': 100,
        'eval_every': 300,
        'checkpoint_every': 300,
        'best': 'psnr',
      },
    }
  )
