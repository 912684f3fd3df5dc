"""The folders of checkpoints: which steps there are, whatever was killed in between."""

import errno
import os

import pytest

from tests.training.step_folder import make_folder
from zoo.training import manifest
from zoo.training.folders import StepFolders


def save(folders, step):
  make_folder(folders.partial(step))
  folders.publish(step)


def names(path):
  return sorted(os.listdir(path))


def test_steps_are_ordered_by_number_and_only_complete_ones_count(tmp_path):
  folders = StepFolders(tmp_path / 'checkpoints')
  assert folders.steps() == []
  for step in (9, 10, 100):
    save(folders, step)
  make_folder(folders.partial(200))
  (folders.directory / '300').mkdir()
  (folders.directory / 'notes.txt').write_text('mine')
  assert folders.steps() == [9, 10, 100]
  assert [step for step, _ in folders.complete()] == [300, 100, 10, 9]


def test_sweep_removes_what_was_interrupted_and_nothing_else(tmp_path):
  folders = StepFolders(tmp_path)
  save(folders, 1)
  for name in ('2.partial', '2.partial.orbax-checkpoint-tmp', '0.deleted', 'mine', '3.replaced'):
    make_folder(tmp_path / name)
  folders.sweep()
  assert names(tmp_path) == ['1', '3.replaced', 'mine']


def test_keep_spares_folders_that_are_not_complete(tmp_path):
  folders = StepFolders(tmp_path)
  for step in (1, 2, 3):
    save(folders, step)
  (tmp_path / '1' / manifest.FILENAME).unlink()
  folders.keep({3})
  assert names(tmp_path) == ['1', '3']


def test_newest_good_sets_damaged_steps_aside_and_keeps_them(tmp_path):
  folders = StepFolders(tmp_path)
  for attempt in range(3):
    for step in (1, 2):
      save(folders, step)
    os.truncate(tmp_path / '2' / 'a.bin', 0)
    with pytest.warns(UserWarning, match=r'2 is damaged: a.bin has 0 bytes.*set aside') as record:
      path, damaged = folders.newest_good()
    assert len(record) == 1 and path == tmp_path / '1'
    assert len(damaged) == attempt + 1
  assert names(tmp_path) == ['1', 'damaged']
  assert names(tmp_path / 'damaged') == ['2', '2-1', '2-2']


def test_a_directory_that_cannot_be_written_is_still_searched(tmp_path, monkeypatch):
  folders = StepFolders(tmp_path)
  save(folders, 1)
  save(folders, 2)
  (tmp_path / '2' / 'a.bin').unlink()

  def refuse(*args):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))

  monkeypatch.setattr(os, 'rename', refuse)
  with pytest.warns(UserWarning, match='left in place .Read-only file system'):
    path, damaged = folders.newest_good()
  assert path == tmp_path / '1' and damaged == ['2']


class Killed(BaseException):
  pass


def test_a_kill_between_any_two_changes_on_disk_leaves_a_good_step(tmp_path, monkeypatch):
  """Stops before the k-th change of the file system, for every k, and looks what is left."""
  changes = {'count': 0, 'limit': -1}

  def counted(function):
    def call(*args, **kwargs):
      if changes['count'] == changes['limit']:
        raise Killed
      changes['count'] += 1
      return function(*args, **kwargs)

    return call

  for name in ('rename', 'unlink', 'rmdir', 'fsync'):
    monkeypatch.setattr(os, name, counted(getattr(os, name)))

  def overwrite_and_drop(folders):
    make_folder(folders.partial(2), {'step': 2, 'version': 'new'})
    folders.publish(2)
    folders.keep({2})

  def attempt(limit):
    folders = StepFolders(tmp_path / str(limit))
    changes.update(count=0, limit=-1)
    save(folders, 1)
    make_folder(folders.partial(2), {'step': 2, 'version': 'old'})
    folders.publish(2)
    changes.update(count=0, limit=limit)
    finished = True
    try:
      overwrite_and_drop(folders)
    except Killed:
      finished = False
    changes.update(limit=-1)
    path, damaged = folders.newest_good()
    assert path is not None and not damaged
    version = manifest.read(path)['version']
    if finished:
      assert version == 'new' and names(folders.directory) == ['2']
    # Whatever was left, the next save goes through and clears it.
    folders.sweep()
    overwrite_and_drop(folders)
    assert names(folders.directory) == ['2']
    return finished, version

  outcomes = []
  while not outcomes or not outcomes[-1][0]:
    outcomes.append(attempt(len(outcomes)))
  versions = [version for _, version in outcomes]
  assert len(outcomes) > 15
  assert versions == sorted(versions, reverse=True)  # old, old, ..., new, new: never back
