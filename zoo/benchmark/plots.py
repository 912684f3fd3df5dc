"""Pictures of what was measured: a roofline, and how throughput grows with devices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.benchmark.peaks import Peak
from zoo.benchmark.roofline import attainable
from zoo.training.curves import COLOURS, DARK, GREY, OTHERS

if TYPE_CHECKING:
  from matplotlib.axes import Axes

Row = Mapping[str, Any]
PALETTE = (*COLOURS.values(), *OTHERS)
MARKERS = 'os^Dv'


def draw(rows: Sequence[Row], path: str | Path) -> None:
  """Draws what can be drawn of rows: a roofline of each type, and the scaling, side by side.

  Args:
    rows: as `scripts/benchmark.py --json` writes them.
    path: of the picture; its ending says of what kind.

  Raises:
    ValueError: nothing can be drawn.
  """
  from matplotlib.figure import Figure  # takes 0.3 s, and a bare machine has none

  dtypes = sorted({row['dtype'] for row in rows if row.get('roofline')})
  scaled = [row for row in rows if row.get('what') == 'scaling']
  panels = len(dtypes) + bool(scaled)
  if not panels:
    raise ValueError('--plot: no row has a roofline, or was measured by --scaling')
  figure = Figure(figsize=(6.4 * panels, 4.6), layout='constrained', facecolor='white')
  axes = list(np.ravel(figure.subplots(1, panels)))
  for panel, dtype in zip(axes, dtypes, strict=False):
    draw_roofline(panel, [r for r in rows if r.get('roofline') and r['dtype'] == dtype], dtype)
  if scaled:
    draw_scaling(axes[-1], scaled)
  figure.savefig(path, dpi=120)


def draw_roofline(axes: 'Axes', rows: Sequence[Row], dtype: str) -> None:
  """FLOP/s against FLOPs a byte, both logarithmic: one point a model, below what is attainable.

  Of several rows of a model and batch size the first is drawn.
  """
  peak = Peak(**rows[0]['peak'])
  ridge = peak.flops / peak.bandwidth
  found = [row['intensity'] for row in rows]
  span = np.geomspace(min(*found, ridge) / 4, max(*found, ridge) * 4, 200)
  axes.loglog(span, [attainable(x, peak) for x in span], color=DARK, linewidth=1.5)
  axes.axvline(ridge, color=GREY, linewidth=0.8, linestyle=':')
  models: dict[tuple[str, int], Row] = {}
  for row in rows:
    models.setdefault((row.get('label', row['name']), row['batch_size']), row)
  for i, ((label, size), row) in enumerate(models.items()):
    rate = row['model_flops'] / row['devices'] / (row['step_ms']['median'] / 1000)
    colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE) % len(MARKERS)]
    name = f'{label}, {size}: {row["mfu"]:.0%} MFU'
    axes.plot(row['intensity'], rate, marker, color=colour, label=name)
  axes.set_xlabel('FLOPs a byte')
  axes.set_ylabel('FLOP/s of a device')
  peaks = f'{peak.flops / 1e9:,.0f} GFLOP/s, {peak.bandwidth / 1e9:,.0f} GB/s'
  axes.set_title(f'{dtype}: {peaks} measured')
  axes.legend(fontsize=7, loc='upper left', bbox_to_anchor=(1, 1), frameon=False)


def draw_scaling(axes: 'Axes', rows: Sequence[Row]) -> None:
  """Throughput against devices with the ideal; of forced devices, which have no times, bytes."""
  timed = [row for row in rows if row['step_ms'] is not None]
  for i, label in enumerate(dict.fromkeys((r['name'], r['parallel']) for r in rows)):
    mine = [r for r in timed or rows if (r['name'], r['parallel']) == label]
    devices, colour = [r['devices'] for r in mine], PALETTE[i % len(PALETTE)]
    if timed:
      values = [r['examples_per_second'] for r in mine]
      axes.loglog(devices, [values[0] * n / devices[0] for n in devices], ':', color=colour)
    else:
      values = [r['collective_bytes'] for r in mine]
      axes.plot(devices, [r['gradient_bytes'] for r in mine], ':', color=colour)
    axes.plot(devices, values, 'o-', color=colour, label=' '.join(label))
  axes.set_xlabel('devices')
  axes.set_ylabel('examples/s' if timed else 'bytes a step and device')
  axes.set_title('dotted: ideal' if timed else 'collectives; dotted: the gradients')
  axes.legend(fontsize=7)
