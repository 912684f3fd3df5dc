"""Writes README's table of results from the summaries of runs under results/.

  python scripts/results.py            writes the table
  python scripts/results.py --check    exits with 1 if the table is not what the files say

A row is a config: results/CONFIG/seed*.json are the `summary.json` files of its runs. Of a config
with an argument, results/CONFIG/digit3_seed0.json and so on, the runs of a seed count as one: their
mean. results/CONFIG/seeds.json is of a run of several seeds side by side (`train.seeds`), each of
which counts. A config that nobody ran has a row that says so.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from absl import flags

from zoo import cli
from zoo.metrics import show

ROOT = Path(__file__).resolve().parent.parent
BEGIN = '<!-- results: written by scripts/results.py, do not edit -->\n'
END = '<!-- /results -->\n'
HEADER = '| config | parameters | test | seeds | fastest run | device | versions | commit |\n'

FLAGS = flags.FLAGS
flags.DEFINE_bool('check', False, 'Only compare.')


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'unexpected argument {argv[1]}')
  readme = ROOT / 'README.md'
  text = readme.read_text()
  fresh = replace_table(text, make_table(ROOT / 'configs', ROOT / 'results'))
  if FLAGS.check:
    if fresh != text:
      print('README.md: the results are not what the files say; run python scripts/results.py')
    return int(fresh != text)
  readme.write_text(fresh)
  return 0


def replace_table(text: str, table: str) -> str:
  """Puts the table between its two marks.

  Raises:
    ValueError: there are no marks.
  """
  before, begin, rest = text.partition(BEGIN)
  _, end, after = rest.partition(END)
  if not (begin and end):
    raise ValueError('README.md has lost the marks between which the results stand')
  return before + begin + table + end + after


def make_table(configs: Path, results: Path) -> str:
  """A Markdown table with one row per config."""
  rows = [
    make_row(path.stem, read_runs(results / path.stem)) for path in sorted(configs.glob('*.py'))
  ]
  return HEADER + '|---|---|---|---|---|---|---|---|\n' + ''.join(rows)


def read_runs(folder: Path) -> list[dict[str, Any]]:
  """The summaries of a config's runs.

  Raises:
    ValueError: a file without its provenance.
  """
  runs = []
  for path in sorted(folder.glob('*seed*.json')):
    run = json.loads(path.read_text())
    if not run.get('provenance', {}).get('git_commit'):
      raise ValueError(f'{path} does not say which commit it was measured at')
    if 'members' in run:
      alone = {name: value for name, value in run.items() if name != 'members'}
      runs += [
        alone | {'seed': run['seed'] + i, 'metrics': figures}
        for i, figures in enumerate(run['members'].values())
      ]
    else:
      runs.append(run | {'seed': int(path.stem.rpartition('seed')[2])})
  return runs


def make_row(name: str, runs: list[dict[str, Any]]) -> str:
  """The row of a config: what its runs were judged by, mean and standard deviation over seeds."""
  if not runs:
    return f'| `{name}` | | not run | | | | | |\n'
  figure = runs[0].get('best', 'accuracy')
  of_seeds: dict[int, list[float]] = {}
  for run in runs:
    of_seeds.setdefault(run['seed'], []).append(run['metrics']['test'][figure])
  values = [statistics.mean(of_seed) for of_seed in of_seeds.values()]
  spread = f' ± {show(figure, statistics.stdev(values))}' if len(values) > 1 else ''
  seconds = min(run['seconds'] for run in runs)  # the others shared the machine with more
  origin = runs[0]['provenance']
  platform = origin['platform']
  device = (
    f'{origin["cpu_cores"]} cores, {origin["cpu"]}' if platform == 'cpu' else origin['device_kind']
  )
  versions = ', '.join(f'{k} {origin["versions"][k]}' for k in ('jax', 'flax'))
  commits = ', '.join(sorted({run['provenance']['git_commit'][:8] for run in runs}))
  shown = f'{figure.replace("_", " ")} {show(figure, statistics.mean(values))}{spread}'
  cells = [f'`{name}`', f'{runs[0]["parameters"]:,}', shown, str(len(values))]
  cells += [f'{seconds:.0f} s', device, versions, commits]
  return f'| {" | ".join(cells)} |\n'


if __name__ == '__main__':
  cli.run(main)
