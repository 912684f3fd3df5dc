"""Texts that show what a language model writes."""

from zoo.previews.text import continuations, translations


def test_every_sample_stands_below_its_prompt():
  shown = continuations(['once', 'twice'], [['upon', 'more'], ['told']])
  assert shown == (
    '=== prompt\nonce\n--- sample 1\nupon\n--- sample 2\nmore\n'
    '=== prompt\ntwice\n--- sample 1\ntold\n'
  )


def test_a_wrong_output_has_a_mark_and_right_ones_are_counted():
  shown = translations(['eins', 'zwei'], ['one', 'too'], ['one', 'two']).splitlines()
  assert shown == [
    '   source  output  target',
    '   eins    one     one',
    'x  zwei    too     two',
    '1 of 2 exactly right',
  ]


def test_a_long_text_is_cut():
  lines = translations(['x' * 100], ['a'], ['a'], width=10).splitlines()
  assert lines[1].split() == ['x' * 9 + '…', 'a', 'a']
