"""Pictures of what an anomaly detector now does: its scores, and the examples at both ends."""

from typing import Any

import numpy as np

from zoo.previews.classification import RIGHT, WRONG, show, to_png


def preview(
  labels: np.ndarray, scores: np.ndarray, *, images: np.ndarray | None = None, columns: int = 8
) -> dict[str, bytes]:
  """Draws the pictures.

  Args:
    labels: [N], 1 for anomalies and 0 for normal examples.
    scores: float [N], higher for what is odder.
    images: [N, H, W, channels], as in `classification.preview`; None for no pictures of examples.
    columns: examples in a row.

  Returns:
    PNG files by name: 'scores' and, given images, 'most_and_least_anomalous'.
  """
  labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
  pictures = {'scores': histogram(labels, scores)}
  if images is not None and np.ndim(images) == 4:
    pictures['most_and_least_anomalous'] = extremes(np.asarray(images), labels, scores, columns)
  return pictures


def histogram(labels: np.ndarray, scores: np.ndarray) -> bytes:
  """Draws how the scores of both kinds are distributed, each with an area of 1."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(6.4, 3.8))
  figure.set_layout_engine('constrained')
  axes = figure.add_subplot()
  # A few examples far out must not squeeze all others into one bar.
  low, high = scores.min(), np.quantile(scores, 0.99)
  bins = np.linspace(low, max(high, low + 1e-9), 40)
  for kind, name, colour in ((0, 'normal', RIGHT), (1, 'anomalies', WRONG)):
    of_kind = np.minimum(scores[labels == kind], bins[-1])
    if len(of_kind):
      label = f'{name} ({len(of_kind):,})'
      axes.hist(of_kind, bins.tolist(), density=True, alpha=0.55, color=colour, label=label)
  axes.set_xlabel('score; what lies beyond is in the last bar')
  axes.set_yticks([])
  axes.spines[['left', 'top', 'right']].set_visible(False)
  axes.legend(frameon=False)
  return to_png(figure)


def extremes(images: np.ndarray, labels: np.ndarray, scores: np.ndarray, columns: int = 8) -> bytes:
  """Draws the examples of the highest scores, highest first, and those of the lowest below."""
  from matplotlib.figure import Figure

  order = np.argsort(-scores, kind='stable')
  count = min(2 * columns, -(-len(order) // 2))
  parts = (('most anomalous', order[:count]), ('least anomalous', order[::-1][:count]))
  rows = -(-count // columns)
  figure = Figure(figsize=(1.15 * columns, 2 * (1.45 * rows + 0.4)))
  halves: Any = figure.subfigures(2, 1)
  for part, (title, chosen) in zip(halves, parts, strict=True):
    part.suptitle(f'{title}: score, green if normal, red if not', fontsize=11)
    part.subplots(rows, columns)
    part.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.84, hspace=0.4, wspace=0.1)
    for axes in part.axes:
      axes.set_axis_off()
    for axes, i in zip(part.axes, chosen.tolist(), strict=False):
      show(axes, images[i])
      axes.set_title(f'{scores[i]:.3g}', fontsize=9, color=WRONG if labels[i] else RIGHT, pad=3)
  return to_png(figure)
