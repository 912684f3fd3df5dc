"""Trains a config under several seeds at once, in one compiled program, and reports their spread.

  python scripts/seeds.py --config=configs/cartpole_dqn.py --seeds=20 --out=runs/cartpole_20

On one device, for data on the device. Seed i is the run that --config.train.seed=i would be. Each
member is judged on the validation split every `train.eval_every` steps, and on the test split with
its last parameters, and with those that were best on validation. Figures are the interquartile mean
over seeds, with a 95% bootstrap interval.

Leaves seeds.json (every figure of every seed, times, where it ran) and curves.png (the mean and the
band). There are no checkpoints: a run that is stopped starts again.
"""

import io
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from zoo import cli, huge_pages, provenance
from zoo.experiment import complete_config, make_experiment
from zoo.population import build_population, figures_of, train_population
from zoo.robust import bootstrap_interval, interquartile_mean
from zoo.training import rundir

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'Config file; options follow as --config.section.option=value.')
flags.DEFINE_integer('seeds', 8, 'How many, from train.seed on.', lower_bound=1)
flags.DEFINE_string('out', None, 'Directory for what was found.')
flags.mark_flags_as_required(['config', 'out'])


def main(argv: list[str]) -> int:
  config = cli.load_config(FLAGS.config, argv[1:], complete_config)
  huge_pages.ask()
  experiment = make_experiment(config, devices=jax.devices()[:1])
  settings, dataset = experiment.settings, experiment.dataset
  best, lowest = settings.best, settings.best_mode == 'min'
  if 'validation' not in dataset.evaluation:
    raise ValueError('config.data.validation names nothing to choose by')
  seeds = range(settings.seed, settings.seed + FLAGS.seeds)
  population = build_population(
    experiment.objective, experiment.tx, dataset.train, settings.steps_per_call
  )
  judges = {split: population.evaluate(source) for split, source in dataset.evaluation.items()}
  judged = lambda split, state: figures_of(judges[split](state), len(seeds))
  chosen = jax.jit(
    lambda better, new, old: jax.tree.map(
      lambda n, o: jnp.where(better.reshape(-1, *(1,) * (n.ndim - 1)), n, o), new, old
    )
  )

  started, first_call, curve = time.perf_counter(), 0.0, []
  kept: Any = None
  state: Any = None
  record = np.full(len(seeds), np.inf if lowest else -np.inf)
  calls = train_population(
    population, dataset.train, seeds, settings.steps, settings.steps_per_call
  )
  judging = 0.0
  for done, state, _, scalars in calls:
    if not first_call:
      jax.block_until_ready(scalars)
      first_call = time.perf_counter() - started
    if done == settings.steps or (settings.eval_every and done % settings.eval_every == 0):
      jax.block_until_ready(scalars)
      begun = time.perf_counter()
      if (bad := np.asarray(scalars['nonfinite'])[:, 0].max()) >= 0:
        raise ValueError(f'step {bad} of a seed was not finite')
      values = np.array([figures[best] for figures in judged('validation', state)])
      curve.append({'step': done, best: values.tolist()})
      better = values < record if lowest else values > record
      record = np.where(better, values, record)
      now = jax.tree.map(jnp.copy, (state.params, state.extras))
      kept = now if kept is None else chosen(better, now, kept)
      print(f'step {done}: validation {best} {describe(values)}', flush=True)
      judging += time.perf_counter() - begun
  jax.block_until_ready(state)
  seconds = time.perf_counter() - started

  split = 'test' if 'test' in judges else 'validation'
  found = {'last': judged(split, state)}
  found['best'] = judged(split, state.replace(params=kept[0], extras=kept[1]))
  for which, figures in found.items():
    print(f'{which:4} {split} {best} {describe(np.array([f[best] for f in figures]))}')
  updates = settings.steps - settings.steps_per_call
  rate = updates * len(seeds) / (seconds - first_call - judging)
  print(
    f'{seconds:.0f} s, {first_call:.0f} of them for compilation and the first call, '
    f'{judging:.0f} for judging; {rate:,.0f} steps/s of all seeds'
  )

  out = Path(FLAGS.out)
  out.mkdir(parents=True, exist_ok=True)
  summary = {
    'config': config.to_dict(),
    'seeds': list(seeds),
    'split': split,
    'found': found,
    'iqm': {k: summary_of(np.array([f[best] for f in v])) for k, v in found.items()},
    'curve': curve,
    'seconds': seconds,
    'first_call_seconds': first_call,
    'judging_seconds': judging,
    'steps_per_second': rate,
    'provenance': provenance.provenance(),
  }
  rundir.atomic_write(out / 'seeds.json', json.dumps(summary, indent=1) + '\n')
  rundir.atomic_write(out / 'curves.png', draw(curve, best))
  return 0


def summary_of(values: np.ndarray) -> dict[str, Any]:
  return {'iqm': interquartile_mean(values), 'interval_95': bootstrap_interval(values)}


def describe(values: np.ndarray) -> str:
  """The interquartile mean with its interval, and the extremes."""
  low, high = bootstrap_interval(values)
  return (
    f'IQM {interquartile_mean(values):.2f} [{low:.2f}, {high:.2f}], '
    f'from {values.min():.2f} to {values.max():.2f}'
  )


def draw(curve: list[dict[str, Any]], best: str) -> bytes:
  """Draws the interquartile mean by step, in a band of its interval."""
  from matplotlib.figure import Figure

  steps = [point['step'] for point in curve]
  values = [np.array(point[best]) for point in curve]
  bands = np.array([bootstrap_interval(v) for v in values])
  figure = Figure(figsize=(6, 4), layout='constrained')
  axes = figure.add_subplot()
  axes.fill_between(steps, bands[:, 0], bands[:, 1], alpha=0.25, linewidth=0, color='#0072B2')
  axes.plot(steps, [interquartile_mean(v) for v in values], color='#0072B2')
  axes.set_xlabel('step')
  axes.set_title(f'{best.replace("_", " ")}: IQM of {len(values[0])} seeds, 95% interval')
  axes.spines[['top', 'right']].set_visible(False)
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png', dpi=120)
  return buffer.getvalue()


if __name__ == '__main__':
  cli.run(main)
