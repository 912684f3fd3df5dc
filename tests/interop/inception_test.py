"""Inception's weights by their published names: what is read, and what is refused in one line."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from zoo import paths
from zoo.interop import inception, layout


def tensors():
  """All zeros, which take no memory, and a head."""
  found = {}
  for path, x in paths.named_leaves(inception.shapes()):
    shape = tuple(x.shape[axis] for axis in layout.torch_axes(path, x.ndim))
    name = layout.name_of(path, inception.RULES)
    found[name] = np.broadcast_to(np.float32(0), shape)
    if name.endswith('running_var'):
      found[name.replace('running_var', 'num_batches_tracked')] = np.zeros((), np.int64)
  head = {'fc.weight': np.zeros((1008, 2048), np.float32), 'fc.bias': np.zeros(1008, np.float32)}
  return found | head


@pytest.mark.slow
def test_names_and_axes_are_those_of_torch():
  found = tensors()
  assert len(found) == 94 * 6 + 2  # of every convolution a kernel, and of its norm five
  # As the published file has them: [out, in, height, width].
  assert found['Conv2d_1a_3x3.conv.weight'].shape == (32, 3, 3, 3)
  assert found['Mixed_6b.branch7x7_2.conv.weight'].shape == (128, 128, 1, 7)
  assert found['Mixed_7c.branch3x3dbl_3b.bn.running_mean'].shape == (384,)
  kernel = np.random.default_rng(0).normal(size=(128, 128, 1, 7)).astype(np.float32)
  found['Mixed_6b.branch7x7_2.conv.weight'] = kernel
  params = inception.from_tensors(found)['params']
  ours = params['Mixed_6b']['branch7x7_2']['conv']['kernel']
  np.testing.assert_array_equal(ours, kernel.transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      lambda found: found.pop('Mixed_5b.branch1x1.bn.running_mean'),
      'Inception tensors: missing Mixed_5b.branch1x1.bn.running_mean',
    ),
    (
      lambda found: found.update(
        {'Mixed_5b.branch1x1.conv.wieght': found.pop('Mixed_5b.branch1x1.conv.weight')}
      ),
      'missing Mixed_5b.branch1x1.conv.weight (nearest: Mixed_5b.branch1x1.conv.wieght)',
    ),
    (
      lambda found: found.update({'Conv2d_1a_3x3.conv.weight': np.zeros((3, 3, 3, 32))}),
      'wrong shape: Conv2d_1a_3x3.conv.weight is [3, 3, 3, 32], not [32, 3, 3, 3]',
    ),
    (
      lambda found: found.update({'fc.weight': np.zeros((1000, 2048))}),
      'fc.weight is of 1000 classes; the Inception of the Frechet distance has 1008',
    ),
  ],
)
def test_what_does_not_fit_is_named_in_one_line(change, message):
  found = tensors()
  change(found)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    inception.from_tensors(found)
  assert '\n' not in str(error.value)


def test_a_file_is_named(tmp_path):
  path = tmp_path / 'inception.safetensors'
  save_file({'Conv2d_1a_3x3.conv.weight': np.zeros((32, 3, 3, 3), np.float32)}, path)
  with pytest.raises(ValueError, match=r'inception\.safetensors: Inception tensors: missing'):
    inception.load_inception(path)
  pickled = tmp_path / 'pt_inception.pth'
  pickled.write_bytes(b'\x80\x02}q\x00.')
  with pytest.raises(ValueError, match=r'pt_inception\.pth is a pickle; only safetensors files'):
    inception.load_inception(pickled)
