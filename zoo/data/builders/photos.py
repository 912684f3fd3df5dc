"""`photos` for TFDS: the two photographs that come inside scikit-learn, cut into square patches."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

FILES = ('china.jpg', 'flower.jpg')
HEIGHT, WIDTH = 427, 640
# The columns of both photographs that belong to a split, [start, stop).
BANDS = {
  'train': ((0, 128), (192, 320), (384, 512), (576, 640)),
  'validation': ((320, 384),),
  'test': ((128, 192), (512, 576)),
}
TRAIN_STRIDE = 16

_DESCRIPTION = """\
Patches of two photographs of 427x640 pixels that come with scikit-learn: a pagoda above a lake
(china.jpg) and a dahlia (flower.jpg). Each split has bands of columns of its own, as high as the
photographs, so that no pixel is in two splits: 70% of the columns are for training, 10% for
validation and 20% for the test. Patches to train on overlap, one begins every 16 pixels; the others
lie side by side, and what is left over below them is not used. The photographs had been compressed
as JPEG before. china.jpg is by danielbuechele, flower.jpg by vultilion,
both licensed CC BY 2.0; the patches are cut from them and not changed otherwise."""

_CITATION = """\
@misc{buechele2011china,
  author = {danielbuechele},
  title = {china.jpg},
  howpublished = {https://www.flickr.com/photos/danielbuechele/6061409035},
  year = {2011},
  note = {CC BY 2.0},
}
@misc{vultilion2011flower,
  author = {vultilion},
  title = {flower.jpg},
  howpublished = {https://www.flickr.com/photos/vultilion/6056698931},
  year = {2011},
  note = {CC BY 2.0},
}"""


@dataclasses.dataclass
class PhotosConfig(tfds.core.BuilderConfig):
  """`photos/64` and so on.

  Attributes:
    size: the side of a patch.
  """

  size: int = 64


class Photos(tfds.core.GeneratorBasedBuilder):
  """Patches: image uint8 [size, size, 3], and where it was: photo (0, 1), top, left."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'Splits by bands of columns; patches of 64 and of 32.'}  # noqa: RUF012
  BUILDER_CONFIGS = [  # noqa: RUF012
    PhotosConfig(name=str(size), size=size, description=f'{size}x{size} pixels')
    for size in (64, 32)
  ]

  @property
  def size(self) -> int:
    assert isinstance(self.builder_config, PhotosConfig)
    return self.builder_config.size

  def _info(self) -> tfds.core.DatasetInfo:
    size, number = self.size, tfds.features.Scalar(np.int64)
    return tfds.core.DatasetInfo(
      builder=self,
      description=_DESCRIPTION,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=(size, size, 3), encoding_format='png'),
          'photo': number,
          'top': number,
          'left': number,
        }
      ),
      homepage='https://scikit-learn.org/stable/datasets/loading_other_datasets.html',
      citation=_CITATION,
      license='CC BY 2.0',
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    return {split: self._generate_examples(split) for split in BANDS}

  def _generate_examples(self, split):
    from sklearn import datasets  # takes a second, and only preparing needs it

    photos = [datasets.load_sample_image(name) for name in FILES]
    size = self.size
    for i, (photo, top, left) in enumerate(places(split, size)):
      patch = photos[photo][top : top + size, left : left + size]
      # TFDS encodes a Pillow image itself, an array only with TensorFlow.
      yield i, {'image': Image.fromarray(patch), 'photo': photo, 'top': top, 'left': left}


def places(split: str, size: int) -> Iterator[tuple[int, int, int]]:
  """Yields (photo, top, left) of every patch of a split, in the order in which they are kept."""
  stride = TRAIN_STRIDE if split == 'train' else size
  for photo in range(len(FILES)):
    for top in range(0, HEIGHT - size + 1, stride):
      for start, stop in BANDS[split]:
        for left in range(start, stop - size + 1, stride):
          yield photo, top, left
