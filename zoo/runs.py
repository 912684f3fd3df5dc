"""What a run directory keeps beside its checkpoints, and how to open one that was trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import config_dict

from zoo import population
from zoo.data import normalize, tokenizers
from zoo.data.dataset import Dataset
from zoo.experiment import Experiment, complete_config, make_experiment
from zoo.interop.hub import load_pretrained
from zoo.interop.initial import match_variables
from zoo.population import build_population
from zoo.training import build, rundir
from zoo.training.checkpoint import CheckpointError, Checkpoints
from zoo.training.program import Program
from zoo.types import PyTree, TrainState

STATISTICS = 'normalization.json'


def keep(dataset: Dataset, workdir: Path) -> None:
  """Writes what a run computed from its data, so that it goes on, and is used, with the same."""
  if dataset.statistics:
    normalize.save(dataset.statistics, workdir / STATISTICS)
  if dataset.tokenizer:
    dataset.tokenizer.save(workdir)


def kept(workdir: Path) -> dict[str, Any]:
  """What `keep` wrote, as arguments of `make_experiment`; {} where there is nothing.

  Raises:
    ValueError: a damaged file.
  """
  found = {}
  if (workdir / STATISTICS).exists():
    found['statistics'] = normalize.load(workdir / STATISTICS)
  if tokenizers.held_by(workdir):
    found['tokenizer'] = tokenizers.load(workdir)
  return found


def program_of(experiment: Experiment, steps_per_call: int = 1) -> Program:
  """What an experiment runs: of one run, or of several side by side."""
  objective, tx, source = experiment.objective, experiment.tx, experiment.dataset.train
  skip = experiment.settings.on_nonfinite == 'skip'
  if not experiment.is_population:
    return build(objective, tx, source, experiment.parallel, steps_per_call, skip)
  return build_population(
    objective, tx, source, experiment.parallel, experiment.members, steps_per_call, skip
  )


class Run(NamedTuple):
  """A run as it was saved.

  Attributes:
    config: complete.
    experiment: what the config describes.
    program: of one step a call.
    step: of the checkpoint.
    state: of the checkpoint.
  """

  config: config_dict.ConfigDict
  experiment: Experiment
  program: Program
  step: int
  state: TrainState

  @property
  def variables(self) -> PyTree:
    """What the module is used with: {'params': ...} and its other collections."""
    return self.experiment.objective.variables(self.state.params, self.state.extras)


def open_run(
  workdir: Path,
  which: str = 'last',
  member: str | None = 'best',
  devices: Sequence[Any] | None = None,
) -> Run:
  """Restores a run.

  Args:
    workdir: its directory.
    which: the checkpoint: 'last', 'best' or a number. Of several runs side by side 'best' has the
      best mean, or is each one's own where `train.final` is 'best'.
    member: which of several runs that were trained side by side: 'best', the one whose validation
      figures were best at the end; a number from 0 on; or None for all, with an axis of members.
    devices: to use it on; all by default.

  Raises:
    ValueError: the directory holds no run, or the run no such checkpoint or member.
    CheckpointError: there is no good checkpoint.
  """
  config = complete_config(rundir.read_config(workdir))
  experiment = make_experiment(config, devices=devices, **kept(workdir))
  program, settings = program_of(experiment), experiment.settings
  number = None
  if experiment.is_population and member is not None:
    number = number_of(member, experiment, workdir)
  if which == 'best' and number is not None:
    which = best_of_member(workdir, number)
  folder = workdir / 'checkpoints'
  with Checkpoints(folder, best=settings.best, mode=settings.best_mode) as checkpoints:
    restored = checkpoints.restore(*program.abstract, step=choose(checkpoints, which))
  if restored is None:
    raise CheckpointError(f'the run in {workdir} has no checkpoint yet')
  step, state = restored.step, restored.state
  if number is not None:
    experiment = experiment.alone
    state = population.member_on(state, number, experiment.parallel)
    program = program_of(experiment)
  return Run(config, experiment, program, step, state)


def number_of(member: str, experiment: Experiment, workdir: Path) -> int:
  """The number of a member, by number or by being the best on validation."""
  settings, count = experiment.settings, len(experiment.members)
  if member == 'best':
    if not (workdir / 'summary.json').exists():
      raise ValueError(
        f'the run in {workdir} is not complete: no member is best; say which, 0 to {count - 1}'
      )
    known = rundir.read_summary(workdir)['members']  # sorted by name, where 10 is before 2
    found = [known[str(one)] for one in experiment.members]
    values = [float(figures.get('validation', {}).get(settings.best, 'nan')) for figures in found]
    if not np.isfinite(values).any():
      raise ValueError(f'no member of {workdir} has a {settings.best} on validation to be best by')
    return int(np.nanargmin(values) if settings.best_mode == 'min' else np.nanargmax(values))
  if not member.isdecimal() or int(member) >= count:
    raise ValueError(f"--member must be 'best' or a number from 0 to {count - 1}, not {member!r}")
  return int(member)


def initialize(experiment: Experiment, program: Program, state: TrainState) -> TrainState:
  """Gives a fresh state the weights, and batch statistics, that `train.init_from` names.

  Args:
    experiment: whose settings name a folder of published weights, a name on the Hugging Face hub,
      or the directory of an earlier run (its best checkpoint, or its last if it has no best).
    program: of the run.
    state: from `program.init`.

  Raises:
    ValueError: no such weights, or some that do not fit; one line that lists them. Or they were
      made with another tokenizer.
  """
  objective, settings = experiment.objective, experiment.settings
  loaded, tokenizer = weights_of(settings.init_from)
  if tokenizer is not None and experiment.dataset.tokenizer is not None:
    tokenizers.require_same(
      experiment.dataset.tokenizer, tokenizer.fingerprint, f'train.init_from={settings.init_from}'
    )

  def adopted(held: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    variables = match_variables(
      objective.variables(*held),
      loaded,
      settings.init_ignore,
      getattr(experiment.module, 'vocab_size', 0),
    )
    return objective.adopt(*held, variables)

  held = jax.device_get((state.params, state.extras))
  params, extras = population.change_each(adopted, held, len(experiment.members))
  placed = experiment.parallel.put((params, extras), (program.state.params, program.state.extras))
  return state.replace(params=placed[0], extras=placed[1])


def teach(experiment: Experiment, program: Program, state: TrainState) -> TrainState:
  """Puts the variables of the run that `train.teacher` names into the extras of a fresh state.

  They replace the leaf 'teacher', however deep wrappers have put it. What the run is best with is
  taken: its average, if it has one, at its best checkpoint, if it has one.

  Args:
    experiment: whose objective keeps a teacher.
    program: of the run.
    state: from `program.init`.

  Raises:
    ValueError: no such run, one whose model does not fit, or one whose inputs were standardised
      otherwise; one line.
  """
  workdir = experiment.settings.teacher
  run = best_of(Path(workdir), jax.local_devices()[:1])
  mine, its = experiment.dataset.statistics, run.experiment.dataset.statistics
  same = (mine is None) == (its is None)
  if mine and its:
    same = all(np.allclose(mine[k], its[k], rtol=1e-3) for k in mine)
  if not same:
    raise ValueError(f'train.teacher={workdir} has learnt from inputs standardised otherwise')
  loaded = jax.device_get(run.variables)

  def replaced(tree: PyTree) -> PyTree:
    if not isinstance(tree, dict):
      return tree
    return {
      name: match_variables(x, loaded) if name == 'teacher' else replaced(x)
      for name, x in tree.items()
    }

  held = jax.device_get(state.extras)
  extras = population.change_each(replaced, held, len(experiment.members))
  return state.replace(extras=experiment.parallel.put(extras, program.state.extras))


def weights_of(source: str) -> tuple[PyTree, Any]:
  """Variables and tokenizer (or None) of an earlier run, or of a model that was published."""
  folder = Path(source)
  if not (folder / 'checkpoints').is_dir():
    return load_pretrained(source)[1:]
  run = best_of(folder, jax.local_devices()[:1])
  return jax.device_get(run.variables), run.experiment.dataset.tokenizer


def best_of(workdir: Path, devices: Sequence[Any] | None = None) -> Run:
  """A run at its best checkpoint, or at its last if there is no best; on all devices, or these."""
  try:
    return open_run(workdir, 'best', devices=devices)
  except ValueError:
    return open_run(workdir, devices=devices)


def best_of_member(workdir: Path, number: int) -> str:
  """The step where a member was best, where `train.final` is 'best'; 'best' of all elsewhere."""
  path = workdir / 'summary.json'
  steps = rundir.read_summary(workdir).get('final_steps') if path.exists() else None
  return str(steps[number]) if steps else 'best'


def choose(checkpoints: Checkpoints, which: str) -> int | None:
  """The step that 'last', 'best' or a number means; None for the newest good one."""
  if which == 'last':
    return None
  if which == 'best':
    step = checkpoints.best_step()
    if step is None:
      raise ValueError('no checkpoint of this run has a validation figure to be best by')
    return step
  if not which.isdecimal():
    raise ValueError(f"--step must be 'last', 'best' or a number, not {which!r}")
  return int(which)
