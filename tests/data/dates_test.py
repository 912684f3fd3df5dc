import datetime
import itertools
import re
import unicodedata

import pytest

from zoo.data import tfds
from zoo.data.builders import dates


@pytest.fixture(scope='module')
def examples():
  return list(itertools.islice(dates.distinct_examples(dates.SEED), 8_000))


def test_no_source_occurs_twice_so_that_splits_are_disjoint(examples):
  assert len({source for source, _, _ in examples}) == len(examples)


def test_examples_are_deterministic(examples):
  assert list(itertools.islice(dates.distinct_examples(dates.SEED), 100)) == examples[:100]
  assert list(itertools.islice(dates.distinct_examples(7), 100)) != examples[:100]


def test_targets_are_days_of_two_centuries(examples):
  days = [datetime.date.fromisoformat(target) for _, target, _ in examples]
  assert all(1900 <= day.year <= 2099 for day in days)
  assert len({day.year for day in days}) == 200
  assert {day.day for day in days} == set(range(1, 32))


def test_sources_say_all_of_the_day(examples):
  for source, target, locale in examples:
    year, _, day = target.split('-')
    assert source.startswith(f'{locale}: ')
    text = source.removeprefix(f'{locale}: ')
    assert year in text
    assert re.search(rf'(?<!\d)0?{int(day)}(?!\d)', text.replace(year, '', 1)), source


def test_sources_are_normalised(examples):
  for source, _, _ in examples:
    assert unicodedata.is_normalized('NFKC', source)
    assert not set(source) & set('\u200e\u200f\u061c\u202f\u00a0')
  assert dates.write(datetime.date(2021, 5, 3), 'short', 'ar') == '3/5/2021'  # without U+200F


@pytest.mark.parametrize('locale', ['de', 'en_US', 'zh', 'mn', 'ar', 'th', 'eu'])
def test_no_text_means_two_days(locale):
  first = datetime.date(1960, 1, 1)
  meaning = {}
  for format_name in dates.unambiguous(locale):
    for i in range(3 * 366):
      day = first + datetime.timedelta(days=i)
      assert meaning.setdefault(dates.write(day, format_name, locale), day) == day


def test_formats_with_half_a_year_are_left_out():
  assert dates.unambiguous('en_US') == ['medium', 'long', 'full']  # short is 5/3/21
  assert dates.unambiguous('sv') == ['short', 'medium', 'long', 'full']  # short is 2021-05-03
  assert all(len(dates.unambiguous(locale)) >= 3 for locale in dates.LOCALES)


def test_by_hand():
  day = datetime.date(2021, 5, 3)
  assert dates.write(day, 'full', 'de') == 'Montag, 3. Mai 2021'
  assert dates.write(day, 'long', 'ru') == '3 мая 2021 \u0433.'
  assert dates.write(day, 'long', 'ja') == '2021年5月3日'
  assert dates.write(day, 'medium', 'he') == '3 במאי 2021'


def test_prepared_splits(tmp_path, monkeypatch, examples):
  assert dates.SIZES == {'train': 100_000, 'validation': 2_000, 'test': 2_000}
  monkeypatch.setattr(dates, 'SIZES', {'train': 300, 'validation': 20, 'test': 30})
  start = 0
  for split, size in dates.SIZES.items():
    records = tfds.records('dates', split, tmp_path)
    assert len(records) == size
    found = [
      tuple(records[i][k].decode() for k in ('source', 'target', 'locale')) for i in range(size)
    ]
    assert found == examples[start : start + size]
    start += size
  info = tfds.open_dataset('dates', tmp_path).info
  assert 'Unicode-3.0' in info.redistribution_info.license
  assert 'CLDR' in info.description
