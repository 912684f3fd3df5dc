"""A split translated: every example once and in order, as text; and the figures of that."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.data import arrays
from zoo.translate import judge, reader, translate

V, PAD, BOS, EOS = 8, 0, 1, 2


class Letters:
  pad_id, eos_id = PAD, EOS

  def decode(self, ids):
    return ''.join('...abcde'[i] for i in ids)


class Copier(nn.Module):
  """Decodes source token i at place i."""

  vocab_size: int = V
  pad_id: int = PAD
  bos_id: int = BOS
  eos_id: int = EOS

  def start(self, source, length):
    del length
    return {'source': source, 'index': jnp.zeros((), jnp.int32)}

  def decode(self, tokens, cache):
    place = jnp.minimum(cache['index'], cache['source'].shape[1] - 1)
    token = jax.lax.dynamic_slice_in_dim(cache['source'], place, tokens.shape[1], axis=1)
    cache = {**cache, 'index': cache['index'] + tokens.shape[1]}
    return jax.nn.one_hot(token, V) * 50.0, cache


@pytest.mark.parametrize('beam_size', [1, 3])
def test_every_example_is_translated_once_and_in_order(beam_size):
  rows = np.array([[3, 4, EOS, PAD], [5, EOS, PAD, PAD], [6, 7, 3, EOS]], np.int32)
  source = arrays.one_pass({'source': rows, 'target': rows}, 2)
  read = reader(Letters())
  outputs, targets = translate(Copier(), {}, source, read, beam_size=beam_size)
  assert outputs == targets == ['ab', 'c', 'dea']


def test_figures_by_hand():
  targets = ['the cat sat on the mat', 'a dog ran home today']
  assert judge(targets, targets) == pytest.approx({'exact_match': 1.0, 'bleu': 100.0})
  found = judge([targets[0], 'nothing like it at all'], targets)
  assert found['exact_match'] == 0.5
  assert 0 < found['bleu'] < 100
