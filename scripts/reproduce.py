"""Runs what a row of README's tables says again, and says whether it holds.

  python scripts/reproduce.py --row=digits_cnn            a config: one of its runs, by its command
  python scripts/reproduce.py --row=digits_cnn/seed3      that of results/digits_cnn/seed3.json
  python scripts/reproduce.py --row=gpt_f32               a case of scripts/peers.py

A figure of a config holds if it is as far from the mean of the recorded seeds as two standard
deviations of theirs, or 2% of it where that is more. A ratio holds if its interval (p10-p90) meets
the recorded one. Options that follow, such as --config.train.teacher=DIR, are added to the command:
for runs that begin with another.

Exit status: 0 if it holds, 1 if not, 2 on bad input.
"""

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import flags
from contestants.cases import CASES

from zoo import cli
from zoo.benchmark.records import by_seed, figure_of, read_peers, read_runs
from zoo.metrics import show
from zoo.names import unknown

ROOT = Path(__file__).resolve().parent.parent

FLAGS = flags.FLAGS
flags.DEFINE_string('row', None, 'Which.')
flags.DEFINE_string('workdir', None, 'For the run; a temporary one by default.')


def main(argv: list[str]) -> int:
  if not FLAGS.row:
    raise ValueError('--row is missing: a config that has results, or a case of scripts/peers.py')
  name, _, file = FLAGS.row.partition('/')
  recorded = sorted(path.name for path in (ROOT / 'results').iterdir())
  if name in recorded:
    with tempfile.TemporaryDirectory() as folder:
      return of_config(name, file, Path(FLAGS.workdir or folder), argv[1:])
  if name in CASES:
    if argv[1:]:
      raise ValueError(f'{argv[1]}: scripts/peers.py has no config to change')
    return of_peers(name)
  raise unknown('--row', name, [*recorded, *CASES])


def of_config(name: str, file: str, workdir: Path, more: list[str]) -> int:
  """A run of scripts/train.py."""
  folder = ROOT / 'results' / name
  path = folder / f'{file}.json' if file else sorted(folder.glob('*seed*.json'))[0]
  if not path.is_file():
    raise ValueError(f'there is no {path.relative_to(ROOT)}')
  recorded = json.loads(path.read_text())
  words = shlex.split(recorded['provenance']['command'])
  options = [word for word in words[2:] if not word.startswith('--workdir')]
  if words[1] != 'scripts/train.py':
    raise ValueError(
      f'{path.relative_to(ROOT)} was made by {words[1]}, which this cannot run again'
    )
  command = [sys.executable, words[1], *options, f'--workdir={workdir}', *more]
  status = subprocess.run(command, cwd=ROOT, check=False).returncode
  if status:
    raise ValueError(f'the command failed with status {status}: {shlex.join(command[1:])}')
  again = json.loads((workdir / 'summary.json').read_text())
  figure = figure_of(recorded)
  old, new = (statistics.mean(by_seed(runs_of(run))) for run in (recorded, again))
  seeds = by_seed(read_runs(folder))
  spread = statistics.stdev(seeds) if len(seeds) > 1 else 0.0
  allowed = max(2 * spread, 0.02 * abs(statistics.mean(seeds)))
  middle = old if len(seeds) == 1 or 'members' in recorded else statistics.mean(seeds)
  holds = abs(new - middle) <= allowed
  shown = f'{figure} {show(figure, new)}, recorded {show(figure, old)}'
  shown += f' (seeds: {show(figure, statistics.mean(seeds))} ± {show(figure, spread)})'
  print(f'{name}: {shown}: {"holds" if holds else "DOES NOT HOLD"}')
  return int(not holds)


def runs_of(summary: dict) -> list[dict]:
  """One run, or those side by side, as `read_runs` has them."""
  members = summary.get('members', {'': summary['metrics']} if 'metrics' in summary else {})
  return [summary | {'seed': i, 'metrics': found} for i, found in enumerate(members.values())]


def of_peers(case: str) -> int:
  """A case of scripts/peers.py."""
  found = read_peers(ROOT / 'benchmarks' / 'peers.jsonl')
  if case not in found:
    raise ValueError(f'{case} was not run yet: benchmarks/peers.jsonl has no such row')
  with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / 'peers.jsonl'
    command = [sys.executable, 'scripts/peers.py', f'--cases={case}', f'--json={file}']
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
      raise ValueError(f'the command failed: {shlex.join(command[1:])}')
    again = read_peers(file)[case]['ratio']
  recorded = found[case]['ratio']
  holds = again['p10'] <= recorded['p90'] and recorded['p10'] <= again['p90']
  describe = lambda q: f'{q["median"]:.2f} ({q["p10"]:.2f}-{q["p90"]:.2f})'
  text = f'{describe(again)} times as fast, recorded {describe(recorded)}'
  print(f'{case}: {text}: {"holds" if holds else "DOES NOT HOLD"}')
  return int(not holds)


if __name__ == '__main__':
  cli.run(main)
