import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training import toy
from zoo.interop.initial import match_params
from zoo.models.gpt2 import GPT2, stack_layers
from zoo.objectives import with_ema, with_lora

TINY = GPT2(vocab_size=11, context_length=8, num_layers=2, width=8, num_heads=2)
TOKENS = jnp.array([[3, 1, 4, 1, 5]])


def initial(seed, **options):
  return TINY.clone(**options).init(jax.random.key(seed), TOKENS)['params']


@pytest.mark.slow
def test_all_values_are_loaded():
  chex.assert_trees_all_equal(match_params(initial(0), initial(1)), initial(1))


@pytest.mark.slow
def test_layers_are_stacked_and_unstacked():
  plain, stacked = initial(1), stack_layers(initial(1))
  chex.assert_trees_all_equal(match_params(initial(0, scan_layers=True), plain), stacked)
  chex.assert_trees_all_equal(match_params(initial(0), stacked), plain)


@pytest.mark.slow
def test_padding_of_the_vocabulary_may_differ_and_changes_no_logit():
  logits = TINY.apply({'params': initial(1)}, TOKENS)
  wide = match_params(initial(0, vocab_multiple=8), initial(1), vocab_size=11)
  wide_logits = TINY.clone(vocab_multiple=8).apply({'params': wide}, TOKENS)
  np.testing.assert_array_equal(wide_logits[..., :11], logits)
  chex.assert_trees_all_equal(match_params(initial(0), wide, vocab_size=11), initial(1))


def test_an_ignored_head_keeps_its_fresh_value_and_the_old_one_is_dropped():
  old = {'body': np.ones(3), 'head': np.ones((3, 5)), 'old_head': np.ones(2)}
  new = {'body': jnp.zeros(3), 'head': jnp.zeros((3, 2))}
  found = match_params(new, old, ignore=('head', 'old_.*'))
  chex.assert_trees_all_equal(found, {'body': np.ones(3), 'head': np.zeros((3, 2))})


def test_types_are_those_of_the_target():
  found = match_params({'w': jnp.zeros(2, jnp.float32)}, {'w': np.ones(2, np.float16)})
  assert found['w'].dtype == np.float32


@pytest.mark.parametrize(
  ('target', 'options', 'message'),
  [
    (dict(num_layers=3), {}, 'do not fit the model: missing blocks_2/attention_out/bias, '),
    (dict(num_layers=1), {}, 'unexpected blocks_1/attention_out/bias (nearest: blocks_0/'),
    (dict(num_layers=3, scan_layers=True), {}, 'missing blocks/attention_out/bias'),
    (dict(context_length=16), {}, 'position_embedding/embedding is [8, 8], not [16, 8]'),
    (dict(vocab_size=12), {}, 'token_embedding/embedding is [11, 8], not [12, 8]'),
    (dict(vocab_size=12), {'vocab_size': 12}, 'embedding is [11, 8], not [12, 8]'),
    ({}, {'ignore': ('haed/.*',)}, "ignore pattern 'haed/.*' matches no parameter"),
  ],
)
def test_what_does_not_fit_is_named_in_one_line(target, options, message):
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    match_params(initial(0, **target), initial(1), **options)
  assert '\n' not in str(error.value)


def test_a_run_starts_from_it_under_every_wrapper():
  batch = jax.tree.map(jnp.asarray, toy.data(16) | {'weight': np.ones(16, np.float32)})
  plain = toy.objective()
  loaded, _ = plain.init(jax.random.key(9), batch)
  adapted = with_lora(plain, rank=2, targets=('Dense_0/kernel',))
  for objective in (plain, adapted, with_ema(plain, 0.9), with_ema(adapted, 0.9)):
    fresh = objective.init(jax.random.key(0), batch)
    weights = match_params(objective.variables(*fresh)['params'], loaded)
    params, extras = objective.adopt(*fresh, {'params': weights})
    chex.assert_trees_all_equal_structs((params, extras), fresh)
    used = objective.variables(params, extras)
    chex.assert_trees_all_equal(used['params'], loaded)
