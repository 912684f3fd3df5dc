"""Sequence to sequence around a module that copies: loss, greedy decoding, exact match."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.objectives import seq2seq

KEY = jax.random.key(0)
V, PAD, BOS, EOS = 8, 0, 1, 2
SOURCE = jnp.array([[3, 4, 5, EOS, PAD], [6, 7, EOS, PAD, PAD], [3, EOS, PAD, PAD, PAD]])


class Copier(nn.Module):
  """Decodes source token i at place i: right where the target is the source."""

  def setup(self):
    self.scale = self.param('scale', nn.initializers.constant(50.0), ())

  def hidden(self, source, decoder_tokens, train=False):
    return jax.nn.one_hot(source[:, : decoder_tokens.shape[1]], V) * self.scale

  def head(self, hidden):
    return hidden

  def __call__(self, source, decoder_tokens, train=False):
    return self.head(self.hidden(source, decoder_tokens))

  def start(self, source, length):
    return {'source': source, 'index': jnp.zeros((), jnp.int32)}

  def decode(self, tokens, cache):
    token = jax.lax.dynamic_slice_in_dim(cache['source'], cache['index'], 1, axis=1)
    cache = {**cache, 'index': cache['index'] + 1}
    return jax.nn.one_hot(token, V) * self.scale, cache


def objective(**options):
  return seq2seq(Copier(), pad_id=PAD, bos_id=BOS, eos_id=EOS, **options)


PARAMS = {'scale': jnp.float32(50.0)}


def figures(batch, **options):
  return jax.device_get(objective(**options).evaluate(PARAMS, {}, batch, KEY)).compute()


def test_padding_after_the_end_does_not_count():
  sums = jax.device_get(objective().evaluate(PARAMS, {}, {'source': SOURCE, 'target': SOURCE}, KEY))
  assert int(sums.tokens) == 4 + 3 + 2  # with the token that ends each
  assert sums.compute() == pytest.approx(
    {'loss': 0.0, 'perplexity': 1.0, 'accuracy': 1.0, 'exact_match': 1.0}, abs=1e-6
  )


def test_one_wrong_token_spoils_a_sequence_but_one_token_only():
  target = SOURCE.at[0, 1].set(7)
  found = figures({'source': SOURCE, 'target': target})
  assert found['exact_match'] == pytest.approx(2 / 3)
  assert found['accuracy'] == pytest.approx(8 / 9)
  assert found['loss'] == pytest.approx(50 / 9, rel=1e-4)


def test_an_output_that_ends_early_is_no_match():
  target = jnp.array([[3, 4, 5, 6, EOS]])
  found = figures({'source': SOURCE[:1], 'target': target})
  assert found['exact_match'] == 0.0


def test_padding_examples_count_nowhere():
  target = SOURCE.at[2, 0].set(7)
  weight = jnp.array([1.0, 1.0, 0.0])
  found = figures({'source': SOURCE, 'target': target, 'weight': weight})
  assert found['exact_match'] == 1.0 and found['accuracy'] == 1.0


def test_greedy_decoding_fills_up_after_the_end():
  predicted = objective().predict(PARAMS, {}, {'source': SOURCE, 'target': SOURCE})
  np.testing.assert_array_equal(predicted, SOURCE)


def test_the_decoder_begins_with_bos_and_sees_the_target_shifted():
  seen = []

  class Spy(Copier):
    def hidden(self, source, decoder_tokens, train=False):
      seen.append(np.asarray(decoder_tokens))
      return super().hidden(source, decoder_tokens, train)

  spy = seq2seq(Spy(), pad_id=PAD, bos_id=BOS, eos_id=EOS)
  spy.loss(PARAMS, {}, {'source': SOURCE, 'target': SOURCE}, KEY)
  np.testing.assert_array_equal(seen[-1][:, 0], [BOS] * 3)
  np.testing.assert_array_equal(seen[-1][:, 1:], SOURCE[:, :-1])


def test_exact_match_can_be_left_out():
  batch = {'source': SOURCE, 'target': SOURCE}
  assert 'exact_match' not in figures(batch, exact_match=False)
