"""Figures of several runs: their spread, and means that a single odd one does not decide."""

from collections.abc import Mapping, Sequence

import numpy as np


def interquartile_mean(values: np.ndarray) -> float:
  """The mean of the middle half: a quarter of the values is left out at either end.

  Where a quarter is no whole number, the values at the edges count in part.

  References:
    Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice.
  """
  values = np.sort(np.asarray(values, np.float64).ravel())
  edges = np.arange(len(values) + 1) / len(values)
  inside = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0, None)
  return float(np.sum(inside * values) / 0.5)


def bootstrap_interval(
  values: np.ndarray, share: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
  """The percentile interval of the interquartile mean over members drawn with replacement.

  Args:
    values: float [N], one of each member.
    share: of the draws that lie inside.
    draws: how many.
    seed: of the draws.

  References:
    Efron 1979, Bootstrap Methods; Agarwal et al. 2021, section 4.1.
  """
  rng = np.random.default_rng(seed)
  values = np.asarray(values, np.float64)
  chosen = values[rng.integers(len(values), size=(draws, len(values)))]
  found = [interquartile_mean(row) for row in chosen]
  low, high = np.quantile(found, [(1 - share) / 2, (1 + share) / 2])
  return float(low), float(high)


def spread(figures: Sequence[Mapping[str, float]], best: str) -> dict[str, float]:
  """The mean of every figure over members and, as NAME_members_std, its standard deviation.

  Of the figure to judge by there is the interquartile mean too, NAME_iqm, with the bounds of its
  95% bootstrap interval, NAME_low and NAME_high. The figures of one run are what they are.
  """
  if len(figures) == 1:
    return dict(figures[0])
  found: dict[str, float] = {}
  for name in figures[0]:
    values = np.array([of_member[name] for of_member in figures])
    found |= {name: float(values.mean()), f'{name}_members_std': float(values.std(ddof=1))}
  if best in figures[0]:
    values = np.array([of_member[best] for of_member in figures])
    low, high = bootstrap_interval(values)
    found |= {f'{best}_iqm': interquartile_mean(values), f'{best}_low': low, f'{best}_high': high}
  return found
