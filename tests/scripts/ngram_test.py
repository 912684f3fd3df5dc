import json
import lzma
import math

import numpy as np
import pytest

from tests.scripts import command

NGRAM = command.names('ngram')
KneserNey, END, VOCABULARY = (NGRAM[name] for name in ('KneserNey', 'END', 'VOCABULARY'))


@pytest.fixture(scope='module')
def model():
  rng = np.random.default_rng(0)
  return KneserNey(rng.choice([97, 98, 99, END], 300, p=[0.5, 0.3, 0.15, 0.05]).tolist(), 4)


@pytest.mark.parametrize(
  'context',
  [
    (97, 98, 97),  # seen
    (97, 98, 120),  # ends with a byte that never occurs
    (120, 97, 98),  # begins with one
    (1, 2, 3),
    (END, END, END),  # what the first symbol follows
    (98,),
    (),
  ],
)
def test_probabilities_sum_to_one(model, context):
  probabilities = [model.probability(symbol, context) for symbol in range(VOCABULARY)]
  assert math.isclose(sum(probabilities), 1, rel_tol=1e-12)
  assert min(probabilities) > 0


def test_against_a_calculation_by_hand():
  # a b a b a c, bigrams: (END, a) 1, (a, b) 2, (b, a) 2, (a, c) 1.
  a, b, c = 97, 98, 99
  model = KneserNey([a, b, a, b, a, c], 2)
  discount = 2 / (2 + 2 * 2)  # two bigrams occur once, two twice
  # Different symbols before: a has END and b, b has a, c has a. Once: b and c; twice: a.
  lower_discount = 2 / (2 + 2 * 1)
  uniform = 1 / 257
  lower = lambda symbols: (
    max(symbols - lower_discount, 0) / 4 + lower_discount * 3 / 4 * uniform  # 3 kinds, 4 in all
  )
  expected = {
    (b, a): (2 - discount) / 3 + discount * 2 / 3 * lower(1),
    (c, a): (1 - discount) / 3 + discount * 2 / 3 * lower(1),
    (a, a): discount * 2 / 3 * lower(2),
    (7, a): discount * 2 / 3 * lower(0),
    (a, b): (2 - discount) / 2 + discount * 1 / 2 * lower(2),
    (a, c): lower(2),  # nothing was seen after c
  }
  for (symbol, before), probability in expected.items():
    assert math.isclose(model.probability(symbol, (before,)), probability, rel_tol=1e-12)
  first = model.probability(b, (END,)) * model.probability(a, (b,))
  assert math.isclose(model.bits([b, a]), -math.log2(first))


def test_longer_contexts_learn_a_pattern_that_shorter_ones_cannot():
  text = list(b'aabbc' * 200)
  bits = [KneserNey(text, order).bits(list(b'aabbc' * 20)) / 100 for order in (1, 2, 3)]
  assert bits[0] > 1.3  # the entropy of letters is 1.52 bits
  assert bits[1] > 0.7  # after a or b it is one of two
  assert bits[2] < 0.1  # determined, but for the first


def test_xz_after_train_pays_only_for_what_is_new():
  rng = np.random.default_rng(0)
  letters = lambda size: rng.integers(97, 113, size, dtype=np.uint8).tobytes()  # 4 bits each
  train, new = [letters(20_000)], [letters(2_000)]
  figures = NGRAM['measure'](train, new, 2)
  assert 4 < figures['xz -9, after train'] < 5
  assert NGRAM['measure'](train, [train[0][:2_000]], 2)['xz -9, after train'] < 0.5
  alone = 8 * len(lzma.compress(new[0] + b'\0', preset=9)) / 2_000
  assert figures['xz -9, alone'] == alone


@pytest.mark.slow
def test_the_script_prints_figures_of_a_persons_file(tmp_path):
  file = tmp_path / 'corpus.txt'
  file.write_text('\n'.join(f'{i} times {i} is {i * i}' for i in range(500)))
  splits = ('--train=train[:90%]', '--validation=train[90%:]')
  done = command.run('ngram', f'--name=text:{file}', *splits, '--order=3', '--json')
  assert done.returncode == 0, done.stderr
  figures = json.loads(done.stdout)
  assert sum(figures['bytes']) == file.stat().st_size
  assert all(0 < value < 8 for value in figures['bits_per_byte'].values())
  message = command.refusal(command.run('ngram', f'--name=text:{file}x'))
  assert message == f'ngram.py: error: {file}x: there is no such text file or folder'
