import dataclasses

import jax
import numpy as np
import pytest

from zoo.data import pairs, tokenizers

BYTES = tokenizers.ByteTokenizer()
PAD, BOS, EOS = BYTES.pad_id, BYTES.bos_id, BYTES.eos_id
FIELDS = {'source': pairs.Field('de', 6), 'target': pairs.Field('en', 4)}


@dataclasses.dataclass
class Listed:
  """Records from a list of examples."""

  examples: list
  num_classes: int | None = None
  name: str = 'listed'

  def __len__(self):
    return len(self.examples)

  def __getitem__(self, index):
    return self.examples[index]

  def where(self, index):
    return f'{self.name} record {index}'


EXAMPLES = [
  {'de': b'ab', 'en': b'x', 'label': 0},
  {'de': b'abcde', 'en': b'xyz', 'label': 1},  # both just fit, with eos
  {'de': b'abcdef', 'en': b'wxyz', 'label': 2},  # both are one too long
  {'de': b'', 'en': 'ü'.encode(), 'label': 1},
]
SOURCE = [
  [97, 98, EOS, PAD, PAD, PAD],
  [97, 98, 99, 100, 101, EOS],
  [97, 98, 99, 100, 101, EOS],
  [EOS, PAD, PAD, PAD, PAD, PAD],
]
TARGET = [
  [120, EOS, PAD, PAD],
  [120, 121, 122, EOS],
  [119, 120, 121, EOS],
  [0xC3, 0xBC, EOS, PAD],
]
KINDS = pytest.mark.parametrize('encode', [pairs.held, pairs.streamed])


def make(texts):
  del texts
  return BYTES


def batches(source, count):
  state = source.init(jax.random.key(0))
  for _ in range(count):
    state, batch = source.next(state, None, source.data)
    yield jax.device_get(batch)


@KINDS
def test_pairs_end_with_eos_and_padding(encode):
  records = {'train': Listed(EXAMPLES), 'test': Listed(EXAMPLES, name='held out')}
  encoded = encode(records, FIELDS, make, (2, 4))
  (batch,) = batches(encoded.evaluation['test'], 1)
  assert batch['source'].tolist() == SOURCE
  assert batch['target'].tolist() == TARGET
  assert batch['weight'].tolist() == [1] * 4
  assert batch['source'].dtype == batch['target'].dtype == np.int32
  assert encoded.notes == (
    'listed: of 4 examples 1 source too long for 6 tokens, 1 target too long for 4 tokens',
    'held out: of 4 examples 1 source too long for 6 tokens, 1 target too long for 4 tokens',
  )
  seen = [tuple(row) for batch in batches(encoded.train, 2) for row in batch['source']]
  assert sorted(seen) == sorted(map(tuple, SOURCE))
  assert encoded.train.spec['target'].shape == (2, 4)
  assert encoded.train.on_device is (encode is pairs.held)


@KINDS
def test_texts_to_classify_begin_with_bos(encode):
  fields = {'tokens': pairs.Field('de', 5, begin=True)}
  records = {'train': Listed(EXAMPLES, 3), 'test': Listed(EXAMPLES, 3)}
  encoded = encode(records, fields, make, (4, 4), labels=True)
  (batch,) = batches(encoded.evaluation['test'], 1)
  assert batch['tokens'].tolist() == [
    [BOS, 97, 98, EOS, PAD],
    [BOS, 97, 98, 99, EOS],
    [BOS, 97, 98, 99, EOS],
    [BOS, EOS, PAD, PAD, PAD],
  ]
  assert batch['label'].tolist() == [0, 1, 2, 1]
  assert 'of 4 examples 2 tokens too long' in encoded.notes[0]


@KINDS
def test_the_tokenizer_learns_from_the_training_split_alone(encode):
  records = {'train': Listed(EXAMPLES[:1]), 'test': Listed(EXAMPLES[1:])}
  learn = lambda texts: tokenizers.make('char', texts)
  encoded = encode(records, FIELDS, learn, (1, 4))
  assert encoded.tokenizer.alphabet == 'abx'


@KINDS
@pytest.mark.parametrize(
  ('change', 'message'),
  [({'label': -1}, "'label' is -1, but must be"), ({'label': 3}, "'label' is 3, but must be")],
)
def test_bad_labels_are_named(encode, change, message):
  records = {'train': Listed([*EXAMPLES, EXAMPLES[0] | change], 3)}
  fields = {'tokens': pairs.Field('de', 5)}
  with pytest.raises(ValueError, match=f'listed record 4: {message}'):
    next(batches(encode(records, fields, make, (5, 5), labels=True).train, 1))


@KINDS
def test_bad_input_is_named(encode):
  records = {'train': Listed(EXAMPLES)}
  with pytest.raises(ValueError, match='listed has no class labels'):
    encode(records, FIELDS, make, (2, 2), labels=True)
  with pytest.raises(ValueError, match='the length of target must be at least 3, not 2'):
    encode(records, FIELDS | {'target': pairs.Field('en', 2)}, make, (2, 2))
  broken = {'train': Listed([*EXAMPLES, EXAMPLES[0] | {'en': b'a\xff'}])}
  with pytest.raises(ValueError, match='listed record 4: not UTF-8 at byte 1'):
    encode(broken, FIELDS, make, (2, 2))


@KINDS
def test_a_tokenizer_without_padding_is_refused(encode):
  @dataclasses.dataclass(frozen=True)
  class Bare(tokenizers.ByteTokenizer):
    pad_id: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride]

  with pytest.raises(ValueError, match='the tokenizer has no pad token, which texts of fixed'):
    encode({'train': Listed(EXAMPLES)}, FIELDS, lambda texts: Bare(), (2, 2))
