"""What a compiled program does, read off its text."""

import math
import re
from collections import Counter
from typing import NamedTuple

COLLECTIVES = (
  *('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute'),
  *('collective-broadcast', 'ragged-all-to-all'),
)
KINDS = ('attention', 'matmul', 'convolution', 'collective', 'reduction', 'copy', 'elementwise')

_COMPUTATION = re.compile(r'^(?:ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{$')
_INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(')
_ARRAY = re.compile(r'\b([a-z]+\d+\w*|pred)\[([\d,]*)\]')
_CALLED = re.compile(
  r'(?:calls|body|to_apply|condition)=%?([\w.\-]+)|branch_computations=\{([^}]*)\}'
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_SCOPE = re.compile(r'op_name="([^"]*)"')
_TARGET = re.compile(r'custom_call_target="([^"]*)"')


class Instruction(NamedTuple):
  """A line of a program.

  Attributes:
    name: by which traces call it.
    shape: what it makes, as the text has it.
    opcode: what it does: 'dot', 'fusion', 'all-reduce' ...
    called: the computations that it runs.
    trips: how often it runs them, if it is a loop that says so; else 1.
    scope: where in the model it comes from.
    target: of a custom call.
  """

  name: str
  shape: str
  opcode: str
  called: tuple[str, ...]
  trips: int
  scope: str
  target: str


Computations = dict[str, list[Instruction]]


def parse(text: str) -> Computations:
  """The computations of a program, by name; the last is where it begins."""
  found: Computations = {}
  current: list[Instruction] = []
  for line in text.splitlines():
    if match := _COMPUTATION.match(line):
      current = found[match[1]] = []
    elif match := _INSTRUCTION.match(line):
      trips, scope, target = (p.search(line) for p in (_TRIPS, _SCOPE, _TARGET))
      names = (n for one, several in _CALLED.findall(line) for n in (one, *several.split(',')))
      current.append(
        Instruction(
          *(match[1], match[2], match[3]),
          called=tuple(n.strip().lstrip('%') for n in names if n.strip()),
          trips=int(trips[1]) if trips else 1,
          scope=scope[1] if scope else '',
          target=target[1] if target else '',
        )
      )
  return found


def array_bytes(shape: str) -> int:
  """Bytes of the arrays in a shape such as `(f32[8,3]{1,0}, s32[])`."""
  total = 0
  for kind, sizes in _ARRAY.findall(shape):
    bits = 8 if kind == 'pred' else int(re.findall(r'\d+', kind)[0])
    total += math.prod(int(n) for n in sizes.split(',') if n) * bits // 8
  return total


class Traffic(NamedTuple):
  """What devices tell each other in a call: how many times by opcode, and bytes that each gets."""

  counts: dict[str, int]
  bytes: int


def traffic(text: str) -> Traffic:
  """The collectives of a program, those in a loop as often as it runs, if it says so."""
  computations = parse(text)
  counts: Counter[str] = Counter()
  total = 0

  def visit(name: str, times: int) -> None:
    nonlocal total
    for instruction in computations.get(name, ()):
      opcode = instruction.opcode.removesuffix('-start')
      if opcode in COLLECTIVES:
        # What starts one makes its operands beside its results.
        halves = 2 if instruction.opcode.endswith('-start') and opcode != 'all-reduce' else 1
        counts[opcode] += times
        total += times * array_bytes(instruction.shape) // halves
      elif not instruction.opcode.endswith('-done'):
        for called in instruction.called:
          visit(called, times * instruction.trips)

  if computations:
    visit(list(computations)[-1], 1)
  return Traffic(dict(counts), total)


def kinds(text: str) -> dict[str, tuple[str, str]]:
  """By the name of an instruction: which of KINDS it is, and where in the model it comes from."""
  computations = parse(text)
  return {
    instruction.name: (kind_of(instruction, computations), instruction.scope)
    for instructions in computations.values()
    for instruction in instructions
  }


def kind_of(instruction: Instruction, computations: Computations) -> str:
  """One of KINDS. A fusion is what most of the time in it goes into: products before sums."""
  inside = list(within(instruction, computations))
  opcodes = {i.opcode.removesuffix('-start').removesuffix('-done') for i in inside}
  targets = ' '.join(i.target.lower() for i in inside)
  scopes = instruction.scope.lower()
  if opcodes & {*COLLECTIVES}:
    return 'collective'
  if 'attention' in scopes or 'fmha' in targets or 'splash' in targets:
    return 'attention'
  if 'convolution' in opcodes or 'conv' in targets:
    return 'convolution'
  if 'dot' in opcodes or any(t in targets for t in ('gemm', 'matmul', 'dot')):
    return 'matmul'
  if opcodes & {'reduce', 'reduce-window', 'select-and-scatter', 'sort', 'topk'}:
    return 'reduction'
  if opcodes <= {'fusion', 'call', *MOVES}:
    return 'copy'
  return 'elementwise'


MOVES = {
  *('parameter', 'constant', 'bitcast', 'tuple', 'get-tuple-element', 'broadcast', 'iota'),
  *('copy', 'copy-start', 'copy-done', 'transpose', 'reshape', 'slice', 'concatenate', 'pad'),
  *('dynamic-slice', 'dynamic-update-slice', 'gather', 'scatter', 'reverse'),
}


def within(instruction: Instruction, computations: Computations) -> list[Instruction]:
  """An instruction with all that it calls; of a loop itself alone: what it runs has names too."""
  if instruction.opcode in ('while', 'conditional'):
    return [instruction]
  called = [i for name in instruction.called for i in computations.get(name, ())]
  return [instruction, *(j for i in called for j in within(i, computations))]
