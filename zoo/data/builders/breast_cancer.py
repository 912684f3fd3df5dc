"""`breast_cancer` for TFDS: 569 diagnosed breast masses that come inside scikit-learn."""

import numpy as np
import tensorflow_datasets as tfds

TEST_EVERY = 4

_DESCRIPTION = """\
The UCI set "Breast Cancer Wisconsin (Diagnostic)", as it comes with scikit-learn: 569 masses, 212
of them malignant, in 30 features of the cell nuclei in a picture of a fine needle aspirate: the
mean, the standard error and the worst of ten measures. Nothing is scaled. The split is stratified
and fixed: of each class, in the original order, every fourth example is in 'test' (142: 53
malignant, 89 benign), all others are in 'train' (427: 159 malignant, 268 benign)."""

_CITATION = """\
@misc{wolberg1995breast,
  author = {Wolberg, W. and Mangasarian, O. and Street, N. and Street, W.},
  title = {Breast Cancer Wisconsin (Diagnostic)},
  howpublished = {UCI Machine Learning Repository},
  year = {1995},
  doi = {10.24432/C5DW2B},
}"""


class BreastCancer(tfds.core.GeneratorBasedBuilder):
  """scikit-learn's breast_cancer: features float32 [30], label, index of the original position."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Every fourth example of each class is in the test split.'}  # noqa: RUF012

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict(
        {
          'features': tfds.features.Tensor(shape=(30,), dtype=np.float32),
          'label': tfds.features.ClassLabel(names=['malignant', 'benign']),
          'index': tfds.features.Scalar(np.int64),
        }
      ),
      supervised_keys=('features', 'label'),
      homepage='https://archive.ics.uci.edu/dataset/17',
      citation=_CITATION,
      license='CC BY 4.0',
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    return {'train': self._generate_examples(False), 'test': self._generate_examples(True)}

  def _generate_examples(self, test):
    from sklearn import datasets  # takes a second, and only preparing needs it

    features, labels = map(np.asarray, datasets.load_breast_cancer(return_X_y=True))
    in_test = np.zeros(len(labels), bool)
    for label in (0, 1):
      in_test[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    for i in np.flatnonzero(in_test == test).tolist():
      yield i, {'features': features[i].astype(np.float32), 'label': labels[i].item(), 'index': i}
