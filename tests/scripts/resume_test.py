"""Whatever ends a run, the same command goes on, and it ends as if nothing had been."""

import json
import re
import shutil
import signal
import time
import warnings

import numpy as np
import pytest

from tests.scripts import command
from tests.scripts.kills import killed_again_and_again, names, wait_for
from zoo.training.checkpoint import CheckpointError, Checkpoints


def test_a_run_killed_in_the_middle_ends_the_same(tmp_path):
  codes = killed_again_and_again(tmp_path / 'run', 2, 0)
  assert codes == [-signal.SIGKILL] * 2
  command.assert_same_run(tmp_path / 'run', command.finished())


@pytest.mark.slow
def test_a_run_killed_thirty_times_ends_the_same(tmp_path):
  steps = '--config.train.steps=1200'
  command.train_to_end(tmp_path / 'straight', steps)
  codes = killed_again_and_again(tmp_path / 'killed', 30, 1, steps)
  assert codes == [-signal.SIGKILL] * 30
  command.assert_same_run(tmp_path / 'killed', tmp_path / 'straight')


def saved_step(process, name):
  """What a process that was asked to stop says it has saved."""
  out, err = process.communicate(timeout=120)
  assert process.returncode == 75, (process.returncode, out, err)
  assert not err
  found = re.search(rf'^{name}: saved step (\d+); the same command goes on$', out, re.MULTILINE)
  assert found, out
  return int(found[1]), out


@pytest.mark.slow
def test_a_signal_saves_within_one_step_and_the_rest_is_the_same(tmp_path):
  workdir = tmp_path / 'run'
  # During the first compilation: config.json is the last thing written before it.
  process = command.start('train', f'--workdir={workdir}', cached=False)
  assert wait_for((workdir / 'config.json').exists, process)
  process.send_signal(signal.SIGTERM)
  step, _ = saved_step(process, 'SIGTERM')
  assert step == 1
  assert '1' in names(workdir)

  # In full run.
  process = command.start('train', f'--workdir={workdir}')
  assert wait_for(lambda: '20' in names(workdir), process)
  process.send_signal(signal.SIGINT)
  step, out = saved_step(process, 'SIGINT')
  assert out.startswith('going on from step 1\n')
  logged = [int(n) for n in re.findall(r'^step (\d+)/80 ', out, re.MULTILINE)]
  assert step - logged[-1] <= 1  # a line every second step: no step followed the saved one
  assert str(step) in names(workdir)

  command.train_to_end(workdir)
  command.assert_same_run(workdir, command.finished())


@pytest.mark.slow
@pytest.mark.parametrize('seed', range(6))
def test_a_signal_at_any_moment(tmp_path, seed):
  rng, workdir = np.random.default_rng(seed), tmp_path / 'run'
  name = ('SIGTERM', 'SIGINT')[seed % 2]
  process = command.start('train', f'--workdir={workdir}', cached=seed < 3)
  # Its first act is to take signals, its second to write down who holds the directory.
  assert wait_for(lambda: (workdir / '.lock').exists(), process)
  time.sleep(rng.uniform(0, 8))
  process.send_signal(getattr(signal, name))
  out, err = process.communicate(timeout=120)
  # After its last act the run takes no signals any more.
  assert process.returncode in (75, 0) or (workdir / 'summary.json').exists(), (out, err)
  command.train_to_end(workdir)
  command.assert_same_run(workdir, command.finished())


@pytest.mark.slow
def test_a_run_goes_on_under_another_strategy(tmp_path):
  workdir = command.unfinished(tmp_path / 'run')
  before = (workdir / 'metrics.jsonl').read_text().splitlines()
  printed = command.train_to_end(workdir, devices=4)
  assert 'going on from step 76' in printed
  assert json.loads((workdir / 'summary.json').read_text())['strategy'] == 'pmap'
  after = (workdir / 'metrics.jsonl').read_text().splitlines()
  kept = [text for text in before if json.loads(text)['step'] <= 76]
  assert after[: len(kept)] == kept
  assert len(after) == len(before)
  # The same examples in the same order; only dropout and augmentation draw per device.
  one, other = command.restored(workdir), command.restored(command.finished())
  assert one.step == other.step == 80
  for x, y in zip(*(r.source_state.values() for r in (one, other)), strict=True):
    assert command.bits(x) == command.bits(y)


def flip(path, bit):
  data = bytearray(path.read_bytes())
  data[bit // 8] ^= 1 << bit % 8
  path.write_bytes(data)


def files_of(folder):
  return sorted(path for path in folder.rglob('*') if path.is_file())


def test_no_flipped_bit_is_restored(tmp_path):
  workdir = shutil.copytree(command.finished(), tmp_path / 'run')
  folder = workdir / 'checkpoints'
  for path in folder.iterdir():
    if path.name != '80':
      shutil.rmtree(path)
  good, rng = folder / '80', np.random.default_rng(0)
  files = files_of(good)
  bits = {path: 8 * path.stat().st_size for path in files}
  weights = np.array(list(bits.values())) / sum(bits.values())
  # Every file at least once, the others where the bits are.
  chosen = files + [files[i] for i in rng.choice(len(files), 200 - len(files), p=weights)]
  refused = 0
  for path in chosen:
    bit = int(rng.integers(bits[path]))
    flip(path, bit)
    with warnings.catch_warnings(record=True) as caught, Checkpoints(folder) as checkpoints:
      warnings.simplefilter('always')
      try:
        checkpoints.restore({}, {})  # what would be restored is looked at after the check
      except CheckpointError as error:
        refused += 'every checkpoint' in str(error) and '80' in str(error)
    assert len(caught) == 1
    (folder / 'damaged' / '80').rename(good)
    (folder / 'damaged').rmdir()
    flip(path, bit)
  assert refused == len(chosen) == 200
  # And it is these bits alone that it was refused for.
  assert command.restored(workdir).step == 80


def damage(workdir, step):
  path = max(files_of(workdir / 'checkpoints' / str(step)), key=lambda path: path.stat().st_size)
  flip(path, 4 * path.stat().st_size)


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_set_aside_and_the_older_one_used(tmp_path):
  workdir = shutil.copytree(command.finished(), tmp_path / 'run')
  (workdir / 'summary.json').unlink()
  damage(workdir, 80)
  done = command.train(workdir)
  assert done.returncode == 0
  assert 'going on from step 76' in done.stdout
  (warning,) = done.stderr.splitlines()
  assert warning.startswith(f'train.py: warning: checkpoint {workdir}/checkpoints/80 is damaged: ')
  assert warning.endswith(f'set aside as {workdir}/checkpoints/damaged/80')
  assert (workdir / 'checkpoints' / 'damaged' / '80').is_dir()
  command.assert_same_run(workdir, command.finished())


def test_if_all_checkpoints_are_damaged_nothing_is_started_afresh(tmp_path):
  workdir = shutil.copytree(command.finished(), tmp_path / 'run')
  (workdir / 'summary.json').unlink()
  steps = sorted(names(workdir), key=int)
  for step in steps:
    damage(workdir, step)
  log = (workdir / 'metrics.jsonl').read_bytes()
  for attempt in range(2):  # the second one finds nothing but what was set aside
    done = command.train(workdir)
    assert done.returncode == 2
    *warned, error = done.stderr.splitlines()
    assert len(warned) == (len(steps) if attempt == 0 else 0)
    assert error.startswith(
      f'train.py: error: every checkpoint in {workdir}/checkpoints is damaged: '
    )
    assert all(step in error for step in steps)
    assert not done.stdout
    assert (workdir / 'metrics.jsonl').read_bytes() == log
    assert names(workdir) == {'damaged'}
