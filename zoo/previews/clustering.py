"""A picture of what clusters now hold."""

import numpy as np

from zoo.previews.classification import show, to_png


def preview(
  labels: np.ndarray,
  logits: np.ndarray,
  *,
  images: np.ndarray | None = None,
  columns: int = 16,
) -> dict[str, bytes]:
  """Draws a row of examples for each cluster, the surest of theirs first.

  Args:
    labels: integer [N], classes, to name a cluster by what most of it is.
    logits: float [N, K], greatest at an example's cluster.
    images: [N, H, W, channels], as in `classification.preview`; None for no picture.
    columns: examples of a cluster.

  Returns:
    PNG files by name: 'clusters', given images.
  """
  if images is None or np.ndim(images) != 4:
    return {}
  from matplotlib.figure import Figure

  labels, logits, images = np.asarray(labels), np.asarray(logits, np.float64), np.asarray(images)
  K, clusters = logits.shape[-1], logits.argmax(-1)
  shifted = logits - logits.max(-1, keepdims=True)
  surest = -np.log(np.exp(shifted).sum(-1))  # the log probability of an example's own cluster
  figure = Figure(figsize=(0.62 * columns + 2, 0.68 * K))
  grid = np.array(figure.subplots(K, columns, squeeze=False))
  figure.subplots_adjust(left=0.17, right=0.995, bottom=0.01, top=0.99, wspace=0.06, hspace=0.08)
  for axes in grid.flat:
    axes.set_axis_off()
  for k in range(K):
    members = np.flatnonzero(clusters == k)
    members = members[np.argsort(-surest[members], kind='stable')]
    text = f'cluster {k}: empty'
    if len(members):
      most = np.bincount(labels[members]).argmax()
      text = f'{len(members)} examples,\n{np.mean(labels[members] == most):.0%} of class {most}'
    grid[k, 0].text(-0.2, 0.5, text, ha='right', va='center', transform=grid[k, 0].transAxes)
    for axes, i in zip(grid[k], members.tolist(), strict=False):
      show(axes, images[i])
  return {'clusters': to_png(figure)}
