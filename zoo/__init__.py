"""A functional model zoo for JAX.

>>> import zoo
>>> zoo.list_models('c*')
['cnn']
>>> model = zoo.create_model('cnn', num_classes=10)
"""

from zoo.experiment import create_model, list_models

__version__ = '0.1.0'
__all__ = ['create_model', 'list_models']
