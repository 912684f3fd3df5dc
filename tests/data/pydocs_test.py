import itertools
from pydoc_data.topics import topics

import pytest

from zoo.data import tfds
from zoo.data.builders import pydocs

SPLITS = ('train', 'validation', 'test')


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('tfds')


@pytest.fixture(scope='module')
def splits(data_dir):
  found = {}
  for split in SPLITS:
    records = tfds.records('pydocs', split, data_dir)
    examples = [records[i] for i in range(len(records))]
    found[split] = {e['topic'].decode(): e['text'].decode() for e in examples}
    assert len(found[split]) == len(records)
  return found


def test_every_topic_is_in_one_split(splits):
  assert sorted(itertools.chain(*splits.values())) == sorted(topics)
  for texts in splits.values():
    assert list(texts) == sorted(texts)


def test_texts_are_those_of_help_but_for_ends_of_lines(splits):
  for texts in splits.values():
    for topic, text in texts.items():
      assert text.split('\n') == [line.rstrip(' \t') for line in topics[topic].split('\n')]


def test_sizes(splits):
  sizes = {split: sum(map(len, texts.values())) for split, texts in splits.items()}
  total = sum(sizes.values())
  assert total > 400_000
  assert 0.04 < sizes['validation'] / total < 0.07
  assert 0.04 < sizes['test'] / total < 0.07


def passages(texts):
  """Runs of 8 words, whatever the lines."""
  for text in texts.values():
    words = text.split()
    yield from (tuple(words[i : i + 8]) for i in range(len(words) - 7))


def lines(texts):
  return [line for text in texts.values() for line in map(str.strip, text.split('\n'))]


@pytest.mark.parametrize(
  ('held_out', 'other'), [('validation', 'train'), ('test', 'train'), ('validation', 'test')]
)
def test_what_is_held_out_stands_nowhere_else(splits, held_out, other):
  known = set(passages(splits[other]))
  shared = [passage in known for passage in passages(splits[held_out])]
  assert sum(shared) / len(shared) < 0.003  # 0.002 in Python 3.11 to 3.13
  known = set(lines(splits[other]))
  assert [line for line in lines(splits[held_out]) if len(line) >= 50 and line in known] == []


@pytest.mark.parametrize('split', ['validation', 'test'])
def test_nothing_held_out_counts_twice(splits, split):
  found = list(passages(splits[split]))
  assert len(set(found)) / len(found) > 0.98


def test_topics_do_repeat_each_other_which_is_why_the_splits_are_chosen(splits):
  found = list(passages(splits['train']))
  assert len(set(found)) / len(found) < 0.85


def test_a_topic_of_a_later_python_is_trained_on(monkeypatch):
  monkeypatch.setitem(topics, 'zz-new', 'text  \n more\t\n')
  assert pydocs.split_topics('train')['zz-new'] == 'text\n more\n'
  assert 'zz-new' not in pydocs.split_topics('test')


def test_says_where_it_comes_from(data_dir, splits):
  info = tfds.open_dataset('pydocs', data_dir).info
  assert 'Python Software Foundation' in info.citation
  assert 'PSF License' in info.redistribution_info.license
  assert 'differs between versions' in info.description
