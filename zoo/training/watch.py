"""Watches for steps that met something not finite, without waiting for any of them."""

import jax

from zoo.training.step import describe_nonfinite
from zoo.types import Array, PyTree


class NonFiniteError(RuntimeError):
  """Training met a loss, a gradient or an update that is not finite."""


class Watch:
  """Collects what the steps found, and looks at it when something is fetched anyway.

  To look late loses nothing, provided that one looks before anything is saved.

  Attributes:
    skipped: steps that were not finite so far.
  """

  def __init__(self, policy: str, skipped: int = 0):
    """Starts to watch.

    Args:
      policy: 'halt' raises, 'skip' counts, the steps of `make_train_step(skip_nonfinite=True)`.
      skipped: by an earlier part of the run.
    """
    self._policy = policy
    self._found: list[Array] = []
    self.skipped = skipped

  def add(self, nonfinite: Array) -> None:
    """Takes a call's `scalars['nonfinite']`."""
    self._found.append(nonfinite)

  def look(self, params: PyTree) -> None:
    """Fetches what has been added.

    Args:
      params: the parameters trained, for their names.

    Raises:
      NonFiniteError: under 'halt', or it was an update, which cannot be skipped; names the step and
        what it was.
    """
    found, self._found = jax.device_get(self._found), []
    last_gradient = len(jax.tree.leaves(params))
    for nonfinite in found:
      message = describe_nonfinite(nonfinite, params)
      if message is None:
        continue
      if self._policy == 'halt' or nonfinite[1] > last_gradient:
        raise NonFiniteError(message)
      self.skipped += 1
