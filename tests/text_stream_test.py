"""Text that comes in pieces is the whole text."""

from zoo.data.tokenizers import ByteTokenizer
from zoo.text_stream import TextStream


def test_a_character_waits_for_its_last_byte():
  tokenizer = ByteTokenizer()
  text = 'naïve 東京 😀\n'
  stream = TextStream(tokenizer.decode)
  parts = [stream.add([token]) for token in tokenizer.encode(text)]
  assert ''.join(parts) == text
  assert '\ufffd' not in ''.join(parts)
  assert parts[2:4] == ['', 'ï']
  assert stream.add([tokenizer.eos_id]) == stream.finish() == ''


def test_a_stream_ends_with_what_never_became_a_character():
  stream = TextStream(ByteTokenizer().decode)
  assert stream.add([65, 0xF0, 0x9F]) == ''
  assert stream.finish() == 'A\ufffd'
  assert stream.add([66]) == 'A\ufffdB'


def test_a_stream_takes_tokens_that_are_joined_by_spaces():
  stream = TextStream(lambda tokens: ' '.join('abc'[t] for t in tokens))
  assert [stream.add([0]), stream.add([1, 2]), stream.add([0])] == ['a', ' b c', ' a']
