"""Pictures, what was left of them, and what was made of that."""

import numpy as np

from zoo.previews.classification import to_png

INCHES = 1.6  # the width of a picture
TITLE = 0.22  # the height of what stands above it
GAP = 0.04  # between two, as a share of a picture


def before_and_after(
  clean: np.ndarray, corrupted: np.ndarray, restored: np.ndarray, psnrs: np.ndarray
) -> bytes:
  """Draws a column per picture: the truth, what was left of it, and what was made of that.

  Args:
    clean: [N, H, W, C], in [0, 1] (what is beyond is cut off), C 1 for grey or 3.
    corrupted: likewise.
    restored: likewise.
    psnrs: [2, N], of the last two, dB.

  Returns:
    A PNG file.
  """
  from matplotlib.figure import Figure

  N, H, W, C = clean.shape
  titles = [[''] * N, *([f'{value:.2f} dB' for value in row] for row in psnrs)]
  tall = INCHES * H / W
  size = (INCHES * N, 3 * (tall + TITLE))
  figure = Figure(figsize=size)
  for i, row in enumerate((clean, corrupted, restored)):
    for j, picture in enumerate(np.clip(row, 0, 1)):
      bottom = 1 - ((i + 1) * (tall + TITLE) - tall * GAP / 2) / size[1]
      share = ((1 - GAP) / N, (1 - GAP) * tall / size[1])
      axes = figure.add_axes(((j + GAP / 2) / N, bottom, *share))
      axes.set_axis_off()
      shown = picture[..., 0] if C == 1 else picture
      axes.imshow(shown, cmap='gray', vmin=0, vmax=1, interpolation='nearest', aspect='auto')
      axes.set_title(titles[i][j], fontsize=9, pad=2)
  return to_png(figure)
