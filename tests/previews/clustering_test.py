import io

import numpy as np
from PIL import Image

from zoo.previews import clustering


def test_a_row_for_each_cluster_also_an_empty_one():
  rng = np.random.default_rng(0)
  images, labels = rng.uniform(size=(30, 8, 8, 1)), rng.integers(0, 3, 30)
  logits = np.eye(4)[labels] * 5  # of cluster 3 there is nothing
  shown = clustering.preview(labels, logits, images=images, columns=6)
  picture = np.asarray(Image.open(io.BytesIO(shown['clusters'])).convert('L'))
  rows = np.array_split(picture[:, picture.shape[1] // 2 :], 4)
  assert all(row.std() > 10 for row in rows[:3])
  assert rows[3].std() == 0
  assert clustering.preview(labels, logits) == {}
