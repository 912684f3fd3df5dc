"""Text out of tokens that come a few at a time."""

from collections.abc import Callable


class TextStream:
  """The text of tokens that come a few at a time.

  A character may be made of several tokens: the first ones wait for the last. And a tokenizer may
  look at what stands before, as one that joins words does: so what was given out last is decoded
  once more with what follows.

  Args:
    decode: tokens -> text, with U+FFFD for a character that is not complete.
  """

  def __init__(self, decode: Callable[[list[int]], str]):
    self._decode = decode
    self._tokens: list[int] = []
    self._begin = self._end = 0  # of the tokens that were given out last

  def add(self, new: list[int]) -> str:
    """Adds tokens; returns the text that they complete."""
    self._tokens += new
    text = self.finish()
    if text.endswith('\ufffd'):
      return ''
    self._begin, self._end = self._end, len(self._tokens)
    return text

  def finish(self) -> str:
    """The text that still waits, complete or not."""
    before = self._decode(self._tokens[self._begin : self._end])
    return self._decode(self._tokens[self._begin :])[len(before) :]
