"""Writes README's tables from what was measured.

  python scripts/results.py            writes the tables
  python scripts/results.py --check    exits with 1 if a table is not what the files say

Of quality, a row is a config: results/CONFIG/seed*.json are the `summary.json` files of its runs.
Of a config with an argument, results/CONFIG/digit3_seed0.json and so on, the runs of a seed count
as one: their mean. results/CONFIG/seeds.json is of a run of several seeds side by side
(`train.seeds`), each of which counts. Of speed, benchmarks/SUITE.jsonl has the rows of
`scripts/benchmark.py --suite=SUITE --json=FILE`, and benchmarks/peers.jsonl those of
`scripts/peers.py`. What nobody ran has a row that says so.
"""

from pathlib import Path

from absl import flags
from contestants.cases import CASES

from zoo import cli
from zoo.benchmark.records import read_peers, read_suite
from zoo.benchmark.suites import SUITES
from zoo.benchmark.tables import peers_table, quality_table, speed_table

ROOT = Path(__file__).resolve().parent.parent
TABLES = ('results', 'peers', *SUITES)

FLAGS = flags.FLAGS
flags.DEFINE_bool('check', False, 'Only compare.')


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'unexpected argument {argv[1]}')
  readme = ROOT / 'README.md'
  text = readme.read_text()
  fresh = rewritten(text)
  if FLAGS.check:
    if fresh != text:
      print('README.md: the results are not what the files say; run python scripts/results.py')
    return int(fresh != text)
  readme.write_text(fresh)
  return 0


def rewritten(text: str) -> str:
  """README with all its tables as the files have them."""
  for name in TABLES:
    text = replace_table(text, name, make_table(name))
  return text


def make_table(name: str) -> str:
  """One of TABLES."""
  if name == 'results':
    return quality_table(ROOT / 'configs', ROOT / 'results')
  file = ROOT / 'benchmarks' / f'{name}.jsonl'
  if name == 'peers':
    return peers_table({case: CASES[case].what for case in CASES}, read_peers(file))
  return speed_table(SUITES[name], read_suite(file))


def replace_table(text: str, name: str, table: str) -> str:
  """Puts a table between its two marks.

  Raises:
    ValueError: there are no marks.
  """
  begin = f'<!-- {name}: written by scripts/results.py, do not edit -->\n'
  end = f'<!-- /{name} -->\n'
  before, opened, rest = text.partition(begin)
  _, closed, after = rest.partition(end)
  if not (opened and closed):
    raise ValueError(f'README.md has lost the marks between which the table {name!r} stands')
  return before + begin + table + end + after


if __name__ == '__main__':
  cli.run(main)
