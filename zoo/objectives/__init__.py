"""What to learn. An objective is given its Linen module and imports none; wrappers compose."""

from zoo.objectives.classification import classification
from zoo.objectives.wrappers import with_augmentation, with_ema, with_penalty, with_transform

__all__ = ['classification', 'with_augmentation', 'with_ema', 'with_penalty', 'with_transform']
