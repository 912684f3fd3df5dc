"""Draws metrics.jsonl: one small panel per quantity, training and validation in the same one."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.training import rundir

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers tell apart (Wong, Nature Methods 8:441, 2011).
COLOURS = {'train': '#0072B2', 'validation': '#D55E00', 'test': '#009E73'}
OTHERS = ('#CC79A7', '#E69F00', '#56B4E9', '#000000')
GREY, DARK = '#8A8A8A', '#404040'
NOISY = 100  # points; a longer curve is drawn pale, with its moving average on top

MEMBERS_STD = '_members_std'  # see `robust.spread`

Curves = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> (steps, values)
Bands = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # split -> (steps, low, high)


def draw_curves(metrics: rundir.PathLike, png: rundir.PathLike) -> None:
  """Draws a log of metrics as a picture.

  Args:
    metrics: the path of a metrics.jsonl.
    png: the path to write, atomically.

  Raises:
    OSError: one of the two cannot be read or written.
    ValueError: a line of the log is damaged.
  """
  picture = io.BytesIO()
  make_figure(rundir.read_metrics(metrics)).savefig(picture, format='png', dpi=120)
  rundir.atomic_write(png, picture.getvalue())


def make_figure(records: Sequence[Mapping[str, Any]]) -> 'Figure':
  """Makes the figure of a log: loss and accuracy first, the learning rate last.

  Args:
    records: as `rundir.read_metrics` gives them. 'train/loss' and 'validation/loss' share the panel
      'loss'; a name without '/' has a panel of its own.
  """
  # The object interface: pyplot would choose a window system and keep every figure alive.
  from matplotlib.figure import Figure

  panels, bands = with_bands(group(records))
  columns = 2 if len(panels) == 4 else min(3, len(panels)) or 1
  rows = math.ceil(len(panels) / columns) or 1
  figure = Figure(figsize=(4.6 * columns, 3.1 * rows), layout='constrained', facecolor='white')
  if not panels:
    figure.text(0.5, 0.5, 'no metrics were logged', ha='center', va='center', color=GREY)
    return figure
  figure.set_layout_engine('constrained', w_pad=0.12, h_pad=0.12)
  last = max(record['step'] for record in records)
  for i, (name, curves) in enumerate(panels.items(), 1):
    axes = figure.add_subplot(rows, columns, i)
    _draw_panel(axes, name, curves)
    for split, (steps, low, high) in bands.get(name, {}).items():
      axes.fill_between(steps, low, high, color=COLOURS.get(split, GREY), alpha=0.2, linewidth=0)
    axes.set_xlim(0, max(last, 1))
  return figure


def group(records: Sequence[Mapping[str, Any]]) -> dict[str, Curves]:
  """Sorts the scalars of a log into panels: {'loss': {'train': (steps, values), ...}, ...}.

  Returns:
    Panels in the order of drawing. `steps` and `values` are float64 [n]; an infinite value is NaN,
    a gap in the curve.
  """
  points: dict[str, dict[str, list[tuple[float, float]]]] = {}
  for record in records:
    for key, value in record.items():
      if key != 'step':
        split, _, name = key.rpartition('/')
        points.setdefault(name, {}).setdefault(split, []).append((record['step'], value))
  first = ['loss', 'accuracy']
  rank = lambda name: (name == 'learning_rate', first.index(name) if name in first else 2, name)
  panels: dict[str, Curves] = {}
  for name in sorted(points, key=rank):
    panels[name] = {}
    for split, pairs in points[name].items():
      steps, values = np.array(pairs, np.float64).T
      panels[name][split] = (steps, np.where(np.isfinite(values), values, np.nan))
  return panels


def with_bands(panels: dict[str, Curves]) -> tuple[dict[str, Curves], dict[str, Bands]]:
  """Takes what says how far members of a population differ out of the panels.

  Returns:
    The panels that are left, and for some {split: (steps, low, high)}: of an interquartile mean its
    interval, of other means one standard deviation to either side.
  """
  panels, bands = dict(panels), {}
  for name in list(panels):
    mean, _, kind = name.rpartition('_')
    if kind == 'iqm':
      lows, highs = panels.pop(f'{mean}_low'), panels.pop(f'{mean}_high')
      bands[name] = {split: (*lows[split], highs[split][1]) for split in lows}
    elif name.endswith(MEMBERS_STD):
      mean, deviations = name.removesuffix(MEMBERS_STD), panels.pop(name)
      bands[mean] = {}
      for split, (steps, deviation) in deviations.items():
        centre = panels[mean][split][1]
        bands[mean][split] = (steps, centre - deviation, centre + deviation)
  return panels, bands


def fits_log_scale(values: np.ndarray) -> bool:
  """Whether a linear axis would press half of the points into its lowest fifth."""
  values = values[np.isfinite(values)]
  if values.size < 3 or values.min() <= 0:
    return False
  return bool(np.median(values) < values.max() / 5 and values.max() / values.min() > 20)


def moving_average(values: np.ndarray, width: int) -> np.ndarray:
  """The mean over up to `width` (odd) neighbours, without the NaNs among them."""
  finite = np.isfinite(values)
  sums = np.convolve(np.where(finite, values, 0.0), np.ones(width), mode='same')
  counts = np.convolve(finite.astype(np.float64), np.ones(width), mode='same')
  return np.where(finite, sums / np.maximum(counts, 1.0), np.nan)


def _draw_panel(axes: 'Axes', name: str, curves: Curves) -> None:
  others = iter(OTHERS * len(curves))
  for split, (steps, values) in curves.items():
    colour = COLOURS.get(split) or (next(others) if split else DARK)
    label = f'{split}  {values[-1]:.4g}'
    if len(values) > NOISY and split == 'train':
      axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
      values = moving_average(values, 2 * (len(values) // 50) + 1)
    marker = 'o' if len(values) <= (30 if split else 1) else ''
    style = {'linewidth': 1.6, 'marker': marker, 'markersize': 3.5, 'clip_on': False}
    axes.plot(steps, values, color=colour, label=label, **style)
  if fits_log_scale(np.concatenate([values for _, values in curves.values()])):
    axes.set_yscale('log')
  else:
    axes.yaxis.set_major_formatter(lambda value, _: f'{value:g}')
  axes.set_title(name.replace('_', ' '), loc='left', fontsize=11, fontweight='bold')
  axes.set_xlabel('step', fontsize=9, color=GREY)
  axes.tick_params(labelsize=8, color=GREY, labelcolor=DARK)
  axes.grid(True, axis='y', color='#E6E6E6', linewidth=0.8)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)
  axes.spines[['left', 'bottom']].set_color('#B0B0B0')
  if any(curves):  # a quantity without splits is named by the title alone
    axes.legend(frameon=False, fontsize=8.5)
