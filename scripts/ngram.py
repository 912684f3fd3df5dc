"""Bits per byte without a neural network: an n-gram model and `xz -9`, on the splits of a dataset.

  python scripts/ngram.py --name=pydocs --order=5 [--json]

The n-gram model is interpolated Kneser-Ney over bytes: one is predicted from the order - 1 before
it. Both see each document followed by one symbol more, an end, as a language model of ours does,
which costs bits but counts for no byte. (xz has no such symbol, and gets a byte 0.)

References:
  Kneser and Ney 1995, Improved backing-off for m-gram language modeling.
  Chen and Goodman 1999, An empirical study of smoothing techniques, sections 2.7 and 4.1: the
  interpolated form, one discount per order, n1 / (n1 + 2 n2).
"""

import collections
import json
import lzma
import math
import sys
from collections.abc import Iterable, Sequence

from absl import flags

from zoo import cli
from zoo.data.documents import open_documents

END = 256
VOCABULARY = 257

FLAGS = flags.FLAGS
flags.DEFINE_string('name', 'pydocs', "A TFDS name or 'text:PATH'.")
flags.DEFINE_string('dir', None, 'Where TFDS keeps datasets.')
flags.DEFINE_string('train', 'train', 'Split to learn from.')
flags.DEFINE_string('validation', 'validation', 'Split to judge by.')
flags.DEFINE_integer('order', 5, 'Length of the n-grams, in bytes.', lower_bound=1)
flags.DEFINE_bool('json', False, 'Print JSON.')


class KneserNey:
  """Probabilities of the next symbol, from the counts of one sequence.

  Attributes:
    counts: per order n = 1, 2 ..., {context of n - 1 symbols: {symbol: count}}. The highest order
      counts occurrences; a lower one counts the different symbols that come before its n-gram.
    discounts: what is taken off each count, per order.
  """

  def __init__(self, symbols: Sequence[int], order: int):
    """Counts n-grams of up to `order` symbols; before the first symbol there are ends."""
    padded = (END,) * (order - 1) + tuple(symbols)
    grams = collections.Counter(zip(*(padded[i:] for i in range(order)), strict=False))
    self.counts: list[dict[tuple, dict[int, int]]] = []
    self.discounts: list[float] = []
    self.totals: list[dict[tuple, int]] = []
    for _ in range(order):
      table: dict[tuple, dict[int, int]] = {}
      for gram, count in grams.items():
        table.setdefault(gram[:-1], {})[gram[-1]] = count
      once, twice = (sum(c == n for c in grams.values()) for n in (1, 2))
      self.counts.insert(0, table)
      self.totals.insert(0, {context: sum(seen.values()) for context, seen in table.items()})
      self.discounts.insert(0, once / (once + 2 * twice) if once else 0.5)
      grams = collections.Counter(gram[1:] for gram in grams)

  def probability(self, symbol: int, context: tuple[int, ...]) -> float:
    """Of a symbol after the last order - 1 symbols of `context` (fewer use a lower order)."""
    p = 1 / VOCABULARY
    for n, (table, totals, discount) in enumerate(
      zip(self.counts, self.totals, self.discounts, strict=True)
    ):
      if n > len(context):
        break
      key = context[len(context) - n :]
      if key not in table:
        break  # then no longer context was seen either
      seen = table[key]
      kept = max(seen.get(symbol, 0) - discount, 0.0)
      p = (kept + discount * len(seen) * p) / totals[key]
    return p

  def bits(self, symbols: Sequence[int]) -> float:
    """What it costs to say these symbols, which follow an end."""
    width = len(self.counts) - 1
    padded = (END,) * width + tuple(symbols)
    return -sum(
      math.log2(self.probability(padded[i + width], padded[i : i + width]))
      for i in range(len(symbols))
    )


def with_ends(documents: Iterable[bytes]) -> list[int]:
  return [symbol for document in documents for symbol in (*document, END)]


def xz_size(documents: Iterable[bytes]) -> int:
  return len(lzma.compress(b''.join(document + b'\0' for document in documents), preset=9))


def measure(train: list[bytes], validation: list[bytes], order: int) -> dict[str, float]:
  """Bits per byte of validation by each method."""
  size = sum(map(len, validation))
  model = KneserNey(with_ends(train), order)
  after = xz_size(train + validation) - xz_size(train)
  return {
    f'{order}-gram (Kneser-Ney)': model.bits(with_ends(validation)) / size,
    'xz -9, after train': 8 * after / size,
    'xz -9, alone': 8 * xz_size(validation) / size,
  }


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'unexpected argument {argv[1]}')
  splits = [FLAGS.train, FLAGS.validation]
  train, validation = (
    [text.encode() for text in open_documents(FLAGS.name, split, FLAGS.dir).texts()]
    for split in splits
  )
  bits = measure(train, validation, FLAGS.order)
  about = {
    'name': FLAGS.name,
    'splits': splits,
    'bytes': [sum(map(len, documents)) for documents in (train, validation)],
    'python': sys.version.split()[0],
    'bits_per_byte': bits,
  }
  if FLAGS.json:
    print(json.dumps(about))
    return 0
  print(f'{FLAGS.name}: {about["bytes"][0]:,} bytes of {splits[0]}, judged by', end=' ')
  print(f'{about["bytes"][1]:,} of {splits[1]}')
  for method, value in bits.items():
    print(f'{method:24} {value:.4f} bits per byte')
  return 0


if __name__ == '__main__':
  cli.run(main)
