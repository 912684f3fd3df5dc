"""What there is, by name: plain dict literals. The only file that maps names to things."""

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, overload

import flax.linen as nn
import jax
import numpy as np

from zoo import models, objectives
from zoo.config import options_of
from zoo.data import augment, color, mixing, randaugment, views
from zoo.data.anomaly import load_anomalies
from zoo.data.dataset import load_dataset
from zoo.data.interactive import load_environment
from zoo.data.on_policy import load_rollouts
from zoo.data.semi import load_semi_supervised
from zoo.data.text import load_text
from zoo.examples import Shapes, image, pair, transition, window
from zoo.interop.hub import PathLike
from zoo.interop.initial import with_weights
from zoo.names import unknown
from zoo.types import Array, Objective, PyTree


class Entry(NamedTuple):
  """A model by name.

  Attributes:
    module: the Linen class.
    objective: what it was published to learn.
    example: shape and dtype of each leaf of one example, as published; the inputs come first.
    reference: where it comes from.
    options: what sets this model apart from the defaults of its class.
    given: what the objective needs to be told, beside what the module says.
  """

  module: Callable[..., nn.Module]
  objective: str
  example: Shapes
  reference: str
  options: Mapping[str, Any] = {}
  given: Mapping[str, Any] = {}


GPT2 = 'Radford et al. 2019, Language Models are Unsupervised Multitask Learners'
VASWANI = 'Vaswani et al. 2017, Attention Is All You Need'
KINGMA = 'Kingma and Welling 2014, Auto-Encoding Variational Bayes'
DOSOVITSKIY = 'Dosovitskiy et al. 2021, An Image is Worth 16x16 Words'
HE = 'He et al. 2016, Deep Residual Learning for Image Recognition'
MNIH = 'Mnih et al. 2015, Human-level control through deep reinforcement learning'
BERT = 'Devlin et al. 2019, BERT: Pre-training of Deep Bidirectional Transformers'

MODELS = {
  'autoencoder': Entry(
    models.VAE,
    'vae',
    {'image': ((28, 28, 1), 'float32')},
    'Hinton and Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks',
    {'variational': False},
  ),
  'bert': Entry(
    models.BERT,
    'masked_lm',
    {'tokens': ((512,), 'int32')},
    BERT,
    models.bert.SIZES['base'],
    given={'mask_id': 103},
  ),
  'bert_large': Entry(
    models.BERT,
    'masked_lm',
    {'tokens': ((512,), 'int32')},
    BERT,
    models.bert.SIZES['large'],
    given={'mask_id': 103},
  ),
  'cnn': Entry(
    models.CNN,
    'classification',
    image(28, 28, 1),
    'LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition',
  ),
  'dcgan': Entry(
    models.DCGAN,
    'gan',
    image(64, 64, 3),
    'Radford et al. 2016, Unsupervised Representation Learning with Deep Convolutional GANs',
    {'width': 128},
  ),
  **{
    name: Entry(models.QNetwork, 'dqn', transition(*seen), MNIH, options)
    for name, (seen, options) in models.qnetwork.PUBLISHED.items()
  },
  **{
    name: Entry(models.GPT2, 'language_model', window(1024), GPT2, options)
    for name, options in models.gpt2.SIZES.items()
  },
  'gru': Entry(
    models.GRU,
    'language_model',
    window(128),
    'Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder',
  ),
  'lstm': Entry(
    models.LSTM,
    'language_model',
    window(128),
    'Hochreiter and Schmidhuber 1997, Long Short-Term Memory; Zaremba et al. 2014',
  ),
  'mlp': Entry(
    models.MLP,
    'classification',
    image(784),
    'Rumelhart et al. 1986, Learning Representations by Back-Propagating Errors',
  ),
  'mlp_autoencoder': Entry(
    models.MLPAutoencoder,
    'anomaly',
    image(784),
    'Hinton and Salakhutdinov 2006, Reducing the Dimensionality of Data with Neural Networks',
  ),
  **{
    name: Entry(models.ResNet, 'classification', image(224, 224, 3), HE, options)
    for name, options in models.resnet.SIZES.items()
  },
  'resnet18_cifar': Entry(
    models.ResNet,
    'classification',
    image(32, 32, 3),
    HE,
    {**models.resnet.SIZES['resnet18'], 'stem': 'cifar', 'num_classes': 10},
  ),
  'rnn_classifier': Entry(
    models.RNNClassifier,
    'classification',
    image(28, 28, 1),
    'Hochreiter and Schmidhuber 1997, Long Short-Term Memory',
  ),
  'transformer': Entry(
    models.Transformer, 'seq2seq', pair(256), VASWANI, models.transformer.SIZES['base']
  ),
  'transformer_big': Entry(
    models.Transformer, 'seq2seq', pair(256), VASWANI, models.transformer.SIZES['big']
  ),
  'unet': Entry(
    models.UNet,
    'restoration',
    {'image': ((64, 64, 3), 'float32')},
    'Ronneberger et al. 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation',
  ),
  'vae': Entry(models.VAE, 'vae', {'image': ((28, 28, 1), 'float32')}, KINGMA),
  **{
    name: Entry(models.ViT, 'classification', image(224, 224, 3), DOSOVITSKIY, options)
    for name, options in models.vit.SIZES.items()
  },
  **{
    f'wide_resnet28_{widen}': Entry(
      models.WideResNet,
      'classification',
      image(32, 32, 3),
      'Zagoruyko and Komodakis 2016, Wide Residual Networks',
      {'widen': widen},
    )
    for widen in (2, 10)
  },
}

OBJECTIVES = {
  'anomaly': objectives.anomaly,
  'classification': objectives.classification,
  'clustering': objectives.clustering,
  'contrastive': objectives.contrastive,
  'distillation': objectives.distillation,
  'dqn': objectives.dqn,
  'fixmatch': objectives.fixmatch,
  'gan': objectives.gan,
  'language_model': objectives.language_model,
  'masked_lm': objectives.masked_lm,
  'pqn': objectives.pqn,
  'restoration': objectives.restoration,
  'seq2seq': objectives.seq2seq,
  'vae': objectives.vae,
}

# Those that learn pictures as they are: in [0, 1], not standardised.
OF_SCALED = ('gan', 'restoration', 'vae')

LOADERS = {
  'anomaly': load_anomalies,
  'environment': load_environment,
  'examples': load_dataset,
  'rollouts': load_rollouts,
  'semi_supervised': load_semi_supervised,
  'text': load_text,
}

# By objective: (module) -> what acts, in data that are made by acting.
POLICIES = {'dqn': objectives.values, 'pqn': objectives.values}

# What an objective learns from in a text.
TEXT_KINDS = {
  'classification': 'labels',
  'language_model': 'windows',
  'masked_lm': 'windows',
  'seq2seq': 'pairs',
}

# In the order in which they are applied: geometry, colour, erasure, mixing of examples.
AUGMENTATIONS = {
  'random_resized_crop': augment.random_resized_crop,
  'random_crop': augment.random_crop,
  'random_flip': augment.random_flip,
  'random_dihedral': augment.random_dihedral,
  'random_affine': augment.random_affine,
  'random_color': color.random_color,
  'rand_augment': randaugment.rand_augment,
  'cutout': augment.cutout,
  'mixup': mixing.mixup,
  'cutmix': mixing.cutmix,
}
MIXING = ('mixup', 'cutmix')
LABELS = ('label', 'targets')  # leaves of examples that are no inputs of a module

# What makes the views that an objective compares; its arguments are options of the data section.
VIEWS = {
  'clustering': views.original_and_copy,
  'contrastive': views.two,
  'fixmatch': views.weak_and_strong,
}
# Objectives that learn features: their modules are asked for these instead of logits.
OF_FEATURES = ('contrastive',)

# What data, module or devices determine, and a config must not say.
GIVEN = (
  *('module', 'teacher', 'augment', 'axis_name', 'input_key', 'image_shape', 'num_classes'),
  'num_actions',
  *('vocab_size', 'token_bytes', 'pad_id', 'bos_id', 'eos_id', 'mask_id', 'special_ids'),
)


def list_models(pattern: str = '*') -> list[str]:
  """Names of models, those that a shell pattern such as 'resnet*' matches."""
  return sorted(fnmatch.filter(MODELS, pattern))


@overload
def create_model(name: str, *, pretrained: None = None, **options: Any) -> nn.Module: ...


@overload
def create_model(
  name: str, *, pretrained: PathLike, key: Array | None = None, **options: Any
) -> tuple[nn.Module, PyTree]: ...


def create_model(
  name: str, *, pretrained: PathLike | None = None, key: Array | None = None, **options: Any
) -> nn.Module | tuple[nn.Module, PyTree]:
  """Makes a Linen module by name; with weights that were trained before, its variables as well.

  Args:
    name: one of `list_models()`.
    pretrained: a folder of weights, or a name on the Hugging Face hub, see `load_pretrained`. With
      another `num_classes` than these the head is fresh; without one there are as many as there.
    key: for the fresh head, typed key []; `jax.random.key(0)` if None.
    **options: fields of its class, such as `num_classes`.

  Returns:
    The module, or (module, variables) with `pretrained`.

  Raises:
    ValueError: an unknown name or option, with the nearest there is; weights of another
      architecture, with the parameters that do not fit and the nearest to them.
  """
  if name not in MODELS:
    raise unknown('model', name, MODELS)
  entry = MODELS[name]
  valid = options_of(entry.module)
  for option in options:
    if option not in valid:
      raise unknown(f'option of model {name}', option, valid)
  module = entry.module(**{**entry.options, **options})
  if pretrained is None:
    return module
  leaves = example_batch(name, 1)
  inputs = [leaves[leaf] for leaf in leaves if leaf not in LABELS]
  key = jax.random.key(0) if key is None else key
  return with_weights(module, pretrained, inputs, options, key)


def published(name: str, axis_name: str | None = None, **options: Any) -> Objective:
  """A model of the catalog with the objective that it was published to learn.

  Args:
    name: one of `list_models()`.
    axis_name: the mapped axis, under pmap.
    **options: fields of its class that differ from the published ones.
  """
  entry = MODELS[name]
  given = dict(entry.given) | {'axis_name': axis_name, 'input_key': next(iter(entry.example))}
  fields = options_of(entry.module)
  if 'axis_name' in fields:
    options['axis_name'] = axis_name
  module = create_model(name, **options)
  given |= {field: getattr(module, field) for field in fields if field not in given}
  make = OBJECTIVES[entry.objective]
  return make(module, **{k: v for k, v in given.items() if k in arguments_of(make)})


def arguments_of(make: Callable[..., Any]) -> tuple[str, ...]:
  """The keyword arguments of an objective that data, module or devices provide."""
  return tuple(name for name in inspect.signature(make).parameters if name in GIVEN)


def example_batch(name: str, size: int) -> dict[str, jax.ShapeDtypeStruct]:
  """The shapes of a batch of the published examples of a model."""
  return {
    leaf: jax.ShapeDtypeStruct((size, *shape), np.dtype(dtype))
    for leaf, (shape, dtype) in MODELS[name].example.items()
  }
