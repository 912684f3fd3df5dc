"""A convolutional network on your own images: a folder with one subfolder per class.

Source: your folder. JPEG, PNG, BMP, GIF and WebP; every picture is fitted to `data.image_size`.
Without folders train/ and test/ inside, all pictures are 'train', and slices are cut as below.
Command: python scripts/train.py --config=configs/folder_cnn.py:PATH --workdir=runs/my_images
Expected: depends on the folder.
"""

from ml_collections import ConfigDict


def get_config(path: str = 'images') -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'cnn', 'widths': (32, 64, 128, 128), 'dropout': 0.3},
      'objective': {'name': 'classification', 'label_smoothing': 0.1},
      'data': {
        'name': f'folder:{path}',
        'train': 'train[:80%]',
        'validation': 'train[80%:90%]',
        'test': 'train[90%:]',
        'image_size': (64, 64),
        'batch_size': 32,
        'augment': {
          'random_flip': {},
          'random_affine': {'degrees': 15.0, 'translate': 0.1, 'scale': (0.9, 1.1)},
        },
      },
      'optimizer': {
        'name': 'adamw',
        'learning_rate': 1e-3,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'weight_decay': 0.05,
      },
      'train': {'steps': 1000, 'log_every': 20, 'eval_every': 100, 'checkpoint_every': 100},
    }
  )
