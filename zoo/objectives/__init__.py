"""What to learn. An objective is given its Linen module and imports none; wrappers compose."""

from zoo.objectives.anomaly import anomaly
from zoo.objectives.classification import classification
from zoo.objectives.clustering import clustering
from zoo.objectives.contrastive import contrastive
from zoo.objectives.distillation import distillation
from zoo.objectives.dqn import dqn, values
from zoo.objectives.fixmatch import fixmatch
from zoo.objectives.gan import gan
from zoo.objectives.language_model import language_model, masked_lm
from zoo.objectives.lora import with_lora
from zoo.objectives.pqn import pqn
from zoo.objectives.restoration import restoration
from zoo.objectives.seq2seq import seq2seq
from zoo.objectives.vae import vae
from zoo.objectives.wrappers import (
  with_augmentation,
  with_ema,
  with_penalty,
  with_transform,
  with_views,
)

__all__ = [
  'anomaly',
  'classification',
  'clustering',
  'contrastive',
  'distillation',
  'dqn',
  'fixmatch',
  'gan',
  'language_model',
  'masked_lm',
  'pqn',
  'restoration',
  'seq2seq',
  'vae',
  'values',
  'with_augmentation',
  'with_ema',
  'with_lora',
  'with_penalty',
  'with_transform',
  'with_views',
]
