"""Flax Linen modules: pure init and apply, no I/O, no config objects."""

from zoo.models.cnn import CNN
from zoo.models.mlp import MLP

__all__ = ['CNN', 'MLP']
