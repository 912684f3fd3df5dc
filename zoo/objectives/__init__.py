"""What to learn. An objective is given its Linen module and imports none; wrappers compose."""

from zoo.objectives.classification import classification
from zoo.objectives.gan import gan
from zoo.objectives.language_model import language_model, masked_lm
from zoo.objectives.lora import with_lora
from zoo.objectives.seq2seq import seq2seq
from zoo.objectives.wrappers import with_augmentation, with_ema, with_penalty, with_transform

__all__ = [
  'classification',
  'gan',
  'language_model',
  'masked_lm',
  'seq2seq',
  'with_augmentation',
  'with_ema',
  'with_lora',
  'with_penalty',
  'with_transform',
]
