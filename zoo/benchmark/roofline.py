"""How near a row is to the limit of its device.

Source: Williams, Waterman and Patterson 2009, Roofline: An Insightful Visual Performance Model.
"""

from collections.abc import Mapping
from typing import Any

from zoo.benchmark.peaks import Peak


def attainable(intensity: float, peak: Peak) -> float:
  """FLOP/s that a program of so many FLOPs a byte can reach."""
  return min(peak.flops, intensity * peak.bandwidth)


def judge(row: Mapping[str, Any], peak: Peak, sheet: Peak | None) -> dict[str, Any]:
  """What a row has to say about its device.

  Args:
    row: as `dataclasses.asdict` of a `Row`; its FLOPs known.
    peak: of one device, measured.
    sheet: of one device, published, or None.

  Returns:
    mfu and mfu_datasheet: the model's FLOP/s as a share of the peaks, of all devices; intensity:
    FLOPs a byte, both as XLA counts them; bound: 'compute' or 'memory', whichever limits a program
    of this intensity; roofline: the model's FLOP/s as a share of what is attainable there. Each is
    None where it cannot be said.
  """
  rate = row['model_flops'] / (row['step_ms']['median'] / 1000) / row['devices']
  # Of several steps in a call XLA counts one, but the arrays of all.
  known = row['xla_flops'] and row['xla_bytes'] and row['steps_per_call'] == 1
  intensity = row['xla_flops'] / row['xla_bytes'] if known else None
  found = {
    'peak': peak._asdict(),
    'mfu': rate / peak.flops,
    'mfu_datasheet': rate / sheet.flops if sheet else None,
    'intensity': intensity,
    'bound': None,
    'roofline': None,
  }
  if intensity is not None:
    found['bound'] = 'compute' if intensity * peak.bandwidth >= peak.flops else 'memory'
    found['roofline'] = rate / attainable(intensity, peak)
  return found
