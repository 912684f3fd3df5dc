"""Checkpoints: Orbax writes the arrays, a manifest proves them.

A save goes: Orbax commits to `120.partial`; the manifest is written there; `120.partial` becomes
`120`; only then is an older step deleted. So a kill at any instant leaves the newest complete step
as it was. See folders.py for what the names mean.
"""

import contextlib
import functools
import json
import logging
import math
import os
import pathlib
import re
import threading
import types
import warnings
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import numpy as np

from zoo.training import leaves, manifest
from zoo.training.folders import DAMAGED, StepFolders
from zoo.types import PyTree, TrainState


class CheckpointError(Exception):
  """A checkpoint could not be written, read, or fitted to the model; the message is one line."""


class Restored(NamedTuple):
  """What a checkpoint held.

  Attributes:
    step: the number it was saved under.
    state: the training state, placed as asked.
    source_state: the state of the source, likewise.
    info: the dict given to `save`.
  """

  step: int
  state: TrainState
  source_state: PyTree
  info: dict[str, Any]


class Checkpoints:
  """The checkpoints of one run, in one directory.

  Leaves may be jax arrays (of any dtype but uint2 and uint4, which TensorStore lacks; typed keys;
  over any devices), numpy arrays and scalars, and Python numbers. Each comes back as what it was,
  bit for bit. Nothing is written before the first `save`. One process may write at a time (see
  lock.py), others may read meanwhile. Where a run has several processes all of them call every
  method, on a file system they share, and process 0 alone writes manifests, deletes and sets aside;
  numpy leaves are those of process 0.

  As a context manager it waits for the last save on leaving.

  Args:
    directory: where; made by the first save.
    keep_last: this many newest steps are kept, at least 1.
    keep_best: and this many with the best metric; of equal ones the earliest.
    best: name of that metric, in what `save` is given.
    mode: 'max' or 'min', which of two metrics is the better.
  """

  def __init__(
    self,
    directory: str | os.PathLike[str],
    *,
    keep_last: int = 2,
    keep_best: int = 1,
    best: str = 'accuracy',
    mode: str = 'max',
  ):
    if keep_last < 1 or keep_best < 0:
      raise ValueError(f'keep_last={keep_last} must be >= 1 and keep_best={keep_best} >= 0')
    if mode not in ('max', 'min'):
      raise ValueError(f"mode must be 'max' or 'min', not {mode!r}")
    self._folders = StepFolders(directory)
    self.directory = self._folders.directory
    self._keep_last, self._keep_best = keep_last, keep_best
    self._best, self._sign = best, 1 if mode == 'max' else -1
    self._thread: threading.Thread | None = None
    self._error: CheckpointError | None = None

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    value: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    try:
      self.wait()
    except CheckpointError as error:
      if value is None:
        raise
      warnings.warn(str(error), stacklevel=2)  # and not in the place of what ended the block
    finally:
      if '_orbax' in self.__dict__:
        self._orbax.close()

  @functools.cached_property
  def _orbax(self) -> Any:
    # On first use, because it costs 0.3 s to import and asks JAX for this process's index.
    import orbax.checkpoint as ocp

    # Of a failed write Orbax logs a stack per thread, of a good one a page. Errors are raised here.
    for name in ('absl', 'asyncio'):
      logging.getLogger(name).addFilter(_not_of_orbax)
    # If Orbax fails to make a folder in the background, its writers wait 10 minutes for it.
    options = ocp.AsyncOptions(create_directories_asynchronously=False)
    return ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler(), async_options=options)

  def save(
    self,
    step: int,
    state: TrainState,
    source_state: PyTree,
    info: dict[str, Any] | None = None,
    metrics: dict[str, float] | None = None,
  ) -> None:
    """Saves a step, in the background but for the copy to the host.

    When it returns, `state` and `source_state` may be donated or written to. It waits for the save
    before it, if that is not done. A step that exists is replaced once the new one is complete.

    Args:
      step: the number to save under.
      state: the training state.
      source_state: the state of the source, any pytree.
      info: JSON-able, given back by `restore`: the config, say.
      metrics: what `best` is chosen by, and whatever else is to be kept with the step.

    Raises:
      ValueError: `info` has no JSON form, or a leaf is no array of numbers.
      CheckpointError: this save could not begin, or the one before it failed.
    """
    self.wait()
    step = int(step)
    named = leaves.collect(state, source_state)
    try:
      info = json.loads(json.dumps(info or {}))
    except (TypeError, ValueError) as error:
      raise ValueError(f'the info of a checkpoint must be JSON-able: {error}') from error
    content = {
      'step': step,
      'metrics': {name: _json_number(value) for name, value in (metrics or {}).items()},
      'info': info,
      'leaves': {
        '/'.join(p): f'{leaves.kind_of(x)} {leaves.spec_of(p, x)}' for p, x in named.items()
      },
    }
    # Numpy scalars and Python numbers become arrays; Orbax refuses those without elements.
    arrays = {p: x if isinstance(x, jax.Array) else np.asarray(x) for p, x in named.items()}
    tree = flax.traverse_util.unflatten_dict({p: x for p, x in arrays.items() if x.size})
    try:
      if jax.process_index() == 0:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._folders.sweep()
      import orbax.checkpoint as ocp

      # 'force': one process must not stumble over what process 0 is about to sweep.
      arguments = ocp.args.StandardSave(tree)
      self._orbax.save(self._folders.partial(step), args=arguments, force=True)
    except Exception as error:
      raise self._failure(step, error) from error
    self._thread = threading.Thread(target=self._finish, args=(content,), name='checkpoint')
    self._thread.start()

  def _finish(self, content: dict[str, Any]) -> None:
    """Runs in the background: completes the save that Orbax has begun."""
    step = content['step']
    try:
      self._orbax.wait_until_finished()
      if jax.process_index() == 0:
        manifest.write(self._folders.partial(step), content)
        self._folders.publish(step)
        newest = self.steps()[-self._keep_last :]
        self._folders.keep({step, *newest, *self._ranking()[: self._keep_best]})
    except Exception as error:
      failure = self._failure(step, error)
      failure.__cause__ = error
      self._error = failure
      if jax.process_index() == 0:
        with contextlib.suppress(OSError):
          self._folders.sweep()  # a full disk needs the room

  def check(self) -> None:
    """Raises the CheckpointError of a save that failed in the background, once; costs nothing."""
    if self._error is not None:
      error, self._error = self._error, None
      raise error

  def wait(self) -> None:
    """Returns when all is on the disk, manifest included.

    Raises:
      CheckpointError: the save failed.
    """
    if self._thread is not None:
      self._thread.join()
      self._thread = None
    self.check()

  def steps(self) -> list[int]:
    """The complete steps, ascending. Whether they are unharmed, `restore` finds out."""
    return self._folders.steps()

  def best_step(self) -> int | None:
    """The complete step with the best metric, or None if no step has a finite one."""
    return next(iter(self._ranking()), None)

  def _ranking(self) -> list[int]:
    values = {}
    for step, path in self._folders.complete():
      try:
        value = float(manifest.read(path)['metrics'].get(self._best, 'nan'))
      except manifest.DamagedError:
        continue
      if math.isfinite(value):
        values[step] = value
    return sorted(values, key=lambda step: (-self._sign * values[step], step))

  def restore(
    self,
    abstract_state: PyTree,
    abstract_source_state: PyTree,
    step: int | None = None,
  ) -> Restored | None:
    """Restores the newest good step, or the one asked for.

    Every file is compared with the manifest first. A step that is damaged is set aside, with a
    warning that names it, and the one before it is tried.

    Args:
      abstract_state: what to restore into: `jax.ShapeDtypeStruct`, or arrays whose values do not
        matter. A leaf with a sharding comes back as a jax array so placed, whatever the devices it
        was saved from; a numpy array or a number as such; a ShapeDtypeStruct without a sharding as
        what was saved, a jax array then being on this process's first device.
      abstract_source_state: likewise.
      step: which; the newest good one if None.

    Returns:
      What was saved, or None if nothing ever was.

    Raises:
      CheckpointError: there are checkpoints, and none is good; there is no such step, or it is
        damaged; or it fits another model.
    """
    self.wait()
    path = self._choose(step)
    if path is None:
      return None
    content = manifest.read(path)
    targets = leaves.collect(abstract_state, abstract_source_state)
    difference = leaves.difference(content['leaves'], targets)
    if difference:
      raise CheckpointError(f'checkpoint {path} is of another model: {difference}')
    saved = content['leaves']
    kinds = {p: leaves.kind_of(x) or saved['/'.join(p)].split(' ')[0] for p, x in targets.items()}
    blanks = {p: leaves.blank(x, kinds[p]) for p, x in targets.items()}
    wanted = flax.traverse_util.unflatten_dict({p: x for p, x in blanks.items() if x.size})
    try:
      import orbax.checkpoint as ocp

      tree = self._orbax.restore(path, args=ocp.args.StandardRestore(wanted))
    except Exception as error:
      raise CheckpointError(f'checkpoint {path} cannot be read: {_reason(error)}') from error
    values = flax.traverse_util.flatten_dict(tree)
    finished = iter([leaves.finish(values.get(p, blank), kinds[p]) for p, blank in blanks.items()])
    state = jax.tree.map(lambda _: next(finished), abstract_state)
    source_state = jax.tree.map(lambda _: next(finished), abstract_source_state)
    return Restored(content['step'], state, source_state, content['info'])

  def _choose(self, step: int | None) -> pathlib.Path | None:
    """Process 0 looks for a good step; all processes get its path, None, or an error."""
    path, damaged = None, []
    if jax.process_index() == 0:
      path, damaged = self._folders.newest_good(step)
    name = path.name if path else '!' if damaged else ''
    if jax.process_count() > 1:
      from jax.experimental import multihost_utils

      letters = np.frombuffer(name.ljust(64).encode(), np.uint8)
      name = bytes(np.asarray(multihost_utils.broadcast_one_to_all(letters))).decode().strip()
    if name not in ('', '!'):
      return self.directory / name
    if step is not None:
      steps = ', '.join(map(str, self.steps())) or 'none'
      raise CheckpointError(
        f'no good checkpoint of step {step} in {self.directory}; there are: {steps}'
      )
    if name == '!':
      raise CheckpointError(
        f'every checkpoint in {self.directory} is damaged: '
        f'{", ".join(damaged) or "see process 0"}; '
        f'to start afresh, remove {self.directory / DAMAGED}'
      )
    return None

  def _failure(self, step: int, error: Exception) -> CheckpointError:
    steps = []
    with contextlib.suppress(OSError):
      steps = self.steps()
    last = f'the last complete one is of step {steps[-1]}' if steps else 'there is none before it'
    return CheckpointError(
      f'cannot save the checkpoint of step {step} in {self.directory}: {_reason(error)}; {last}'
    )


def _json_number(value: Any) -> float | str:
  number = float(value)
  return number if math.isfinite(number) else str(number)  # JSON has no NaN


def _reason(error: Exception) -> str:
  """One line for an error of the file system, also where TensorStore wraps it in a page."""
  code = re.search(r"os_error_code='(\d+)'", str(error))
  if code:
    return os.strerror(int(code[1]))
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  return f'{type(error).__name__}: {error}'.splitlines()[0]


def _not_of_orbax(record: logging.LogRecord) -> bool:
  return 'orbax' not in record.pathname and 'orbax' not in record.getMessage()
