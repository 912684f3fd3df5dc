"""`dates` for TFDS: days as they are written in many languages, and in ISO 8601."""

import datetime
import functools
import itertools
import random
import re
import unicodedata
from collections.abc import Iterator

import tensorflow_datasets as tfds

LOCALES = (
  *('af', 'ar', 'az', 'be', 'bg', 'bn', 'ca', 'cs', 'cy', 'da', 'de', 'el', 'en_GB', 'en_US'),
  *('es', 'et', 'eu', 'fa', 'fi', 'fr', 'ga', 'he', 'hi', 'hr', 'hu', 'hy', 'id', 'is', 'it'),
  *('ja', 'ka', 'ko', 'lt', 'lv', 'mn', 'nb', 'nl', 'pl', 'pt', 'ro', 'ru', 'sk', 'sl', 'sq'),
  *('sr', 'sv', 'sw', 'ta', 'th', 'tr', 'uk', 'ur', 'vi', 'zh'),
)
FORMATS = ('short', 'medium', 'long', 'full')
FIRST = datetime.date(1900, 1, 1)
NUM_DAYS = 73049  # 1900 to 2099
SIZES = {'train': 100_000, 'validation': 2_000, 'test': 2_000}
SEED = 0

_DESCRIPTION = f"""\
Translation of dates: the source is a day of 1900 to 2099 as it is written in one of {len(LOCALES)}
locales, after the name of the locale ('de: Montag, 3. Mai 2021'), the target is the same day in ISO
8601 ('2021-05-03'). Babel writes the sources from Unicode's CLDR, in its short, medium, long and
full format; those that show two digits of the year, or from which the day does not follow in
another way, are not used. So a source has one target. No source occurs twice, in one split or in
two. Sources are in NFKC (which turns narrow spaces into plain ones) without marks of direction. The
examples are drawn with a fixed seed, and differ between versions of Babel as far as CLDR does."""

_CITATION = """\
@misc{cldr,
  title = {Unicode Common Locale Data Repository},
  author = {{Unicode, Inc.}},
  url = {https://cldr.unicode.org},
}"""

_LICENSE = (
  'Locale data: Unicode License v3 (SPDX Unicode-3.0), copyright (c) 2004 and later Unicode, Inc. '
  'It comes inside Babel, which is under the BSD 3-Clause license.'
)


class Dates(tfds.core.GeneratorBasedBuilder):
  """Dates in many languages: source and target, and the locale."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': '100,000 examples to train on, 2,000 each to validate and test.'}  # noqa: RUF012

  def _info(self) -> tfds.core.DatasetInfo:
    text = tfds.features.Text()
    return tfds.core.DatasetInfo(
      builder=self,
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict({'source': text, 'target': text, 'locale': text}),
      supervised_keys=('source', 'target'),
      homepage='https://babel.pocoo.org',
      citation=_CITATION,
      license=_LICENSE,
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    examples = distinct_examples(SEED)
    return {
      split: self._generate_examples(list(itertools.islice(examples, size)))
      for split, size in SIZES.items()
    }

  def _generate_examples(self, examples):
    for i, (source, target, locale) in enumerate(examples):
      yield i, {'source': source, 'target': target, 'locale': locale}


def distinct_examples(seed: int) -> Iterator[tuple[str, str, str]]:
  """Yields (source, target, locale) without end, no source twice. Locales are equally likely."""
  rng = random.Random(seed)
  seen = set()
  while True:
    locale = rng.choice(LOCALES)
    format_name = rng.choice(unambiguous(locale))
    date = FIRST + datetime.timedelta(days=rng.randrange(NUM_DAYS))
    source = f'{locale}: {write(date, format_name, locale)}'
    if source not in seen:
      seen.add(source)
      yield source, date.isoformat(), locale


@functools.cache
def unambiguous(locale: str) -> list[str]:
  """The formats of a locale that show the year in full and in which its days read differently.

  Even without the day of the week, from which it is a long way to the month. A format that reads
  like another one, of another day, is left out as well.
  """
  import babel

  weekdays = babel.Locale.parse(locale).days['format']['wide'].values()
  names = [unicodedata.normalize('NFKC', name) for name in weekdays]
  days = [datetime.date(2000, 1, 1) + datetime.timedelta(days=i) for i in range(366)]
  chosen, meaning = [], {}
  for format_name in FORMATS:
    written = [write(day, format_name, locale) for day in days]
    shorter = {re.sub('|'.join(map(re.escape, names)), '', text) for text in written}
    agrees = all(meaning.get(text, day) == day for text, day in zip(written, days, strict=True))
    if len(shorter) == len(days) and agrees and all('2000' in text for text in written):
      meaning |= zip(written, days, strict=True)
      chosen.append(format_name)
  return chosen


def write(date: datetime.date, format_name: str, locale: str) -> str:
  """A date in a locale's own words, in NFKC and without marks of direction."""
  import babel.dates

  text = unicodedata.normalize('NFKC', babel.dates.format_date(date, format_name, locale))
  return re.sub('[\u200e\u200f\u061c]', '', text)
