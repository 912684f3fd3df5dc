"""A functional model zoo for JAX.

>>> import zoo
>>> zoo.list_models('c*')
['cnn']
>>> model = zoo.create_model('cnn', num_classes=10)
"""

from zoo.catalog import create_model, list_models
from zoo.interop.hub import load_pretrained

__version__ = '0.1.0'
__all__ = ['create_model', 'list_models', 'load_pretrained']
