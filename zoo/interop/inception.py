"""The weights of the Frechet inception distance, from the file that a person gives.

The reference is `pt_inception-2015-12-05`, which pytorch-fid publishes as a pickle. Nothing here
reads one. Where torch is installed, and its file trusted, two lines make the file that is read:

  state = torch.load('pt_inception-2015-12-05-6726825d.pth', weights_only=True)
  safetensors.torch.save_file(state, 'inception.safetensors')
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from zoo.interop import layout
from zoo.interop.tensors import PathLike, read_tensors
from zoo.models.inception import InceptionV3
from zoo.types import PyTree

RULES = (
  (r'^(params|batch_stats)/', ''),
  (r'/(mean|var)$', r'/running_\1'),
  (r'/(kernel|scale)$', '/weight'),
  (r'/', '.'),
)
CLASSES = 1008  # of the head, which is not used: it tells the reference from other Inceptions
UNUSED = ('fc.weight', 'fc.bias')


def load_inception(path: PathLike) -> PyTree:
  """Reads the variables of `InceptionV3`, {'params', 'batch_stats'}, float32.

  Args:
    path: a safetensors file, or a folder with `model.safetensors`.

  Raises:
    ValueError: a file that is none or is damaged, or weights that do not fit; one line.
    OSError: there is no such file.
  """
  tensors = read_tensors(path)
  try:
    return from_tensors(tensors)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


def from_tensors(tensors: Mapping[str, np.ndarray]) -> PyTree:
  """Makes variables of arrays by the names of pytorch-fid and torchvision.

  Raises:
    ValueError: missing, unexpected or misshapen tensors; or the head of an Inception that learnt
      other classes, of whose features a distance would be none that others report.
  """
  head = tensors.get('fc.weight')
  if head is not None and len(head) != CLASSES:
    raise ValueError(
      f'fc.weight is of {len(head)} classes; the Inception of the Frechet distance has {CLASSES}'
    )
  skipped = lambda name: name in UNUSED or name.endswith('.num_batches_tracked')
  found = {name: x for name, x in tensors.items() if not skipped(name)}
  return layout.to_params('Inception', found, shapes(), RULES)


@functools.cache  # tracing so many layers takes a second or more
def shapes() -> PyTree:
  """Shapes of the variables."""
  return jax.eval_shape(InceptionV3().init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
