"""ResNet-50 on ImageNet, 90 epochs, streamed from the disk.

Source: He et al. 2016 for the model; Goyal et al. 2017, Accurate, Large Minibatch SGD, for rate,
warm-up, decay and the start of blocks as identity; He et al. 2019, Bag of Tricks, for the cosine
and label smoothing.
Data: imagenet2012 in TFDS, which a person downloads, then prepares with
`python -m zoo.data.tfds imagenet2012`. Pictures are fitted to 224 x 224 before a box is cut out of
them, so that a small box is enlarged from fewer pixels than in the published recipe.
Command: python scripts/train.py --config=configs/imagenet_resnet50.py --workdir=runs/resnet50
Hardware: 8 GPUs or a TPU; batch and learning rate go together (0.1 for each 256).
Expected: not run here; such recipes are published with 76% to 77%.
"""

from ml_collections import ConfigDict

BATCH = 1024
EPOCH = 1_268_355 // BATCH  # of 99% of the training split


def get_config() -> ConfigDict:
  return ConfigDict(
    {
      'model': {'name': 'resnet50', 'zero_init': True, 'dtype': 'bfloat16'},
      'objective': {'name': 'classification', 'label_smoothing': 0.1, 'l2': 1e-4},
      'data': {
        'name': 'imagenet2012',
        'train': 'train[:99%]',
        'validation': 'train[99%:]',
        'test': 'validation',
        'image_size': (224, 224),
        'batch_size': BATCH,
        'on_device': False,
        'mean': (0.485, 0.456, 0.406),
        'std': (0.229, 0.224, 0.225),
        'augment': {'random_resized_crop': {}, 'random_flip': {}},
      },
      'optimizer': {
        'name': 'sgd',
        'learning_rate': 0.1 * BATCH / 256,
        'momentum': 0.9,
        'nesterov': True,
        'schedule': 'cosine',
        'warmup_steps': 5 * EPOCH,
      },
      'train': {
        'steps': 90 * EPOCH,
        'log_every': 100,
        'eval_every': EPOCH,
        'checkpoint_every': EPOCH,
        'workers': 16,
      },
    }
  )
