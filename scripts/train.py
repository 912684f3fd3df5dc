"""Trains what a config describes, or goes on with a run that was interrupted.

  python scripts/train.py --config=configs/digits_cnn.py --workdir=runs/digits_cnn
  python scripts/train.py ... --config.optimizer.learning_rate=1e-3
  python scripts/train.py ... --config.train.seeds=8 [--sweep.optimizer.learning_rate=1e-3,3e-3]

  python scripts/train.py ... --sweep.optimizer.name=adamw,lamb --sweep.model.widths='(16,),(32,)'

The third runs eight seeds of each rate side by side in one compiled program; its figures are means
over all, with their spread, and summary.json has those of every member. The last changes the
program: its four runs come one after another, each in a folder of its own below the run directory,
where sweep.json says which is best.

Exit status: 0 when the run is complete, 2 on bad input, 3 when training met a value that is not
finite, 75 when a signal stopped it (all is saved; the same command goes on).
"""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_dict

from zoo import cli, huge_pages, platform, provenance, sweep
from zoo.experiment import Experiment, complete_config, make_experiment, runs_of
from zoo.judge import make_judges
from zoo.metrics import show
from zoo.optim import scheduled_learning_rate
from zoo.population import apart, reconfigure
from zoo.preview import make_preview
from zoo.robust import spread
from zoo.runs import initialize, keep, kept, program_of, teach
from zoo.training import run, rundir
from zoo.training.animation import animate
from zoo.training.checkpoint import Checkpoints
from zoo.training.curves import draw_curves
from zoo.training.interrupt import EXIT_INTERRUPTED, Interrupt
from zoo.training.lock import RunLock
from zoo.training.progress import Progress, Throughput
from zoo.training.selection import best_of_kept
from zoo.training.settings import TrainSettings
from zoo.training.watch import NonFiniteError, Watch
from zoo.training.writers import MetricWriter

EXIT_NONFINITE = 3

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'Config file; options follow as --config.section.option=value.')
flags.DEFINE_string('workdir', None, 'Run directory. One that holds a run goes on with it.')
flags.DEFINE_bool('allow_config_change', False, 'Go on with a run though its config has changed.')
flags.mark_flags_as_required(['config', 'workdir'])


def main(argv: list[str]) -> int:
  overrides, runs = sweep.combinations(argv[1:])
  load = lambda chosen: cli.load_config(FLAGS.config, [*overrides, *chosen], complete_config)
  configs = [load(chosen) for chosen in runs]  # all of them, before the first is trained
  huge_pages.ask()
  settings = TrainSettings(**configs[0].train.to_dict())
  platform.divide_cpu(len(runs_of(settings)), settings.cpu_threads)
  workdir = Path(FLAGS.workdir)
  if len(runs) == 1 and not runs[0]:
    return train_config(configs[0], workdir)
  folders = [sweep.folder_of(chosen) for chosen in runs]
  statuses = {}
  for folder, config in zip(folders, configs, strict=True):
    print(f'{folder}:')
    statuses[folder] = train_config(config, workdir / folder)
    if statuses[folder] not in (0, EXIT_NONFINITE):  # a run that diverges leaves the others
      return statuses[folder]
  if complete := [folder for folder in folders if not statuses[folder]]:
    found = sweep.summarize(workdir, complete)
    for folder, metrics in found['runs'].items():
      print(f'{folder}: {describe(metrics, found["by"])}')
    print(f'best: {found["best"]}')
  return max(statuses.values())


def train_config(config: config_dict.ConfigDict, workdir: Path) -> int:
  """Trains one run, or several side by side. Returns the exit status."""
  with Interrupt() as interrupt, RunLock(workdir):
    changed = check_config(workdir, config.to_dict())
    experiment = make_experiment(config, **({} if changed else kept(workdir)))
    try:
      return train(experiment, config.to_dict(), workdir, interrupt)
    except NonFiniteError as error:
      print(f'train.py: stopped: {error}; nothing of it was saved', file=sys.stderr)
      return EXIT_NONFINITE


def check_config(workdir: Path, config: dict[str, Any]) -> bool:
  """Whether the run was begun with another config; refuses to go on unless a flag allows it."""
  if not (workdir / 'config.json').exists():
    return False
  before = rundir.read_config(workdir)
  with contextlib.suppress(ValueError):  # an option that is new has had its default
    before = complete_config(before).to_dict()
  difference = rundir.config_difference(before, config)
  for line in difference:
    print(f'config has changed: {line}', file=sys.stderr)
  if difference and not FLAGS.allow_config_change:
    raise ValueError(
      f'{workdir} holds a run of another config: use another --workdir, or --allow_config_change'
    )
  return bool(difference)


def train(
  experiment: Experiment, config: dict[str, Any], workdir: Path, interrupt: Interrupt
) -> int:
  """Runs to the last step, from the newest checkpoint if there is one. Returns the exit status."""
  settings, dataset, parallel = experiment.settings, experiment.dataset, experiment.parallel
  source, batch_size = dataset.train, jax.tree.leaves(dataset.train.spec)[0].shape[0]
  origin = provenance.provenance()
  program = program_of(experiment, settings.steps_per_call)
  judges = make_judges(experiment, program.state)
  if settings.final == 'best' and 'validation' not in judges:
    raise ValueError("config.train.final='best' needs a validation split to be best on")
  preview = make_preview(experiment, program.state)
  checkpoints = Checkpoints(
    workdir / 'checkpoints',
    keep_last=settings.keep_last,
    keep_best=settings.keep_best,
    best=settings.best,
    mode=settings.best_mode,
  )
  with checkpoints:
    restored = checkpoints.restore(*program.abstract)
    if restored is None:
      step, past = 0, {'seconds': 0.0, 'skipped': 0}
      state, source_state = program.init(jax.random.key(settings.seed))
      if settings.init_from:
        state = initialize(experiment, program, state)
      if settings.teacher:
        state = teach(experiment, program, state)
    else:
      step, state, source_state, past = restored
      source_state = program.place_source(source_state)
      if step == settings.steps and (workdir / 'summary.json').exists():
        print(
          f'the run in {workdir} is complete: '
          f'{describe(rundir.read_summary(workdir)["metrics"], settings.best)}'
        )
        return 0
      if step > settings.steps:
        raise ValueError(f'the run in {workdir} is at step {step}, beyond steps={settings.steps}')
      # Leaves of the states, so what the checkpoint says of them would hold for ever.
      state, source_state = reconfigure(state, source_state, config)
      if experiment.is_population:
        state, source_state = apart(state, source_state, experiment.members)
      print(f'going on from step {step}')

    # Only now, so that a config that cannot be built, or is of another model than the checkpoint,
    # changes nothing; the config last, so that a kill between the two leaves a changed config.
    keep(dataset, workdir)
    for line in dataset.notes:
      print(line)
    rundir.write_config(workdir, config)

    start, started = step, time.perf_counter()
    watch, throughput = Watch(settings.on_nonfinite, past['skipped']), Throughput()
    seconds = lambda: past['seconds'] + time.perf_counter() - started

    with MetricWriter(workdir, step) as writer, Progress(settings.steps, step) as progress:
      calls = run(
        program,
        source,
        state,
        source_state,
        steps=settings.steps,
        start=start,
        steps_per_call=settings.steps_per_call,
        prefetch=settings.prefetch,
      )
      for state, source_state, scalars in calls:
        step += settings.steps_per_call
        watch.add(scalars.pop('nonfinite'))
        checkpoints.check()

        # What is written of a step is written before it is saved, and depends on nothing but it:
        # so a run that was killed ends with the same metrics.jsonl as one that was not.
        if is_due(step, settings.log_every, settings.steps):
          watch.look(state.params)
          rate = scheduled_learning_rate(state.opt_state).mean()  # of the members
          figures = jax.device_get(
            {f'train/{k}': v for k, v in scalars.items()} | {'learning_rate': rate}
          )
          figures |= {'train/skipped': watch.skipped} if watch.skipped else {}
          writer.write(step, figures)
          speed = throughput.update(step * batch_size * len(experiment.members))
          if speed is not None:
            writer.write_timing(step, {'examples_per_second': speed, 'seconds': seconds()})
          progress.update(step, figures, speed)

        with throughput.paused():
          reached = metrics = None
          if 'validation' in judges and is_due(step, settings.eval_every, settings.steps):
            reached = judges['validation'](state)
            metrics = spread(reached, settings.best)
            writer.write(step, {f'validation/{k}': v for k, v in metrics.items()})
            progress.write(f'step {step}: {describe({"validation": metrics}, settings.best)}')
          if is_due(step, settings.preview_every, settings.steps):
            for name, shown in preview(state).items():
              if isinstance(shown, str):
                writer.write_text(name, step, shown)
              else:
                writer.write_image(name, step, shown)
          if interrupt.requested or is_due(step, settings.checkpoint_every, settings.steps):
            watch.look(state.params)
            info = {'seconds': seconds(), 'skipped': watch.skipped}
            if reached is not None:
              info['validation'] = [of.get(settings.best, float('nan')) for of in reached]
            checkpoints.save(step, state, program.merge_source(source_state), info, metrics)
        if interrupt.requested and step < settings.steps:
          checkpoints.wait()
          progress.write(f'{interrupt.requested}: saved step {step}; the same command goes on')
          return EXIT_INTERRUPTED

    checkpoints.wait()
    finals = None
    if settings.final == 'best':
      state, finals = best_of_kept(checkpoints, program.abstract, settings, len(experiment.members))
    of_members = {split: judge(state) for split, judge in judges.items()}
    final = {split: spread(figures, settings.best) for split, figures in of_members.items()}
    draw_curves(workdir / 'metrics.jsonl', workdir / 'curves.png')
    animate(workdir / 'previews')
    summary = {
      'metrics': final,
      'best': settings.best,
      'steps': settings.steps,
      'seed': settings.seed,
      'strategy': parallel.strategy,
      'parameters': sum(x.size for x in jax.tree.leaves(state.params)) // len(experiment.members),
      'skipped_steps': watch.skipped,
      'seconds': seconds(),
      'examples_per_second': throughput.mean,
      'provenance': origin,
    }
    if experiment.is_population:
      names = [str(member) for member in experiment.members]
      summary['members'] = {
        name: {split: figures[i] for split, figures in of_members.items()}
        for i, name in enumerate(names)
      }
    if finals is not None:
      summary['final_steps'] = finals  # of the members, in their order
    rundir.write_summary(workdir, summary)
  print(f'complete after {summary["seconds"]:.0f} s: {describe(final, settings.best)}')
  for who, figures in summary.get('members', {}).items():
    print(f'  {who}: {describe(figures, settings.best)}')
  for kind, path in (
    ('checkpoint', f'checkpoints/{step}'),
    ('curves', 'curves.png'),
    ('previews', 'previews'),
  ):
    print(f'  {kind:11}{workdir / path}')
  return 0


def is_due(step: int, every: int, last: int) -> bool:
  """Whether something is done at this step: every so often (0: never), and at the last."""
  return step == last or (every > 0 and step % every == 0)


def describe(metrics: dict[str, dict[str, float]], best: str) -> str:
  """Figures by split in words: the one to judge by, and the loss if it is a figure of a split."""
  figures = lambda of_split: (
    {best: float('nan')} | {name: of_split[name] for name in (best, 'loss') if name in of_split}
  )
  return ', '.join(
    f'{split} ' + ' '.join(f'{name} {show(name, x)}' for name, x in figures(of_split).items())
    for split, of_split in sorted(metrics.items(), reverse=True)  # the test comes last
  )


if __name__ == '__main__':
  cli.run(main)
