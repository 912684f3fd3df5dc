"""ResNet-18 fine-tuned on your own images: a folder with one subfolder per class.

Early layers, which see what all photographs have, learn more slowly than late ones, and the new
head fastest of all. With --config.optimizer.freeze="('(stem|stage).*',)" the head alone learns: a
linear probe, but for the batch statistics, which still follow the data.

Source: Howard and Ruder 2018, Universal Language Model Fine-tuning, section 3.2, for rates by
layer; He et al. 2016 for the model. Your folder is read as in configs/folder_cnn.py.
Command: python scripts/train.py --config=configs/folder_finetune.py:PATH --workdir=runs/my_finetune
Weights: microsoft/resnet-18 of the Hugging Face hub, fetched once; --config.train.init_from=FOLDER
takes a folder of weights or an earlier run of a resnet18 in its place.
Expected: depends on the folder.
"""

from ml_collections import ConfigDict


def get_config(path: str = 'images') -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'resnet18'},
      'objective': {'name': 'classification', 'label_smoothing': 0.1},
      'data': {
        'name': f'folder:{path}',
        'train': 'train[:80%]',
        'validation': 'train[80%:90%]',
        'test': 'train[90%:]',
        'image_size': (224, 224),
        'batch_size': 32,
        'mean': (0.485, 0.456, 0.406),  # what the weights were trained with
        'std': (0.229, 0.224, 0.225),
        'augment': {'random_resized_crop': {'scale': (0.25, 1.0)}, 'random_flip': {}},
      },
      'optimizer': {
        'name': 'sgd',
        'learning_rate': 0.05,
        'momentum': 0.9,
        'schedule': 'cosine',
        'warmup_steps': 50,
        'weight_decay': 1e-4,
        'groups': (
          ('(stem|stage_0)_.*', {'learning_rate_multiplier': 0.05}),
          ('stage_1_.*', {'learning_rate_multiplier': 0.1}),
          ('stage_.*', {'learning_rate_multiplier': 0.3}),
        ),
      },
      'train': {
        'steps': 500,
        'init_from': 'microsoft/resnet-18',
        'init_ignore': ('head/.*',),
        'log_every': 10,
        'eval_every': 50,
        'checkpoint_every': 50,
      },
    }
  )
