"""`digits` for TFDS: the 1,797 handwritten digits that come inside scikit-learn, 8x8 pixels."""

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

NUM_TRAIN = 1500

_DESCRIPTION = """\
Handwritten digits, 1,797 images of 8x8 pixels: the test part of the UCI set "Optical Recognition of
Handwritten Digits", as it comes with scikit-learn, in its original order. The last 297 examples are
the split 'test'. The 0..16 ink pixels counted per cell are stored as round(255 / 16 * count): an
empty cell is 0 and a full one 255, and round(value * 16 / 255) gives the count back."""

_CITATION = """\
@misc{alpaydin1998optical,
  author = {Alpaydin, E. and Kaynak, C.},
  title = {Optical Recognition of Handwritten Digits},
  howpublished = {UCI Machine Learning Repository},
  year = {1998},
  doi = {10.24432/C50P49},
}"""


class Digits(tfds.core.GeneratorBasedBuilder):
  """scikit-learn's digits: image uint8 [8, 8, 1], label 0..9, index of the original position."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Original order; the last 297 of 1,797 examples are the test split.'}  # noqa: RUF012

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=(8, 8, 1), encoding_format='png'),
          'label': tfds.features.ClassLabel(num_classes=10),
          'index': tfds.features.Scalar(np.int64),
        }
      ),
      supervised_keys=('image', 'label'),
      homepage='https://archive.ics.uci.edu/dataset/80',
      citation=_CITATION,
      license='CC BY 4.0',
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    return {
      'train': self._generate_examples(0, NUM_TRAIN),
      'test': self._generate_examples(NUM_TRAIN, None),
    }

  def _generate_examples(self, start, stop):
    from sklearn import datasets  # takes a second, and only preparing needs it

    images, labels = map(np.asarray, datasets.load_digits(return_X_y=True))
    images = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    for i in range(len(images))[start:stop]:
      # TFDS encodes a Pillow image itself, an array only with TensorFlow.
      yield i, {'image': Image.fromarray(images[i]), 'label': labels[i].item(), 'index': i}
