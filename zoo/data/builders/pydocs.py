"""`pydocs` for TFDS: the documentation that comes inside CPython, what `help('import')` shows."""

import re

import tensorflow_datasets as tfds

# Topics that share no text with others: many do, 'specialnames' contains 'customization' whole. So
# nothing held out is also trained on, and nothing counts twice. About 5% of the text each.
VALIDATION = ('assert', 'binary', 'dict', 'global', 'import', 'objects', 'power', 'shifting')
VALIDATION += ('slicings', 'specialattrs')
TEST = ('atom-identifiers', 'booleans', 'calls', 'conversions', 'lambda', 'strings', 'truth')
TEST += ('typesmodules', 'yield')

_DESCRIPTION = """\
CPython's own documentation, mostly of the language reference, in plain text, as `pydoc_data.topics`
holds it for Python's `help()`: English prose about 0.5 MB long. An example is a topic; they are
sorted by name, and white space at the ends of lines is gone. The text differs between versions of
Python. The splits are fixed lists of topics, chosen so that validation and test share no passage
with each other or with train (at most 0.2% of their runs of 8 words, in Python 3.11 to 3.13); a
topic that a later version adds is in train. Topics of train do repeat each other."""

_CITATION = """\
@manual{python_reference,
  title = {The Python Language Reference},
  author = {{Python Software Foundation}},
  url = {https://docs.python.org/3/reference/},
}"""

_LICENSE = (
  'PSF License Agreement version 2; code examples also under Zero-Clause BSD. Copyright (c) 2001 '
  'and later, Python Software Foundation.'
)


class Pydocs(tfds.core.GeneratorBasedBuilder):
  """CPython's documentation: text of a topic, and its name."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Fixed lists of topics for validation and test.'}  # noqa: RUF012

  def _info(self) -> tfds.core.DatasetInfo:
    text = tfds.features.Text()
    return tfds.core.DatasetInfo(
      builder=self,
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict({'text': text, 'topic': text}),
      homepage='https://docs.python.org/3/reference/',
      citation=_CITATION,
      license=_LICENSE,
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    return {
      split: self._generate_examples(split_topics(split))
      for split in ('train', 'validation', 'test')
    }

  def _generate_examples(self, topics):
    for i, (topic, text) in enumerate(topics.items()):
      yield i, {'text': text, 'topic': topic}


def split_topics(split: str) -> dict[str, str]:
  """The topics of a split and their texts, sorted by name."""
  from pydoc_data.topics import topics

  held_out: dict[str, str] = dict.fromkeys(VALIDATION, 'validation')
  held_out |= dict.fromkeys(TEST, 'test')
  return {
    topic: re.sub(r'[ \t]+$', '', topics[topic], flags=re.MULTILINE)
    for topic in sorted(topics)
    if held_out.get(topic, 'train') == split
  }
