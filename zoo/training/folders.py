"""The folders of a run's checkpoints, one for every step that was saved.

What a folder is, its name says:

  DIR/120            complete: the last thing written in it was its manifest, the last thing done
                     to it was the rename that gave it this name
  DIR/120.replaced   complete as well; step 120 was saved again, and 120 takes its place
  DIR/120.partial*   a save that is going on, or was interrupted: swept away by the next save
  DIR/120.deleted    being deleted: likewise
  DIR/damaged/120    was complete and is no longer what its manifest says: set aside, not deleted

A kill can thus leave no folder `120` without a manifest: if there is one, someone took the manifest
away, and the step counts as damaged, not as never saved.
"""

import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Iterator

from zoo.training import manifest

DAMAGED = 'damaged'
_COMPLETE = re.compile(r'(\d+)(\.replaced)?')
_RUBBISH = re.compile(r'\d+\.(partial.*|deleted)')


class StepFolders:
  """The steps in one directory, by the names above. One process may write, others may read.

  Args:
    directory: where; it need not exist yet.
  """

  def __init__(self, directory: str | os.PathLike[str]):
    self.directory = pathlib.Path(directory).absolute()

  def complete(self) -> Iterator[tuple[int, pathlib.Path]]:
    """Steps and their folders, newest first, a replaced one after the one in its place."""
    names = os.listdir(self.directory) if self.directory.is_dir() else []
    matches = [match for name in names if (match := _COMPLETE.fullmatch(name))]
    for match in sorted(matches, key=lambda m: (-int(m[1]), m[0])):
      yield int(match[1]), self.directory / match[0]

  def steps(self) -> list[int]:
    """The complete steps, ascending. Their files are not read: `newest_good` does that."""
    return sorted({step for step, path in self.complete() if (path / manifest.FILENAME).exists()})

  def sweep(self) -> None:
    """Removes what an interrupted save or deletion left, as far as that can be."""
    for path in self.directory.iterdir():
      if _RUBBISH.fullmatch(path.name):
        shutil.rmtree(path, ignore_errors=True)

  def partial(self, step: int) -> pathlib.Path:
    """The path that a step is written to."""
    return self.directory / f'{step}.partial'

  def publish(self, step: int) -> None:
    """Makes a partial step, its manifest written, a complete one, in the place of an older one."""
    final = self.directory / str(step)
    replaced = self.directory / f'{step}.replaced'
    if final.exists() and replaced.exists():
      self._delete(final)
    elif final.exists():
      os.rename(final, replaced)
    os.rename(self.partial(step), final)
    manifest.sync_directory(self.directory)
    if replaced.exists():
      self._delete(replaced)

  def keep(self, steps: set[int]) -> None:
    """Deletes all other complete steps. A folder without a manifest is not complete, and stays."""
    for step, path in list(self.complete()):
      if step not in steps and (path / manifest.FILENAME).exists():
        self._delete(path)

  def _delete(self, path: pathlib.Path) -> None:
    # By way of a rename, so that a kill leaves no half of a step, which would pass for damaged.
    rubbish = self.directory / f'{path.stem}.deleted'
    if rubbish.exists():
      shutil.rmtree(rubbish)
    os.rename(path, rubbish)
    shutil.rmtree(rubbish)

  def newest_good(self, step: int | None = None) -> tuple[pathlib.Path | None, list[str]]:
    """Verifies steps, newest first, until one is good; warns of the damaged and sets them aside.

    Args:
      step: look at this one only.

    Returns:
      (the folder of the good step or None, the names of all that are damaged, now or before)
    """
    aside = self.directory / DAMAGED
    damaged = sorted(os.listdir(aside)) if aside.is_dir() else []
    for number, path in self.complete():
      if step is not None and number != step:
        continue
      try:
        manifest.verify(path)
        return path, damaged
      except manifest.DamagedError as error:
        if path.exists():  # or else the writer has just deleted it
          damaged.append(path.name)
          warnings.warn(
            f'checkpoint {path} is damaged: {error}; {self._set_aside(path)}', stacklevel=2
          )
    return None, damaged

  def _set_aside(self, path: pathlib.Path) -> str:
    aside = self.directory / DAMAGED
    names = (path.name + suffix for suffix in ('', *(f'-{n}' for n in range(1, 1000))))
    try:
      aside.mkdir(exist_ok=True)
      target = next(aside / name for name in names if not (aside / name).exists())
      os.rename(path, target)
      return f'set aside as {target}'
    except OSError as error:
      return f'left in place ({error.strerror})'
