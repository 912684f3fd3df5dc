import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.beam import beam_search
from zoo.models.transformer import Transformer

PAD, BOS, EOS = 0, 1, 2
V, T = 5, 4


class Tiny(nn.Module):
  """Logits depend on the source and on all tokens so far, those long past less."""

  pad_id: int = PAD
  bos_id: int = BOS
  eos_id: int = EOS

  def setup(self):
    normal = nn.initializers.normal(1.5)
    self.of_source = self.param('of_source', normal, (10, V))
    self.of_past = self.param('of_past', normal, (V, V))

  def __call__(self, source):
    return self.of_source[source[:, 0]] @ self.of_past

  def start(self, source, length):
    past = jnp.zeros((source.shape[0], V))
    return {'index': jnp.zeros((), jnp.int32), 'source': source[:, 0], 'past': past}

  def decode(self, tokens, cache):
    logits, past = [], cache['past']
    for t in range(tokens.shape[1]):
      past = 0.7 * past + jax.nn.one_hot(tokens[:, t], V)
      logits.append(self.of_source[cache['source']] + past @ self.of_past)
    new = {'index': cache['index'] + tokens.shape[1], 'source': cache['source'], 'past': past}
    return jnp.stack(logits, axis=1), new


def log_softmax(x):
  return x - np.log(np.exp(x).sum())


def enumerate_all(params, source, alpha):
  """Every target of at most T tokens with its score, best first; in numpy."""
  of_source, of_past = (np.asarray(params[n], np.float64) for n in ('of_source', 'of_past'))
  found = []
  for n in range(1, T + 1):
    for body in itertools.product((BOS, 3, 4), repeat=n - 1):
      for last in (EOS,) if n < T else (EOS, BOS, 3, 4):
        target, past, log_prob = (*body, last), np.zeros(V), 0.0
        for before, token in zip((BOS, *target), target, strict=False):
          past = 0.7 * past + np.eye(V)[before]
          logits = of_source[source] + past @ of_past
          logits[PAD] = -np.inf
          log_prob += log_softmax(logits)[token]
        found.append((log_prob / ((5 + n) / 6) ** alpha, (*target, *[PAD] * (T - n))))
  return sorted(found, reverse=True)


@pytest.mark.parametrize('alpha', [0.0, 0.6, 3.0])
def test_a_beam_that_holds_everything_finds_the_best_of_all(alpha):
  source, module = np.arange(10)[:, None], Tiny()
  params = module.init(jax.random.key(0), source)['params']
  # 13 targets of up to 3 tokens, 81 that were continued once more, 27 that ended: 121.
  tokens, scores = beam_search(
    module, params, source, beam_size=121, length_penalty=alpha, max_length=T
  )
  lengths = set()
  for i in range(10):
    score, target = enumerate_all(params, i, alpha)[0]
    assert tuple(np.asarray(tokens[i, 0]).tolist()) == target
    np.testing.assert_allclose(scores[i, 0], score, rtol=1e-5)
    lengths.add(T - target.count(PAD))
  assert len(lengths) > 1


@pytest.mark.parametrize('alpha', [0.0, 0.6, 3.0])
def test_every_hypothesis_is_a_target_with_its_score(alpha):
  source, module = np.arange(10)[:, None], Tiny()
  params = module.init(jax.random.key(0), source)['params']
  tokens, scores = beam_search(
    module, params, source, beam_size=3, length_penalty=alpha, max_length=T
  )
  for i in range(10):
    known = {target: score for score, target in enumerate_all(params, i, alpha)}
    found = [tuple(row) for row in np.asarray(tokens[i]).tolist()]
    assert len(set(found)) == 3
    assert (np.diff(scores[i]) <= 0).all()
    for target, score in zip(found, scores[i], strict=True):
      if target in known:  # and not cut short
        np.testing.assert_allclose(score, known[target], rtol=1e-5)
    assert found[0] in known


def test_a_short_target_is_beaten_by_a_longer_one_only_with_a_penalty():
  # After bos: eos 0.4 or 3 with 0.6; then 4 with 0.6; then eos, surely.
  # log 0.4 = -0.916; log 0.36 = -1.022, / (8 / 6)^0.6 = -0.860.
  module = Chain()
  for alpha, expected in ((0.0, [EOS, PAD, PAD]), (0.6, [3, 4, EOS])):
    tokens, scores = beam_search(
      module, {}, np.zeros((1, 1), np.int32), beam_size=2, length_penalty=alpha, max_length=3
    )
    assert tokens[0, 0].tolist() == expected
  np.testing.assert_allclose(scores[0], [np.log(0.36) / (8 / 6) ** 0.6, np.log(0.4)], rtol=1e-5)


class Chain(Tiny):
  """Log probabilities of the next token by the last alone."""

  def setup(self):
    table = np.full((V, V), -1e9, np.float32)
    table[BOS, [EOS, 3]] = np.log([0.4, 0.6])
    table[3, [4, 3]] = np.log([0.6, 0.4])
    table[4, EOS] = 0.0
    self.table = table

  def decode(self, tokens, cache):
    return jnp.asarray(self.table)[tokens], {**cache, 'index': cache['index'] + 1}


TRANSFORMER = Transformer(
  vocab_size=23,
  pad_id=PAD,
  bos_id=BOS,
  eos_id=EOS,
  max_length=16,
  encoder_layers=1,
  decoder_layers=2,
  width=16,
  num_heads=2,
  ffn_width=32,
)


@pytest.fixture(scope='module')
def translator():
  source = np.random.default_rng(0).integers(3, 23, (4, 7)).astype(np.int32)
  for i, length in enumerate((7, 2, 5, 4)):
    source[i, length - 1] = EOS
    source[i, length:] = PAD
  params = jax.jit(TRANSFORMER.init)(jax.random.key(1), source, source)['params']
  params = jax.tree.map(lambda x: 1.5 * x, params)
  return params, source


@jax.jit
def forward(params, source, tokens):
  return TRANSFORMER.apply({'params': params}, source, tokens)


def log_probs(params, source, target):
  """Of every next token, by a forward pass without a cache."""
  tokens = np.concatenate([[BOS], target[:-1]])[None]
  logits = forward(params, source[None], tokens)[0]
  logits = np.array(logits)
  logits[:, PAD] = -np.inf
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize('alpha', [0.0, 1.0])
def test_a_beam_of_one_is_greedy_token_for_token(translator, alpha):
  params, source = translator
  found, _ = beam_search(
    TRANSFORMER, params, source, beam_size=1, length_penalty=alpha, max_length=12
  )
  for row, tokens in zip(source, np.asarray(found[:, 0]), strict=True):
    expected = np.full(12, PAD)
    for t in range(12):
      expected[t] = log_probs(params, row, expected)[t].argmax()
      if expected[t] == EOS:
        break
    np.testing.assert_array_equal(tokens, expected)


@pytest.mark.slow
def test_scores_are_those_of_the_uncached_forward(translator):
  params, source = translator
  found, scores = beam_search(
    TRANSFORMER, params, source, beam_size=4, length_penalty=0.6, max_length=10
  )
  for row, beams, values in zip(source, np.asarray(found), np.asarray(scores), strict=True):
    for tokens, score in zip(beams, values, strict=True):
      n = int((tokens != PAD).sum())
      picked = log_probs(params, row, tokens)[np.arange(n), tokens[:n]].sum()
      np.testing.assert_allclose(score, picked / ((5 + n) / 6) ** 0.6, rtol=1e-4)


@pytest.mark.slow
def test_a_source_is_searched_as_alone_and_padding_changes_nothing(translator):
  params, source = translator
  options = {'beam_size': 3, 'length_penalty': 0.6, 'max_length': 10}
  together, scores = beam_search(TRANSFORMER, params, source, **options)
  for i, length in ((1, 2), (2, 5)):
    alone, score = beam_search(TRANSFORMER, params, source[i : i + 1, :length], **options)
    np.testing.assert_array_equal(alone[0], together[i])
    np.testing.assert_allclose(score[0], scores[i], rtol=1e-5)


@pytest.mark.parametrize(
  ('option', 'message'),
  [
    ({'beam_size': 0}, 'beam_size must be at least 1, not 0'),
    ({'length_penalty': -0.1}, 'length_penalty must be at least 0, not -0.1'),
    ({'max_length': 0}, 'max_length must be at least 1, not 0'),
    ({'max_length': 17}, '17 tokens are more than max_length 16'),
  ],
)
def test_bad_options_are_one_line(translator, option, message):
  params, source = translator
  options = {'beam_size': 2, 'length_penalty': 0.6, 'max_length': 8} | option
  with pytest.raises(ValueError, match=message):
    beam_search(TRANSFORMER, params, source, **options)
