"""Channels that are taken out of a convolutional network, which leaves a smaller dense one.

For networks of blocks of (convolution, norm, activation) in a row, with the parameters of
`models.CNN`: 'Conv_i', 'BatchNorm_i', then 'Dense_j' and 'head'.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zoo.names import unknown
from zoo.types import PyTree

CRITERIA = ('scale', 'l1')


class Slim(NamedTuple):
  """A network without some of its channels.

  Attributes:
    variables: {'params': ..., 'batch_stats': ...}, the latter if there were any.
    widths: channels of each block.
    kept: of each convolution the channels that are left, int [k], in their order.
  """

  variables: PyTree
  widths: tuple[int, ...]
  kept: list[np.ndarray]


def slim(variables: PyTree, keep: float, *, convs_per_block: int = 1, by: str = 'l1') -> Slim:
  """Keeps a share of the channels of each convolution: those that matter most.

  All others are cut out of their filters, of the norm behind, and of whatever reads them. What is
  left computes what the whole network does with these channels set to zero behind the activation
  (see `masked`), if the activation maps 0 to 0: so a fine-tuning begins from there.

  Args:
    variables: {'params': ..., 'batch_stats': ...}, arrays of `models.CNN` with norm 'batch' or
      'none'.
    keep: share of the channels, in (0, 1]; at least one is kept.
    convs_per_block: of the network.
    by: 'l1', the sum of absolute weights of a channel's filter; or 'scale', the absolute scale of
      the batch norm behind it.

  Raises:
    ValueError: an option out of its range, or parameters of another kind of network.

  References:
    Li et al. 2017, Pruning Filters for Efficient ConvNets ('l1'). Liu et al. 2017, Learning
    Efficient Convolutional Networks through Network Slimming ('scale').
  """
  if not 0 < keep <= 1:
    raise ValueError(f'keep must be in (0, 1], not {keep}')
  params, statistics = variables['params'], variables.get('batch_stats', {})
  kept = []
  for score in scores(params, by):
    count = max(1, round(keep * len(score)))
    kept.append(np.sort(np.argsort(-score, kind='stable')[:count]))

  new, new_statistics = dict(params), dict(statistics)
  before = None
  for i, channels in enumerate(kept):
    conv, norm = f'Conv_{i}', f'BatchNorm_{i}'
    new[conv] = {name: np.asarray(x)[..., channels] for name, x in params[conv].items()}
    if before is not None:
      new[conv]['kernel'] = new[conv]['kernel'][:, :, before]
    for old, cut in ((params, new), (statistics, new_statistics)):
      if norm in old:
        cut[norm] = {name: np.asarray(x)[channels] for name, x in old[norm].items()}
    before = channels
  assert before is not None

  reader = 'Dense_0' if 'Dense_0' in params else 'head'
  if reader in params:
    # Places first, then channels: as [places * channels, units].
    kernel = np.asarray(params[reader]['kernel'])
    channels = params[f'Conv_{len(kept) - 1}']['kernel'].shape[-1]
    by_channel = kernel.reshape(-1, channels, kernel.shape[-1])
    cut = by_channel[:, before].reshape(-1, kernel.shape[-1])
    new[reader] = {**params[reader], 'kernel': cut}
  widths = tuple(len(channels) for channels in kept[::convs_per_block])
  slimmed = {'params': new} | ({'batch_stats': new_statistics} if statistics else {})
  return Slim(slimmed, widths, kept)


def scores(params: PyTree, by: str) -> list[np.ndarray]:
  """How much each channel of each convolution matters, float [C]; arguments as in `slim`."""
  if by not in CRITERIA:
    raise unknown('criterion', by, CRITERIA)
  count = sum(name.startswith('Conv_') for name in params)
  known = ('Conv_', 'BatchNorm_', 'Dense_', 'head')
  others = [name for name in params if not name.startswith(known)]
  if not count or others:
    what = f'it has {others[0]!r}' if others else 'it has no convolution'
    raise ValueError(f'only a plain convolutional network with batch norm can be slimmed; {what}')
  if by == 'l1':
    kernels = [np.asarray(params[f'Conv_{i}']['kernel'], np.float64) for i in range(count)]
    return [np.abs(kernel).sum((0, 1, 2)) for kernel in kernels]
  if 'BatchNorm_0' not in params:
    raise ValueError("criterion 'scale' needs a batch norm behind each convolution")
  return [np.abs(np.asarray(params[f'BatchNorm_{i}']['scale'], np.float64)) for i in range(count)]


def masked(variables: PyTree, kept: Sequence[np.ndarray]) -> PyTree:
  """The whole network with all but the kept channels silent: 0 behind the activation."""
  params = dict(variables['params'])
  for i, channels in enumerate(kept):
    # The last that is applied before the activation: scale and bias of the norm, or of the filter.
    name = f'BatchNorm_{i}' if f'BatchNorm_{i}' in params else f'Conv_{i}'
    keeps = np.isin(np.arange(params[f'Conv_{i}']['kernel'].shape[-1]), channels)
    params[name] = {leaf: np.asarray(x) * keeps for leaf, x in params[name].items()}
  return {**variables, 'params': params}
