"""What one example looks like: shape and dtype of each leaf, the inputs first."""

from collections.abc import Mapping

Shapes = Mapping[str, tuple[tuple[int, ...], str]]


def image(*shape: int) -> Shapes:
  """An example for a classifier of images, or of features."""
  key = 'image' if len(shape) == 3 else 'features'
  return {key: (shape, 'float32'), 'label': ((), 'int32')}


def window(length: int) -> Shapes:
  """An example for a language model."""
  return {'tokens': ((length,), 'int32'), 'targets': ((length,), 'int32')}


def pair(length: int) -> Shapes:
  """An example for a model of sequence to sequence."""
  return {'source': ((length,), 'int32'), 'target': ((length,), 'int32')}


def transition(shape: tuple[int, ...], dtype: str) -> Shapes:
  """An example for Q-learning."""
  return {
    's_tm1': (shape, dtype),
    'a_tm1': ((), 'int32'),
    'r_t': ((), 'float32'),
    'discount_t': ((), 'float32'),
    's_t': (shape, dtype),
  }
