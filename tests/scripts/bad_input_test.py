"""Bad input ends in one line that names the culprit, a status that is not 0, and nothing lost.

Through the script where the exit status, the one line or the disk is what counts; in this process
where a ValueError, which the script prints (tests/cli_test.py), says it all.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import fake_data
from tests.scripts import command
from zoo.data import dataset
from zoo.experiment import complete_config, make_experiment
from zoo.training import rundir
from zoo.training.lock import RunLock


def refuse(**sections):
  """The message with which an experiment of a small config is refused."""
  values = {
    'model': {'name': 'mlp'},
    'objective': {'name': 'classification'},
    'data': {'name': 'digits', 'dir': str(command.home() / 'tfds'), 'batch_size': 16},
    'optimizer': {},
    'train': {},
  }
  with pytest.raises(ValueError) as error:
    make_experiment(
      complete_config({name: values[name] | sections.get(name, {}) for name in values})
    )
  message = str(error.value)
  assert len(message.splitlines()) == 1
  return message


# --- in this process: config ----------------------------------------------------------------------


@pytest.mark.parametrize(
  ('sections', 'expected'),
  [
    ({'model': {'name': 'mpl'}}, "unknown model 'mpl'; did you mean 'mlp'?"),
    ({'model': {'widhts': (8,)}}, "option of config.model 'widhts'; did you mean 'widths'?"),
    ({'objective': {'name': 'clasification'}}, "did you mean 'classification'?"),
    ({'objective': {'label_smoothing': 2.0}}, 'label_smoothing must be in [0, 1], not 2.0'),
    ({'objective': {'ema_decay': 1.5}}, '1.5'),
    ({'objective': {'class_weights': (1.0,)}}, 'class_weights must be 10 numbers, not 1'),
    ({'data': {'name': 'digist'}}, "unknown dataset 'digist'; did you mean 'digits'"),
    ({'data': {'train': 'trian'}}, "no split 'trian'; there is train (1,500 examples)"),
    ({'data': {'batch_size': -16}}, 'config.data.batch_size must be at least 1, not -16'),
    ({'data': {'eval_batch_size': -1}}, 'config.data.eval_batch_size must be at least 1, not -1'),
    ({'data': {'batch_size': 12}}, 'a batch of 12 cannot be divided among 8 devices'),
    ({'data': {'eval_batch_size': 12}}, 'a batch of 12 cannot be divided among 8 devices'),
    ({'data': {'normalization': 'standardise'}}, "did you mean 'standardize'?"),
    ({'data': {'augment': {'mixip': {}}}}, "unknown augmentation 'mixip'; did you mean 'mixup'?"),
    ({'optimizer': {'name': 'adagard'}}, "unknown optimizer 'adagard'; did you mean 'adagrad'?"),
    ({'optimizer': {'learning_rate': 'fast'}}, "optimizer.learning_rate must be float, not 'fast'"),
    (
      {'optimizer': {'learning_rate': -0.1}},
      'learning_rate must be a number in [0, inf), got -0.1',
    ),
    ({'optimizer': {'schedule': 'cosin'}}, "unknown schedule 'cosin'; did you mean 'cosine'?"),
    ({'train': {'steps': 0}}, 'config.train.steps must be at least 1, not 0'),
    ({'train': {'steps': 10.5}}, 'config.train.steps must be int, not 10.5'),
    ({'train': {'parallel': 'pmpa'}}, "unknown strategy 'pmpa'; did you mean 'pmap'?"),
    ({'train': {'on_nonfinite': 'stop'}}, "must be halt or skip, not 'stop'"),
    ({'train': {'steps': 100, 'steps_per_call': 7}}, 'is no multiple of steps_per_call=7'),
    ({'trian': {'steps': 10}}, "section of config 'trian'; did you mean 'train'?"),
  ],
)
def test_a_wrong_config_is_named(sections, expected):
  if 'trian' in sections:
    with pytest.raises(ValueError, match=re.escape(expected)):
      complete_config(sections)
  else:
    assert expected in refuse(**sections)


# --- in this process: data ------------------------------------------------------------------------


def folder_of(path, **options):
  return {'name': f'folder:{path}', 'image_size': (8, 8), 'test': '', **options}


def test_a_folder_without_images_or_with_one_class_is_named(tmp_path):
  empty = tmp_path / 'empty'
  empty.mkdir()
  assert f'{empty}: no images' in refuse(data=folder_of(empty))
  (empty / 'cat').mkdir()
  (empty / 'cat' / 'notes.txt').write_text('no image')
  assert f'{empty}/cat: no images' in refuse(data=folder_of(empty))
  one = fake_data.make_folder(tmp_path / 'one', ('cat',))
  assert f"{one}: only one class, 'cat'" in refuse(data=folder_of(one))
  missing = tmp_path / 'nowhere'
  assert f'{missing}: no such folder' in refuse(data=folder_of(missing))
  both = fake_data.make_folder(tmp_path / 'both', ('cat', 'dog'))
  assert 'config.data.image_size' in refuse(data=folder_of(both, image_size=()))


@pytest.mark.parametrize(
  ('options', 'expected'),
  [
    ({}, "the data 'photos' have no num_classes, which classification needs"),
    ({'classes': (0, 1)}, 'photos has no class labels, by which config.data.classes chooses'),
    ({'labels_per_class': 1}, 'no class labels, by which config.data.labels_per_class chooses'),
    ({'name': 'photos/65'}, "unknown config of dataset 'photos' '65'; did you mean '64'?"),
  ],
)
def test_pictures_without_labels_have_none_to_learn_or_to_choose_by(options, expected):
  assert expected in refuse(data={'name': 'photos', **options})


@pytest.mark.parametrize('on_device', [True, False])
def test_a_truncated_jpeg_is_named(tmp_path, on_device):
  from PIL import Image

  folder = fake_data.make_folder(tmp_path / 'both', ('cat', 'dog'))
  broken = folder / 'dog' / 'broken.jpg'
  pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
  Image.fromarray(pixels).save(broken)
  broken.write_bytes(broken.read_bytes()[:1000])
  # Streamed images are decoded when their turn comes; all of them for the statistics.
  data = folder_of(folder, on_device=on_device)
  assert f'{broken}: cannot decode this image' in refuse(data=data)


def records_with(monkeypatch, images=None, labels=None):
  records = fake_data.make_records((4, 4, 1), 3, 32)
  if images is not None:
    records = records.__class__(images, records.labels, 3)
  if labels is not None:
    records = records.__class__(records.images, labels, 3)
  monkeypatch.setattr(dataset, 'open_records', lambda *_: records)


@pytest.mark.parametrize('label', [-1, 3])
def test_a_label_out_of_range_is_named(monkeypatch, label):
  labels = np.arange(32) % 3
  labels[17] = label
  records_with(monkeypatch, labels=labels)
  assert refuse() == f"fake record 17: 'label' is {label}, but must be in [0, 3)"


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_a_value_in_the_data_that_is_not_finite_is_named(monkeypatch, value):
  images = np.zeros((32, 4, 4, 1), np.float32)
  images[9, 1, 2] = value
  records_with(monkeypatch, images=images)
  assert refuse() == f"fake record 9: 'image' is {value}, but must be finite"


# --- through the script: one line, a status, and nothing begun ------------------------------------


def test_a_wrong_flag(tmp_path):
  message = command.refusal(command.train(tmp_path / 'run', '--alow_config_change'))
  assert message.startswith("train.py: error: Unknown command line flag 'alow_config_change'.")
  assert 'Did you mean: allow_config_change' in message
  assert not (tmp_path / 'run').exists()


def test_a_wrong_option(tmp_path):
  message = command.refusal(command.train(tmp_path / 'run', '--config.optimizer.learnin_rate=1'))
  assert message.startswith(
    "train.py: error: unknown option of config.optimizer 'learnin_rate'; "
    "did you mean 'learning_rate'?"
  )
  assert not (tmp_path / 'run').exists()


def test_what_is_found_while_the_model_is_built_begins_no_run(tmp_path):
  workdir = tmp_path / 'run'
  message = command.refusal(command.train(workdir, '--config.model.activation=rellu'))
  assert message.startswith("train.py: error: unknown activation 'rellu'; did you mean 'relu'?")
  # Not a trace, so that the corrected command does not meet "a run of another config".
  assert [path.name for path in workdir.iterdir()] == ['.lock']


def test_a_batch_that_does_not_divide(tmp_path):
  done = command.train(tmp_path / 'run', '--config.data.batch_size=18', devices=4)
  message = command.refusal(done)
  assert message == 'train.py: error: a batch of 18 cannot be divided among 4 devices'
  assert [path.name for path in (tmp_path / 'run').iterdir()] == ['.lock']


def test_a_file_in_the_place_of_the_run_directory(tmp_path):
  (tmp_path / 'run').write_text('precious')
  message = command.refusal(command.train(tmp_path / 'run'))
  assert message == f'train.py: error: cannot write to {tmp_path}/run: File exists'
  assert (tmp_path / 'run').read_text() == 'precious'


def test_a_run_directory_in_use(tmp_path):
  with RunLock(tmp_path / 'run'):
    message = command.refusal(command.train(tmp_path / 'run'))
  assert message.startswith(f'train.py: error: {tmp_path}/run is in use by ')
  assert f'process {os.getpid()}, since ' in message
  assert 'pytest' in message


# --- values that are not finite -------------------------------------------------------------------

# The first update is the size of the learning rate whatever the gradient: the second loss is not
# finite, or the gradient of it.
EXPLODE = '--config.optimizer.learning_rate=3e38'


def test_training_that_explodes_halts_and_names_step_and_leaf(tmp_path):
  workdir = tmp_path / 'run'
  message = command.refusal(command.train(workdir, EXPLODE), status=3)
  found = re.fullmatch(
    r'train\.py: stopped: step (\d+): the (loss|(gradient|update) of \S+) is not finite; '
    r'nothing of it was saved',
    message,
  )
  assert found, message
  step = int(found[1])
  assert step < 12
  saved = [int(p.name) for p in (workdir / 'checkpoints').glob('*') if p.name.isdecimal()]
  assert all(s <= step for s in saved)
  for s in saved:
    state = command.restored(workdir, s).state
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


@pytest.mark.slow
def test_training_that_explodes_goes_on_if_told_to_and_counts(tmp_path):
  workdir = tmp_path / 'run'
  options = (EXPLODE, '--config.train.on_nonfinite=skip', '--config.train.steps=24')
  command.train_to_end(workdir, *options)
  skipped = rundir.read_summary(workdir)['skipped_steps']
  assert 0 < skipped <= 24
  last = [r for r in rundir.read_metrics(workdir / 'metrics.jsonl') if 'train/loss' in r][-1]
  assert last['train/skipped'] == skipped
  state = command.restored(workdir).state
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


# --- a run of another config ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_of_another_config_is_refused_unless_a_flag_allows_it(tmp_path):
  workdir = command.unfinished(tmp_path / 'run')
  before = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file() and p.name != '.lock'}
  changed = ('--config.optimizer.learning_rate=0.5', '--config.train.seed=7')

  done = command.train(workdir, *changed)
  assert done.returncode == 2
  assert done.stderr.splitlines() == [
    'config has changed: optimizer.learning_rate: 0.01 -> 0.5',
    'config has changed: train.seed: 0 -> 7',
    f'train.py: error: {workdir} holds a run of another config: use another --workdir, or '
    '--allow_config_change',
  ]
  assert all(path.read_bytes() == data for path, data in before.items())

  done = command.train(workdir, *changed, '--allow_config_change')
  assert done.returncode == 0, done.stderr
  assert 'going on from step 76' in done.stdout
  log = rundir.read_metrics(workdir / 'metrics.jsonl')
  rates = {r['step']: r['learning_rate'] for r in log if 'learning_rate' in r}
  assert rates[76] == pytest.approx(0.01)
  # An update happens at every third step; the rate is the one that the latest update used.
  assert rates[80] == pytest.approx(0.5)
  assert rundir.read_config(workdir)['train']['seed'] == 7


def test_a_config_of_another_model_changes_nothing(tmp_path):
  workdir = command.unfinished(tmp_path / 'run')
  before = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file() and p.name != '.lock'}
  done = command.train(workdir, '--config.model.widths=(9,)', '--allow_config_change')
  assert done.returncode == 2
  difference, error = done.stderr.splitlines()
  assert difference == 'config has changed: model.widths: [8] -> [9]'
  assert error.startswith(f'train.py: error: checkpoint {workdir}/checkpoints/76 is of another mod')
  assert all(path.read_bytes() == data for path, data in before.items())


def test_fewer_steps_than_the_run_has_is_an_error(tmp_path):
  workdir = command.unfinished(tmp_path / 'run')
  done = command.train(workdir, '--config.train.steps=40', '--allow_config_change')
  assert done.returncode == 2
  error = f'train.py: error: the run in {workdir} is at step 76, beyond steps=40'
  assert done.stderr.splitlines()[-1] == error


# --- a full disk ----------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder: Path):
  """A file system of 4 MB; None if this process may not mount one."""
  folder.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', str(folder)]
  try:
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
  except FileNotFoundError:
    mounted = False
  try:
    yield folder if mounted else None
  finally:
    if mounted:
      subprocess.run(['umount', str(folder)], check=True)


def fill(folder):
  """Takes all that is left of a disk."""
  with open(folder / 'filler', 'wb', buffering=0) as file:
    for size in (1 << 16, 1):
      with contextlib.suppress(OSError):
        while True:
          file.write(b'\0' * size)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path):
  with small_disk(tmp_path / 'disk') as disk:
    if disk is None:
      pytest.skip('may not mount a file system')
    workdir = command.unfinished(disk / 'run')
    fill(disk)
    message = command.refusal(command.train(workdir))
    assert message.startswith('train.py: error: ')
    assert 'No space left on device' in message
    assert str(workdir) in message
    assert command.restored(workdir).step == 76
    (disk / 'filler').unlink()
    command.train_to_end(workdir)
    command.assert_same_run(workdir, command.finished())


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_ends_the_run(tmp_path):
  workdir = shutil.copytree(command.finished(), tmp_path / 'run')
  # No file may grow as large as the arrays of a checkpoint; all others are smaller.
  files = [path for path in (workdir / 'checkpoints').rglob('*') if path.is_file()]
  limit = max(path.stat().st_size for path in files) - 100
  assert (workdir / 'metrics.jsonl').stat().st_size < limit - 1000
  options = (f'--workdir={workdir}', '--config.train.steps=160', '--allow_config_change')
  done = subprocess.run(
    [sys.executable, '-c', LIMITED, str(limit), *command.line('train', *options)],
    env=command.environment(),
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 2, done.stderr
  assert done.stderr.splitlines()[1:] == [
    f'train.py: error: cannot save the checkpoint of step 84 in {workdir}/checkpoints: '
    'File too large; the last complete one is of step 80'
  ]
  assert command.restored(workdir).step == 80
