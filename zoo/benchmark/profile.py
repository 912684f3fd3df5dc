"""Where the time of a step goes: a trace, and a table made from it."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from zoo.benchmark import hlo
from zoo.benchmark.calls import arguments, bare
from zoo.benchmark.compilation import compile_ahead
from zoo.benchmark.workload import Workload, synthetic_source
from zoo.training.program import build

STEPS = 5


class Event(NamedTuple):
  """Something that one thread, or stream, of a device did: nanoseconds of one clock."""

  op: str
  start: float
  end: float


class Spent(NamedTuple):
  """What an operation took of a step.

  Attributes:
    op: its name in the compiled program; '' for idle time.
    kind: one of `hlo.KINDS`, 'other' or 'idle'.
    scope: where in the model it comes from.
    ms: a step, without what other operations took within it; of all threads together.
    share: of all operations and idle time.
    runs: how often a step ran it.
  """

  op: str
  kind: str
  scope: str
  ms: float
  share: float
  runs: float


def profile(work: Workload, folder: Path) -> list[Spent]:
  """Traces some training steps on a synthetic batch.

  Args:
    work: whose steps.
    folder: for the trace, which XProf and Perfetto show.

  Returns:
    All operations, the longest first. Idle is the time in which none of them runs. Of several
    devices the first is shown.
  """
  source = synthetic_source(work.source.spec)
  program = build(work.objective, work.tx, source, work.parallel)
  carry, fixed = arguments(program, source)
  text = compile_ahead(program.step, *carry, fixed).hlo
  block = bare(program, carry, fixed)
  block(2)  # what happens once is not to be seen
  with jax.profiler.trace(str(folder)):
    block(STEPS)
  newest = max(folder.rglob('*.xplane.pb'), key=lambda path: path.stat().st_mtime)
  known = hlo.kinds(text)
  return table(read(newest, {*known}), known, STEPS)


def read(path: Path, ops: set[str]) -> list[list[Event]]:
  """The operations of the first device in a trace, a list for each of its threads or streams.

  Args:
    path: of an .xplane.pb.
    ops: the names of the program's instructions.
  """
  data = jax.profiler.ProfileData.from_file(str(path))
  planes = list(data.planes)
  devices = [p for p in planes if p.name.startswith('/device:') and 'CUSTOM' not in p.name]
  chosen = devices[:1] or [p for p in planes if p.name == '/host:CPU']
  threads = []
  for line in (line for plane in chosen for line in plane.lines):
    events = []
    for event in line.events:
      op = name_of(event, ops)
      if op is not None and event.duration_ns > 0:
        events.append(Event(op, event.start_ns, event.start_ns + event.duration_ns))
    if events:
      threads.append(events)
  return threads


def name_of(event: Any, ops: set[str]) -> str | None:
  """The instruction that an event is of: it says so, or is called like it."""
  stats = {str(name): value for name, value in event.stats if name is not None}
  op = str(stats.get('hlo_op', event.name.partition(' = ')[0].lstrip('%')))
  return op if op in ops else None


def table(
  threads: Iterable[list[Event]], known: dict[str, tuple[str, str]], steps: int
) -> list[Spent]:
  """Adds up what was traced; see `profile`."""
  taken: dict[str, float] = defaultdict(float)
  counts: dict[str, int] = defaultdict(int)
  threads = list(threads)
  for events in threads:
    for op, nanoseconds in own_times(events):
      taken[op] += nanoseconds
      counts[op] += 1
  idle = idle_time([event for events in threads for event in events])
  total = sum(taken.values()) + idle
  rows = [
    Spent(op, *known.get(op, ('other', '')), ns / steps / 1e6, ns / total, counts[op] / steps)
    for op, ns in taken.items()
  ]
  if idle:
    rows.append(Spent('', 'idle', '', idle / steps / 1e6, idle / total, 0))
  return sorted(rows, key=lambda row: -row.ms)


def own_times(events: list[Event]) -> list[tuple[str, float]]:
  """Of each event of a thread: how long it took without the events that happened within it."""
  found: list[list[Any]] = []
  stack: list[tuple[int, float]] = []  # what is going on, and when it will end
  for op, start, end in sorted(events, key=lambda e: (e.start, -e.end)):
    while stack and stack[-1][1] <= start:
      stack.pop()
    if stack:
      found[stack[-1][0]][1] -= min(end, stack[-1][1]) - start
    stack.append((len(found), end))
    found.append([op, end - start])
  return [(op, max(taken, 0.0)) for op, taken in found]


def idle_time(events: list[Event]) -> float:
  """Nanoseconds between the first event and the last in which there is none."""
  idle, until = 0.0, None
  for _, start, end in sorted(events, key=lambda e: e.start):
    if until is not None and start > until:
      idle += start - until
    until = end if until is None else max(until, end)
  return idle


def by_kind(rows: Iterable[Spent]) -> dict[str, float]:
  """The share of every kind, the largest first."""
  shares: dict[str, float] = defaultdict(float)
  for row in rows:
    shares[row.kind] += row.share
  return dict(sorted(shares.items(), key=lambda item: -item[1]))


def lines(rows: list[Spent], most: int = 15) -> Iterable[str]:
  """The table in words: kinds, then the operations that take most."""
  yield ', '.join(f'{kind} {share:.1%}' for kind, share in by_kind(rows).items())
  yield f'{"ms/step":>10}{"share":>8}{"runs":>8}  {"kind":12} operation, and where it comes from'
  for row in rows[:most]:
    scope = row.scope.split('/', 1)[-1][-90:]
    yield f'{row.ms:>10.3f}{row.share:>8.1%}{row.runs:>8.1f}  {row.kind:12} {row.op} {scope}'
