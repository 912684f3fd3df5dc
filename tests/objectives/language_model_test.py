"""Objectives over tokens around small modules: by hand, in chunks, and spread over devices."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.objectives import language_model, masked_lm
from zoo.objectives.tokens import score

KEY = jax.random.key(0)
V, PADDED, B, T = 7, 8, 4, 6
TOKENS = jax.random.randint(jax.random.key(1), (B, T), 0, V)
BATCH = {'tokens': TOKENS, 'targets': jnp.roll(TOKENS, -1, axis=1)}


class Bigram(nn.Module):
  """The logits of the next token are a row of a table; one entry is padding of the vocabulary."""

  dropout: float = 0.0

  def setup(self):
    self.table = self.param('table', nn.initializers.normal(1.0), (V, V))
    self.drop = nn.Dropout(self.dropout)

  def hidden(self, tokens, train=False, segments=None):
    rows = self.table[tokens]
    if segments is not None:  # so that they are seen to arrive
      rows += segments[..., None].astype(rows.dtype)
    return self.drop(rows, deterministic=not train)

  def head(self, hidden):
    pad = [(0, 0)] * (hidden.ndim - 1) + [(0, PADDED - V)]
    return jnp.pad(hidden, pad, constant_values=-1e9)

  def __call__(self, tokens, train=False, segments=None):
    return self.head(self.hidden(tokens, train, segments))


def objective(**options):
  return language_model(Bigram(), vocab_size=V, **options)


def params():
  return objective().init(KEY, BATCH)[0]


def expected_losses(table, batch):
  logits = np.asarray(table, np.float64)[np.asarray(batch['tokens'])]
  log_z = np.log(np.exp(logits).sum(-1))
  return log_z - np.take_along_axis(logits, np.asarray(batch['targets'])[..., None], -1)[..., 0]


def figures(metrics):
  return jax.device_get(metrics).compute()


def test_loss_is_the_mean_cross_entropy_of_the_targets():
  value, (extras, scalars) = objective().loss(params(), {}, BATCH, KEY)
  losses = expected_losses(params()['table'], BATCH)
  assert float(value) == pytest.approx(losses.mean(), rel=1e-5)
  logits = np.asarray(params()['table'])[np.asarray(TOKENS)]
  assert float(scalars['accuracy']) == pytest.approx(
    (logits.argmax(-1) == np.asarray(BATCH['targets'])).mean()
  )
  assert extras == {}


def test_masked_tokens_and_padding_examples_count_nowhere():
  mask = jnp.ones((B, T)).at[0, 2:].set(0.0)
  batch = {**BATCH, 'mask': mask, 'weight': jnp.array([1.0, 1.0, 1.0, 0.0])}
  counts = np.asarray(mask) * np.array([1, 1, 1, 0])[:, None]
  losses = expected_losses(params()['table'], BATCH)
  mean = (losses * counts).sum() / counts.sum()
  value, _ = objective().loss(params(), {}, batch, KEY)
  assert float(value) == pytest.approx(mean, rel=1e-5)
  sums = jax.device_get(objective().evaluate(params(), {}, batch, KEY))
  assert int(sums.tokens) == counts.sum()
  assert sums.compute()['loss'] == pytest.approx(mean, rel=1e-5)


def test_bits_per_byte_and_perplexity_by_hand():
  token_bytes = np.array([0, 1, 1, 2, 3, 1, 4])
  found = figures(objective(token_bytes=token_bytes).evaluate(params(), {}, BATCH, KEY))
  losses = expected_losses(params()['table'], BATCH)
  num_bytes = token_bytes[np.asarray(BATCH['targets'])].sum()
  assert found['bits_per_byte'] == pytest.approx(losses.sum() / np.log(2) / num_bytes, rel=1e-5)
  assert found['perplexity'] == pytest.approx(np.exp(losses.mean()), rel=1e-5)
  assert 'exact_match' not in found


@pytest.mark.parametrize('options', [{}, {'label_smoothing': 0.1}, {'z_loss': 0.1}])
@pytest.mark.parametrize('chunk', [1, 2, 3])
def test_chunks_change_neither_loss_nor_gradients(chunk, options):
  grad = lambda **more: jax.value_and_grad(objective(**options, **more).loss, has_aux=True)(
    params(), {}, BATCH, KEY
  )
  chex.assert_trees_all_close(grad(loss_chunk=chunk), grad(), rtol=1e-5, atol=1e-6)


def test_chunks_must_divide_the_sequence():
  with pytest.raises(ValueError, match='4 positions do not divide a sequence of 6'):
    objective(loss_chunk=4).loss(params(), {}, BATCH, KEY)


def test_smoothing_spreads_over_the_real_vocabulary_alone():
  value, _ = objective(label_smoothing=1.0).loss(params(), {}, BATCH, KEY)
  logits = np.asarray(params()['table'])[np.asarray(TOKENS)]
  even = (np.log(np.exp(logits).sum(-1)) - logits.mean(-1)).mean()
  assert float(value) == pytest.approx(even, rel=1e-5)


def test_the_likeliest_token_is_right_however_unlikely_it_is():
  """Of 50257 alike, one a little ahead: log Z dwarfs its logit."""
  logits = jnp.zeros((1, 50257)).at[0, 7].set(0.7)
  assert bool(score(logits, jnp.array([7]), 0).correct[0])
  assert not bool(score(logits, jnp.array([8]), 0).correct[0])


def test_z_loss_is_the_mean_square_of_log_z():
  plain, _ = objective().loss(params(), {}, BATCH, KEY)
  value, (_, scalars) = objective(z_loss=0.5).loss(params(), {}, BATCH, KEY)
  log_z = np.log(np.exp(np.asarray(params()['table'])[np.asarray(TOKENS)]).sum(-1))
  assert float(value - plain) == pytest.approx(0.5 * np.square(log_z).mean(), rel=1e-4)
  assert float(scalars['loss']) == pytest.approx(float(plain))  # the log says what is comparable


def test_segments_reach_the_module():
  batch = {**BATCH, 'segments': jnp.arange(B * T).reshape(B, T)}
  predicted = objective().predict(params(), {}, batch)
  plain = objective().predict(params(), {}, BATCH)
  np.testing.assert_allclose(
    predicted[..., :V], plain[..., :V] + batch['segments'][..., None], rtol=1e-5
  )


def test_uneven_masks_over_devices_give_the_mean_over_all_tokens():
  mask = jnp.ones((B, T)).at[0, 1:].set(0.0).at[3, 3:].set(0.0)
  batch = {**BATCH, 'mask': mask}
  whole = jax.grad(objective().loss, has_aux=True)(params(), {}, batch, KEY)[0]
  spread = jax.vmap(
    jax.grad(objective(axis_name='data').loss, has_aux=True),
    (None, None, 0, None),
    axis_name='data',
  )(params(), {}, jax.tree.map(lambda x: x[:, None], batch), KEY)[0]
  mean = jax.tree.map(lambda x: x.mean(0), spread)
  chex.assert_trees_all_close(mean, whole, rtol=1e-5, atol=1e-7)


def test_dropout_draws_from_the_key():
  noisy = language_model(Bigram(dropout=0.5), vocab_size=V)
  first, again, other = (
    float(noisy.loss(params(), {}, BATCH, jax.random.key(seed))[0]) for seed in (0, 0, 1)
  )
  assert first == again != other


@pytest.mark.parametrize(
  'option, value', [('label_smoothing', 1.5), ('z_loss', -1.0), ('loss_chunk', -2)]
)
def test_options_out_of_range_are_refused(option, value):
  with pytest.raises(ValueError, match=option):
    objective(**{option: value})


# --- masked tokens

MASK, PAD, CLS = 5, 6, 4


def masked(**options):
  ids = {'mask_id': MASK, 'pad_id': PAD, 'special_ids': (CLS,), 'vocab_size': V}
  return masked_lm(Bigram(), **ids, **options)


class Echo(nn.Module):
  """Says with certainty that each token is what stands there."""

  def setup(self):
    self.scale = self.param('scale', nn.initializers.ones, ())

  def hidden(self, tokens, train=False):
    return jax.nn.one_hot(tokens, V) * 50 * self.scale

  def head(self, hidden):
    return hidden

  def __call__(self, tokens, train=False):
    return self.hidden(tokens)


def test_of_the_chosen_tokens_most_are_hidden_and_some_stay():
  tokens = jax.random.randint(jax.random.key(3), (64, 100), 0, 4)
  tokens = tokens.at[:, 0].set(CLS).at[:, 90:].set(PAD)
  objective = masked_lm(Echo(), mask_id=MASK, pad_id=PAD, special_ids=(CLS,), vocab_size=V)
  sums = jax.device_get(objective.evaluate({'scale': jnp.ones(())}, {}, {'tokens': tokens}, KEY))
  real = 64 * 89
  assert int(sums.tokens) == pytest.approx(0.15 * real, rel=0.1)
  # Echo is right where the token stayed (10%), or was replaced by itself (10% / 7).
  assert sums.compute()['accuracy'] == pytest.approx(0.1 + 0.1 / V, abs=0.04)


@pytest.mark.slow
def test_another_choice_with_another_key_and_none_of_padding():
  params = masked().init(KEY, BATCH)[0]
  tokens = jnp.full((2, 8), PAD)
  value, _ = masked().loss(params, {}, {'tokens': tokens}, KEY)
  assert float(value) == 0.0  # nothing to choose from
  batch = {'tokens': jnp.tile(jnp.arange(4), (8, 8))}
  values = [float(masked().loss(params, {}, batch, jax.random.key(i))[0]) for i in (0, 0, 1)]
  assert values[0] == values[1] != values[2]


@pytest.mark.slow
def test_tokens_that_another_row_shows_too_are_not_chosen():
  tokens = jax.random.randint(jax.random.key(3), (8, 100), 0, 4)
  mask = jnp.zeros((8, 100)).at[:, 60:].set(1)
  sums = masked(mask_rate=1.0).evaluate(
    masked().init(KEY, BATCH)[0], {}, {'tokens': tokens, 'mask': mask}, KEY
  )
  assert int(sums.tokens) == 8 * 40


def test_packed_documents_are_refused():
  batch = {'tokens': jnp.zeros((2, 8), jnp.int32), 'segments': jnp.zeros((2, 8), jnp.int32)}
  with pytest.raises(ValueError, match='packing'):
    masked().loss(masked().init(KEY, BATCH)[0], {}, batch, KEY)


@pytest.mark.parametrize('rate', [0.0, 1.5])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match='mask_rate'):
    masked(mask_rate=rate)
