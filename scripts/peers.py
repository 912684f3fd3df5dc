"""Compares steps and decoding with PyTorch's: the same model, batch, types and number of threads.

  python scripts/peers.py                      # all cases; needs torch, transformers beside zoo
  python scripts/peers.py --cases=gpt_f32 --rounds=15 --json=benchmarks/peers.jsonl
  python3.12 scripts/peers.py --peer_python=.venv/bin/python      # torch lives elsewhere

Each contestant is a process of its own, and they take turns: some seconds of steps of each a round,
forwards and backwards by turns, after a rest in which the threads of the one before go to sleep,
and a step that is not timed. Every peer runs twice, with huge pages and without. A row compares
ours with the fastest of them by its median: how many times as fast ours was, round by round, as
median (p10-p90). A peer that cannot run here (say, torch.compile without a C++ compiler) is named
with the reason, and left out.

Exit status: 0, 1 when a case could not be measured, 2 on bad input.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from contestants.case import Case
from contestants.cases import CASES

FLAGS = flags.FLAGS
flags.DEFINE_list('cases', [], 'Which to measure; all by default.')
flags.DEFINE_integer('rounds', 10, 'Turns of each contestant.')
flags.DEFINE_integer('threads', os.cpu_count(), 'For each contestant.')
flags.DEFINE_string('peer_python', sys.executable, 'The interpreter that has torch.')
flags.DEFINE_string('json', None, 'File to which a line of JSON is added for every row.')
flags.DEFINE_string('contestant', None, 'CASE/NAME: be that contestant. For this script itself.')

WARM_UP = 3  # calls, after the one that compiles
BLOCK_SECONDS = 2.0  # of steps, at least
REST = 0.5  # seconds; OpenMP's threads spin for 0.2 after a step
PAGED = ' in huge pages'
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # of a GPU that they share
PAGES = {'': 'glibc.malloc.hugetlb=0', PAGED: 'glibc.malloc.hugetlb=1'}


def main(argv: list[str]) -> int:
  from zoo.names import unknown

  if len(argv) > 1:
    raise ValueError(f'{argv[1]!r} is no flag of this script')
  for name in FLAGS.cases:
    if name not in CASES:
      raise unknown('case', name, CASES)
  if FLAGS.rounds < 1 or FLAGS.threads < 1:
    raise ValueError('--rounds and --threads must be at least 1')
  chosen = FLAGS.cases or [
    name for name in CASES if has_accelerator() or not CASES[name].accelerator
  ]
  for name in chosen:
    if CASES[name].accelerator and not has_accelerator():
      raise ValueError(f'--cases={name} is for an accelerator, and JAX finds only a CPU')
  check_torch()
  failed = False
  with open(FLAGS.json, 'a') if FLAGS.json else contextlib.nullcontext() as file:
    for name in chosen:
      row = compare(name, CASES[name])
      print(describe(row), flush=True)
      failed |= 'error' in row
      if file is not None:
        print(json.dumps(row), file=file, flush=True)
  return int(failed)


def has_accelerator() -> bool:
  """Whether JAX finds more than a CPU."""
  import jax

  return jax.default_backend() != 'cpu'


def check_torch() -> None:
  """Raises ValueError if the peer's interpreter has no torch."""
  probe = [FLAGS.peer_python, '-c', 'import absl, numpy, torch']
  try:
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
  except OSError as error:
    raise ValueError(f'--peer_python={FLAGS.peer_python}: {error.strerror}') from None
  if done.returncode:
    reason = (done.stderr.strip().splitlines() or ['it failed'])[-1]
    raise ValueError(f'{FLAGS.peer_python} cannot run the peers ({reason}); see --peer_python')


def compare(name: str, case: Case) -> dict[str, Any]:
  """Measures one case: a row."""
  from zoo import provenance
  from zoo.benchmark.timing import quantiles

  row = {'case': name, 'what': case.what, 'threads': FLAGS.threads}
  row['provenance'] = provenance.provenance()
  running: dict[str, Contestant] = {}
  failures = {}
  try:
    for label in ('zoo', *(peer + pages for peer in case.peers for pages in PAGES)):
      try:
        running[label] = Contestant(name, label)
      except RuntimeError as error:
        failures[label] = str(error)
    if 'zoo' not in running or len(running) < 2:
      return row | {'error': '; '.join(f'{k}: {v}' for k, v in failures.items())}
    times = {label: [] for label in running}
    for i in range(FLAGS.rounds):
      for label in list(running)[:: -1 if i % 2 else 1]:
        times[label].append(running[label].step())
  finally:
    for contestant in running.values():
      contestant.stop()
  times = {label: np.array(seconds) for label, seconds in times.items()}
  agree = all(c.returned == running['zoo'].returned for c in running.values())
  best = min(times.keys() - {'zoo'}, key=lambda label: np.median(times[label]))
  return row | {
    'peer': best,
    'ratio': quantiles(times[best] / times['zoo']),
    'step_ms': {label: quantiles(1000 * t) for label, t in times.items()},
    f'{case.unit}_per_second': {k: case.amount / float(np.median(t)) for k, t in times.items()},
    'versions': {label: c.versions for label, c in running.items()},
    'agree': agree if running['zoo'].returned is not None else None,
    'failed': failures,
  }


class Contestant:
  """A process that makes a step whenever it is told to."""

  def __init__(self, case: str, label: str):
    python = sys.executable
    variables = os.environ | {'OMP_NUM_THREADS': str(FLAGS.threads), 'PYTHONPATH': '.'}
    if label != 'zoo':  # which asks for huge pages by itself
      python = FLAGS.peer_python
      variables['GLIBC_TUNABLES'] = PAGES[PAGED if label.endswith(PAGED) else '']
    self.process = subprocess.Popen(
      [python, __file__, f'--contestant={case}/{label}', f'--threads={FLAGS.threads}'],
      cwd=Path(__file__).parents[1],
      env=variables,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    self.returned: Any = None
    try:
      self.versions = self.answer()
    except RuntimeError:
      self.stop()
      raise

  def answer(self) -> Any:
    """Reads one line of JSON. Raises RuntimeError with what it says of an error."""
    assert self.process.stdout is not None
    line = self.process.stdout.readline()
    found = json.loads(line) if line else {'error': f'died ({self.process.wait()})'}
    if isinstance(found, dict) and 'error' in found:
      raise RuntimeError(found['error'])
    return found

  def step(self) -> float:
    """Has some steps made, and returns the seconds that one took."""
    assert self.process.stdin is not None
    self.process.stdin.write('step\n')
    self.process.stdin.flush()
    answer = self.answer()
    self.returned = answer['returned']
    return answer['seconds']

  def stop(self) -> None:
    assert self.process.stdin is not None
    self.process.stdin.close()
    self.process.wait()


def contestant(name: str) -> None:
  """The process of a contestant: makes steps for each line of stdin, and answers with JSON."""
  case, _, label = name.partition('/')
  if label == 'zoo':
    from zoo import huge_pages

    huge_pages.ask()
  out = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what libraries print is no answer
  limit_threads(FLAGS.threads)
  try:
    call = CASES[case].ours() if label == 'zoo' else CASES[case].peers[label.removesuffix(PAGED)]()
    for _ in range(1 + WARM_UP):
      call()
  except Exception as error:  # whatever it is, the others go on
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    print(json.dumps({'error': text}), file=out, flush=True)
    return
  print(json.dumps(library_versions(label)), file=out, flush=True)
  for _ in sys.stdin:
    time.sleep(REST)
    returned = call()  # not timed: the system has taken back what the one before worked in
    calls, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < BLOCK_SECONDS:
      call()
      calls += 1
    print(json.dumps({'seconds': seconds / calls, 'returned': returned}), file=out, flush=True)


def limit_threads(threads: int) -> None:
  """Leaves this process so many cores: XLA has no other setting, and torch counts them too."""
  if hasattr(os, 'sched_setaffinity'):  # on Linux
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def library_versions(label: str) -> dict[str, str]:
  import platform
  from importlib.metadata import version

  libraries = {'zoo': ('jax', 'jaxlib', 'flax'), 'transformers': ('torch', 'transformers')}
  names = libraries.get(label.removesuffix(PAGED), ('torch',))
  return {'python': platform.python_version()} | {name: version(name) for name in names}


def describe(row: dict[str, Any]) -> str:
  """A row of the table."""
  if 'error' in row:
    return f'{row["case"]}: failed: {row["error"]}'
  unit = CASES[row['case']].unit
  ratio, speed = row['ratio'], row[f'{unit}_per_second']
  times = ', '.join(f'{label} {value:,.0f}' for label, value in speed.items())
  spread = f'{ratio["median"]:.2f} ({ratio["p10"]:.2f}-{ratio["p90"]:.2f})'
  same = {True: ', the same tokens', False: ', OTHER TOKENS', None: ''}[row['agree']]
  missing = ''.join(f'; no {label}: {reason}' for label, reason in row['failed'].items())
  return f'{row["what"]}: {spread} times {row["peer"]}; {unit}/s: {times}{same}{missing}'


if __name__ == '__main__':
  if sys.argv[1:] and sys.argv[1].startswith('--contestant='):  # maybe where there is no zoo
    FLAGS(sys.argv)
    contestant(FLAGS.contestant)
  else:
    from zoo import cli

    cli.run(main)
