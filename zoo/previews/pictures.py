"""Grids of pictures: before and after, reconstructions, samples, walks."""

from collections.abc import Sequence

import numpy as np

from zoo.previews.classification import to_png

INCHES = 1.6  # the width of a picture
GAP = 0.04  # between two, as a share of a picture


def grid(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[Sequence[str]] = ()) -> bytes:
  """Draws rows of pictures as a PNG file.

  Args:
    rows: of pictures [H, W, C] in [0, 1] (what is beyond is cut off), C 1 for grey or 3; all of
      one shape and the rows equally long.
    titles: what stands above each picture; nothing if there are none.
  """
  from matplotlib.figure import Figure

  height, width = rows[0][0].shape[:2]
  tall = INCHES * height / width
  space = 0.22 if titles else 0.0  # inches for a title
  size = (INCHES * len(rows[0]), (tall + space) * len(rows))
  figure = Figure(figsize=size)
  for i, row in enumerate(rows):
    for j, picture in enumerate(row):
      bottom = 1 - ((i + 1) * (tall + space) - tall * GAP / 2) / size[1]
      share = ((1 - GAP) / len(row), (1 - GAP) * tall / size[1])
      axes = figure.add_axes(((j + GAP / 2) / len(row), bottom, *share))
      axes.set_axis_off()
      shown = np.clip(picture, 0, 1)
      shown = shown[..., 0] if shown.shape[-1] == 1 else shown
      axes.imshow(shown, cmap='gray', vmin=0, vmax=1, interpolation='nearest', aspect='auto')
      if titles:
        axes.set_title(titles[i][j], fontsize=9, pad=2)
  return to_png(figure)


def before_and_after(
  clean: np.ndarray, corrupted: np.ndarray, restored: np.ndarray, psnrs: np.ndarray
) -> bytes:
  """Draws a column per picture: the truth, what was left of it, and what was made of that.

  Args:
    clean: [N, H, W, C].
    corrupted: likewise.
    restored: likewise.
    psnrs: [2, N], of the last two, dB.
  """
  titles = [[''] * len(clean), *([f'{value:.2f} dB' for value in row] for row in psnrs)]
  return grid([list(clean), list(corrupted), list(restored)], titles)
