"""Pictures of what a classifier now does: its confusion matrix and its worst mistakes."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # matplotlib takes 0.3 s to import
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

RIGHT, WRONG = '#2a7f3f', '#b3261e'


def preview(
  labels: np.ndarray,
  logits: np.ndarray,
  *,
  images: np.ndarray | None = None,
  class_names: Sequence[str] = (),
  grid: tuple[int, int] = (4, 6),
) -> dict[str, bytes]:
  """Draws the pictures.

  Args:
    labels: integer [N], or distributions [N, C]. Without padding.
    logits: float [N, C].
    images: [N, H, W, channels], uint8, or float in [0, 1] (otherwise each is stretched to that
      range). If None, or of another rank, there is no picture of mistakes.
    class_names: C names; numbers if empty.
    grid: rows and columns of mistakes.

  Returns:
    PNG files by name: 'confusion_matrix' and, given images, 'worst_mistakes'.
  """
  labels, logits = np.asarray(labels), np.asarray(logits, np.float64)
  labels = labels.argmax(-1) if labels.ndim == 2 else labels
  C = logits.shape[-1]
  names = [str(name) for name in class_names] or [str(c) for c in range(C)]
  confusion = np.zeros((C, C), np.int64)
  np.add.at(confusion, (labels, logits.argmax(-1)), 1)
  pictures = {'confusion_matrix': confusion_matrix(confusion, names)}
  if images is not None and np.ndim(images) == 4:
    pictures['worst_mistakes'] = worst_mistakes(np.asarray(images), labels, logits, names, grid)
  return pictures


def confusion_matrix(confusion: np.ndarray, class_names: Sequence[str]) -> bytes:
  """Draws counts [C, C], rows the true classes; colours by share of a row, numbers if C <= 40."""
  from matplotlib.colors import PowerNorm
  from matplotlib.figure import Figure

  C = len(confusion)
  side = float(np.clip(0.5 * C, 4.5, 11))
  figure = Figure(figsize=(side + 1.7, side + 1.0))
  figure.set_layout_engine('constrained', h_pad=0.1, w_pad=0.08)
  axes = figure.add_subplot()
  shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
  # The root of the share: one mistake in a hundred is seen too.
  picture = axes.imshow(shares, cmap='Blues', norm=PowerNorm(0.5, 0, 1))
  bar = figure.colorbar(
    picture, ax=axes, shrink=0.8, aspect=30, pad=0.02, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1]
  )
  bar.ax.set_yticklabels(['0', '1%', '10%', '25%', '50%', '100%'])
  bar.set_label('share of the true class')
  bar.outline.set_visible(False)  # type: ignore[reportCallIssue]

  hits, total = int(confusion.trace()), int(confusion.sum())
  axes.set_title(f'{hits:,} of {total:,} correct ({hits / max(total, 1):.1%})', pad=10)
  axes.set_xlabel('predicted')
  axes.set_ylabel('true')
  axes.spines[:].set_visible(False)
  if C > 40:
    return to_png(figure)

  size = float(np.clip(24 * side / C, 6, 11))
  short = [shorten(name, 18) for name in class_names]
  upright = max(map(len, short)) > 3
  axes.set_xticks(range(C), short, fontsize=size, rotation=90 if upright else 0, parse_math=False)
  axes.set_yticks(range(C), short, fontsize=size, parse_math=False)
  axes.tick_params(length=0)
  axes.set_xticks(np.arange(C + 1) - 0.5, minor=True)
  axes.set_yticks(np.arange(C + 1) - 0.5, minor=True)
  axes.grid(which='minor', color='white', linewidth=1)
  axes.tick_params(which='minor', length=0)
  for row, column in zip(*np.nonzero(confusion), strict=True):
    colour = 'white' if shares[row, column] > 0.3 else 'black' if row == column else WRONG
    text = str(confusion[row, column])
    axes.text(column, row, text, ha='center', va='center', color=colour, fontsize=size)
  return to_png(figure)


def worst_mistakes(
  images: np.ndarray,
  labels: np.ndarray,
  logits: np.ndarray,
  class_names: Sequence[str],
  grid: tuple[int, int] = (4, 6),
) -> bytes:
  """Draws the examples with the highest loss: mistakes first, then what was barely right."""
  from matplotlib.figure import Figure

  shifted = logits - logits.max(-1, keepdims=True)
  probabilities = np.exp(shifted) / np.exp(shifted).sum(-1, keepdims=True)
  predicted = logits.argmax(-1)
  of_true = np.take_along_axis(probabilities, labels[:, None], axis=-1)[:, 0]
  wrong = predicted != labels
  order = np.lexsort((of_true, ~wrong))[: grid[0] * grid[1]]

  columns = min(grid[1], max(len(order), 4))
  rows = max(-(-len(order) // columns), 1)
  figure = Figure(figsize=(1.75 * columns, 2.15 * rows + 0.5))
  count = int(wrong.sum())
  mistakes = f'{count:,} mistake{"" if count == 1 else "s"} in {len(labels):,} examples'
  figure.suptitle(f'{mistakes}. Predicted class and true class, worst first', fontsize=12)
  figure.set_layout_engine('constrained', h_pad=0.08, w_pad=0.06)
  figure.subplots(rows, columns)
  for axes in figure.axes:
    axes.set_axis_off()
  for axes, i in zip(figure.axes, order.tolist(), strict=False):
    show(axes, images[i])
    true, guess = (shorten(class_names[c], 12) for c in (int(labels[i]), int(predicted[i])))
    title = f'{guess} ({probabilities[i, predicted[i]]:.0%})'
    if wrong[i]:
      title += f'\ntrue: {true} ({of_true[i]:.0%})'
    colour = WRONG if wrong[i] else RIGHT
    axes.set_title(title, fontsize=9.5, color=colour, pad=4, parse_math=False)
  return to_png(figure)


def show(axes: 'Axes', image: np.ndarray) -> None:
  """Draws one image: RGB if it has three channels or more, else the first in grey."""
  image = image / 255 if image.dtype == np.uint8 else image.astype(np.float64)
  if image.min() < 0 or image.max() > 1:
    image = (image - image.min()) / max(np.ptp(image), 1e-12)
  image = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
  axes.imshow(image, cmap='gray', vmin=0, vmax=1, interpolation='nearest')


def shorten(text: str, length: int) -> str:
  return text if len(text) <= length else text[: length - 1] + '…'


def to_png(figure: 'Figure') -> bytes:
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png', dpi=120)
  return buffer.getvalue()
