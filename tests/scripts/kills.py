"""Kills training runs, in the middle of what they do."""

import time

import numpy as np

from tests.scripts import command


def wait_for(condition, process, seconds=500.0):
  """Polls until something has happened; False if the process ended first."""
  end = time.monotonic() + seconds
  while not condition():
    if process.poll() is not None:
      return False
    assert time.monotonic() < end
    time.sleep(0.002)
  return True


def names(workdir):
  folder = workdir / 'checkpoints'
  return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def kill_in_a_save(workdir, process, rng):
  old = {name for name in names(workdir) if 'partial' in name}  # what an earlier kill left
  if wait_for(lambda: any('partial' in n for n in names(workdir) - old), process):
    time.sleep(rng.uniform(0, 0.05))


def kill_after_a_save(workdir, process, rng):
  old = names(workdir)
  if wait_for(lambda: any(n.isdecimal() for n in names(workdir) - old), process):
    time.sleep(rng.uniform(0, 0.5))


def kill_anywhere(workdir, process, rng):
  del workdir
  end = time.monotonic() + rng.uniform(0, 4)
  wait_for(lambda: time.monotonic() > end, process)


def killed_again_and_again(workdir, kills, seed, *args):
  """Kills `kills` processes of one run, then lets it end. Returns the signals that ended them.

  `args` are further ones of train.py.
  """
  rng = np.random.default_rng(seed)
  how = [kill_after_a_save, kill_in_a_save, kill_anywhere]
  codes = []
  for i in range(kills):
    process = command.start('train', f'--workdir={workdir}', *args)
    try:
      how[i % len(how)](workdir, process, rng)
    finally:  # also if it took too long: nothing of a failed test shall go on
      process.kill()
      process.communicate()
    codes.append(process.returncode)
    if process.returncode == 0:
      break  # it was complete before its time
  command.train_to_end(workdir, *args)
  return codes
