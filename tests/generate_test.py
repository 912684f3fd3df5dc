import functools
import importlib
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.models.gpt2 import GPT2
from zoo.models.lstm import GRU, LSTM

# By its full name, because a package may export the function under the name of the file.
generation = importlib.import_module('zoo.generate')
generate = generation.generate

V = 37
PROMPTS = [[1, 2, 3], [4], [5, 6] * 10]
FAMILIES = {
  'gpt2': GPT2(V, vocab_multiple=16, context_length=60, num_layers=2, width=16, num_heads=2),
  'lstm': LSTM(V, width=16),
  'gru': GRU(V, width=16),
}


class Table(nn.Module):
  """The next token depends on the last alone: logits are rows of a table."""

  vocab_size: int

  def setup(self):
    size = (self.vocab_size, self.vocab_size)
    self.table = self.param('table', nn.initializers.normal(2.0), size)

  def __call__(self, tokens):
    return self.table[tokens]

  def start(self, batch_size, length, padding=None):
    return {'index': jnp.zeros((), jnp.int32)}

  def decode(self, tokens, cache):
    return self.table[tokens], {'index': cache['index'] + tokens.shape[1]}


def successors(size):
  """A table by which t + 1 follows t, and its parameters."""
  return Table(size), {'table': 50.0 * jnp.roll(jnp.eye(size), 1, axis=1)}


@pytest.fixture
def short_caches(monkeypatch):
  """So that few tokens make a cache grow."""
  monkeypatch.setattr(generation, 'SHORTEST_CACHE', 16)
  monkeypatch.setattr(generation, 'SHORTEST_PROMPT', 4)


@functools.cache
def params_of(name):
  params = jax.jit(FAMILIES[name].init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))['params']
  return jax.tree.map(lambda x: 3 * x, params)  # so that the likeliest token is clearly so


@pytest.fixture(params=['gpt2', 'lstm'])
def family(request):
  return FAMILIES[request.param], params_of(request.param)


@functools.partial(jax.jit, static_argnums=0)
def forward(module, params, tokens):
  return module.apply({'params': params}, tokens)


def uncached(module, params, prompt, steps, penalty=1.0):
  """Greedy continuation by a forward pass over everything, for every token."""
  tokens, new = np.zeros((1, 60), np.int32), list(prompt)
  for _ in range(steps):
    tokens[0, : len(new)] = new
    logits = np.array(forward(module, params, tokens)[0, len(new) - 1])
    for t in set(new):
      logits[t] = logits[t] / penalty if logits[t] > 0 else logits[t] * penalty
    new.append(int(np.argmax(logits)))
  return new[len(prompt) :]


@pytest.mark.parametrize('name', FAMILIES)
def test_cached_is_uncached_token_for_token(name, short_caches):
  module, params = FAMILIES[name], params_of(name)
  found = generate(module, params, PROMPTS, max_new_tokens=40, temperature=0)
  for prompt, (tokens,) in zip(PROMPTS, found, strict=True):
    assert tokens == uncached(module, params, prompt, 40)
  assert len({t for (tokens,) in found for t in tokens}) > 5


def test_the_penalty_counts_prompt_and_new_tokens():
  module, params = FAMILIES['gpt2'], params_of('gpt2')
  options = {'max_new_tokens': 20, 'temperature': 0, 'repetition_penalty': 1.7}
  found = generate(module, params, PROMPTS, **options)
  for prompt, (tokens,) in zip(PROMPTS, found, strict=False):
    assert tokens == uncached(module, params, prompt, 20, penalty=1.7)
  assert found != generate(module, params, PROMPTS, **options | {'repetition_penalty': 1.0})


def test_prompts_in_one_batch_are_as_each_alone(family):
  module, params = family
  together = generate(module, params, PROMPTS, max_new_tokens=25, temperature=0)
  alone = [generate(module, params, [p], max_new_tokens=25, temperature=0)[0] for p in PROMPTS]
  assert together == alone


@pytest.mark.slow
def test_what_is_drawn_for_a_prompt_does_not_depend_on_the_others():
  module, params = FAMILIES['gpt2'], params_of('gpt2')
  options = {'max_new_tokens': 20, 'num_samples': 2, 'top_k': 20, 'top_p': 0.9}
  found = generate(module, params, PROMPTS[:2], **options)
  assert generate(module, params, [[8] * 15, PROMPTS[1]], **options)[1] == found[1]
  assert generate(module, params, PROMPTS[:1], **options) == found[:1]


@pytest.mark.parametrize('temperature', [0.0, 0.8])
def test_chunks_and_buckets_change_nothing(family, temperature, short_caches, monkeypatch):
  module, params = family
  call = lambda **more: generate(
    module, params, PROMPTS, max_new_tokens=31, temperature=temperature, **more
  )
  found = call()
  parts = {}
  streamed = call(on_tokens=lambda i, s, new: parts.setdefault((i, s), []).append(new))
  assert streamed == found
  for (i, s), chunks in parts.items():
    assert max(len(c) for c in chunks) <= generation.STREAMED_STEPS
    assert list(itertools.chain(*chunks)) == found[i][s]
  assert len(parts) == 3
  monkeypatch.setattr(generation, 'SHORTEST_CACHE', 50)
  monkeypatch.setattr(generation, 'SHORTEST_PROMPT', 7)
  monkeypatch.setattr(generation, 'STREAMED_STEPS', 3)
  assert call(on_tokens=lambda *_: None) == found


def test_samples_differ_and_come_again():
  module, params = FAMILIES['gpt2'], params_of('gpt2')
  options = {'max_new_tokens': 16, 'key': jax.random.key(3)}
  found = generate(module, params, PROMPTS[:2], num_samples=3, **options)
  assert [len(samples) for samples in found] == [3, 3]
  assert len({tuple(s) for samples in found for s in samples}) == 6
  assert generate(module, params, PROMPTS[:2], num_samples=3, **options) == found
  # More samples leave the first ones as they are.
  assert [s[:3] for s in generate(module, params, PROMPTS[:2], num_samples=4, **options)] == found
  other = generate(module, params, PROMPTS[:2], num_samples=3, **options | {'key': None})
  assert other != found


def test_tokens_come_with_the_probabilities_of_the_module():
  module, n = Table(5), 4000
  params = module.init(jax.random.key(1), jnp.zeros((1, 1), jnp.int32))['params']
  (samples,) = generate(module, params, [[2]], max_new_tokens=2, num_samples=n, temperature=1.5)
  chances = np.asarray(jax.nn.softmax(params['table'] / 1.5), np.float64)
  expected = n * chances[2][:, None] * chances  # of each pair
  counts = np.zeros((5, 5))
  for first, second in samples:
    counts[first, second] += 1
  assert ((counts - expected) ** 2 / expected).sum() < 51.2  # 99.9%, 24 degrees of freedom


def test_padding_of_the_vocabulary_is_never_sampled():
  module = FAMILIES['gpt2']
  found = generate(
    module, params_of('gpt2'), [[1]], max_new_tokens=30, num_samples=20, temperature=1e6
  )
  assert {t for sample in found[0] for t in sample} == set(range(V))


def test_a_row_stops_at_its_eos_which_it_keeps():
  module, params = successors(50)
  streamed = {}
  found = generate(
    *(module, params, [[3], [8], [20, 5]]),
    max_new_tokens=12,
    temperature=0,
    eos_id=10,
    on_tokens=lambda i, s, new: streamed.setdefault(i, []).extend(new),
  )
  assert found == [[[4, 5, 6, 7, 8, 9, 10]], [[9, 10]], [[6, 7, 8, 9, 10]]]
  assert streamed == {i: samples[0] for i, samples in enumerate(found)}
  longer = generate(module, params, [[30], [8]], max_new_tokens=4, temperature=0, eos_id=10)
  assert longer == [[[31, 32, 33, 34]], [[9, 10]]]
  prompt_with_eos = generate(module, params, [[10]], max_new_tokens=2, temperature=0, eos_id=10)
  assert prompt_with_eos == [[[11, 12]]]


def test_when_all_have_ended_it_stops_early(monkeypatch):
  module, params = successors(50)
  compiled, calls = generation.advance, []

  def advance(*args):
    calls.append(compiled(*args))
    return calls[-1]

  monkeypatch.setattr(generation, 'advance', advance)
  found = generate(module, params, [[3], [8]], max_new_tokens=100_000, temperature=0, eos_id=10)
  assert found == [[[4, 5, 6, 7, 8, 9, 10]], [[9, 10]]]
  assert len(calls) == 2  # the second was under way when the first came back
  assert int(calls[-1][0].done) == 7


def test_a_cache_grows_only_if_tokens_are_still_to_come(short_caches, monkeypatch):
  module = FAMILIES['gpt2']
  params = params_of('gpt2')
  (first,) = generate(module, params, [[1, 2, 3]], max_new_tokens=40, temperature=0)[0]
  compiled, lengths = generation.grow, []

  def grow(*args):
    lengths.append(args[-2:])
    return compiled(*args)

  monkeypatch.setattr(generation, 'grow', grow)
  generate(module, params, [[1, 2, 3]], max_new_tokens=40, temperature=0)
  assert lengths == [(16, 32), (32, 60)]
  lengths.clear()
  generate(module, params, [[1, 2, 3]], max_new_tokens=40, temperature=0, eos_id=first[5])
  assert not lengths


def test_a_grown_cache_holds_what_it_held():
  module = FAMILIES['gpt2']
  params = params_of('gpt2')
  tokens, padding = generation.pad_left([[1, 2, 3], [4]], 16)
  cache = generation.prefill(module, params, tokens, padding, 16)
  longer = generation.grow(module, params, cache, 2, 16, 32)
  assert longer['index'] == cache['index']
  k, before = longer['blocks_1']['k'], cache['blocks_1']['k']
  assert k.shape[2] == 32
  np.testing.assert_array_equal(k[:, :, :16], before)
  assert not k[:, :, 16:].any()


def test_lengths_are_few(short_caches):
  length = lambda n: generation.bucket(n, 16, 1000)
  assert [length(n) for n in (1, 16, 17, 33, 512, 513, 1000)] == [16, 16, 32, 64, 512, 1000, 1000]
  width = lambda *lengths: generation.pad_left([[1] * n for n in lengths], 60)[0].shape[1]
  assert [width(n) for n in (1, 2, 5, 6, 9, 10, 60)] == [1, 5, 5, 9, 9, 17, 60]
  tokens, padding = generation.pad_left([[1], [2, 3, 4]], 60)
  np.testing.assert_array_equal(tokens, [[0, 0, 0, 0, 1], [0, 0, 2, 3, 4]])
  np.testing.assert_array_equal(padding, [4, 2])


def test_a_prompt_may_fill_the_context_but_for_the_new_tokens():
  module = FAMILIES['gpt2']
  params = params_of('gpt2')
  for prompt in ([1, 2, 3] * 19, [3]):
    n = 60 - len(prompt)
    (found,) = generate(module, params, [prompt], max_new_tokens=n, temperature=0)[0]
    assert found == uncached(module, params, prompt, n)


def test_one_program_for_all_values_of_the_options():
  module, params = Table(11), {'table': jnp.eye(11)}
  advance = generation.advance
  call = lambda **options: generate(module, params, [[1, 2], [3]], max_new_tokens=5, **options)
  call(temperature=0.5, top_k=3)
  before = advance._cache_size()
  call(temperature=1.5, top_k=7, key=jax.random.key(5))
  generate(module, params, [[1], [2] * 30], max_new_tokens=300, temperature=2, top_k=1, eos_id=4)
  assert advance._cache_size() == before


def test_the_cache_is_donated():
  module = FAMILIES['gpt2']
  params = params_of('gpt2')
  tokens, padding = generation.pad_left([[1, 2, 3]], 16)
  cache = generation.prefill(module, params, tokens[:, :-1], padding, 16)
  state = generation.State(
    cache, jnp.asarray(tokens[:, -1]), jnp.zeros((), jnp.int32), jnp.zeros(1, bool), None
  )
  keys = generation.row_keys(jax.random.key(0), 1, 1)
  new, _ = generation.advance(module, params, state, keys, {}, -1, 4)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.cache))
  assert int(new.cache['index']) == int(new.done) + tokens.shape[1] - 1


def test_logits_that_are_not_finite_are_refused():
  module, params = successors(5)
  broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), params)
  with pytest.raises(ValueError, match='not finite'):
    generate(module, broken, [[1]], max_new_tokens=2)


def test_no_prompts_no_tokens():
  assert generate(FAMILIES['gpt2'], {}, [], max_new_tokens=3) == []


@pytest.mark.parametrize(
  ('prompts', 'options', 'message'),
  [
    ([[1], []], {}, 'prompt 1 is empty'),
    ([[1] * 61], {}, 'prompt 0 has 61 tokens, more than the context of 60'),
    ([[1] * 57], {}, 'prompt 0 has 57 tokens: with 5 new ones it is longer than the context of 60'),
    ([[1, V]], {}, f'prompt 0 has the token {V}, the vocabulary only {V}'),
    ([[-1]], {}, 'prompt 0 has the token -1'),
    ([[1]], {'max_new_tokens': 0}, 'max_new_tokens must be at least 1, not 0'),
    ([[1]], {'num_samples': 0}, 'num_samples must be at least 1, not 0'),
    ([[1]], {'temperature': -0.5}, 'temperature must be at least 0, not -0.5'),
    ([[1]], {'temperature': float('nan')}, 'temperature must be at least 0, not nan'),
    ([[1]], {'top_k': -1}, 'top_k must be at least 0, not -1'),
    ([[1]], {'top_p': 0.0}, r'top_p must be in \(0, 1\], not 0.0'),
    ([[1]], {'top_p': 1.1}, r'top_p must be in \(0, 1\], not 1.1'),
    ([[1]], {'repetition_penalty': 0.0}, 'repetition_penalty must be above 0, not 0.0'),
  ],
)
def test_bad_input_is_one_line(prompts, options, message):
  with pytest.raises(ValueError, match=message):
    generate(FAMILIES['gpt2'], {}, prompts, **{'max_new_tokens': 5} | options)
