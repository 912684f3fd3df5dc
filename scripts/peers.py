"""Compares training steps with PyTorch's: the same model, batch, types and number of threads.

  python scripts/peers.py                      # all cases; needs torch (2.x, for CPUs) beside zoo
  python scripts/peers.py --cases=gpt_f32 --rounds=15 --json=benchmarks/peers.jsonl
  python3.12 scripts/peers.py --peer_python=.venv/bin/python      # torch lives elsewhere

Each contestant is a process of its own, with the settings that suit it best, and they take turns:
one step of each a round, forwards and backwards by turns. A row compares ours with the fastest peer
by its median: how many times as fast ours was, round by round, as median (p10-p90). A peer that
cannot run here (say, torch.compile without a C++ compiler) is named with the reason, and left out.

Exit status: 0, 1 when a case could not be measured, 2 on bad input.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_list('cases', [], 'Which to measure; all by default.')
flags.DEFINE_integer('rounds', 10, 'Steps of each contestant to time.')
flags.DEFINE_integer('threads', os.cpu_count(), 'For each contestant.')
flags.DEFINE_string('peer_python', sys.executable, 'The interpreter that has torch.')
flags.DEFINE_string('json', None, 'File to which a line of JSON is added for every row.')
flags.DEFINE_string('contestant', None, 'CASE/NAME: be that contestant. For this script itself.')

Call = Callable[[], None]  # one step; returns when it is done
WARM_UP = 3  # steps, after the one that compiles


class Case(NamedTuple):
  """What to compare.

  Attributes:
    what: in words.
    tokens: in a step.
    ours: makes our step. Run in the process of that contestant alone, like those of `peers`.
    peers: make the step of each peer, by name.
  """

  what: str
  tokens: int
  ours: Callable[[], Call]
  peers: dict[str, Callable[[], Call]]


class GPT(NamedTuple):
  """A GPT-2 to train: sizes, and the shape of a batch."""

  vocab_size: int
  context_length: int
  num_layers: int
  width: int
  num_heads: int
  batch_size: int
  length: int

  def tokens(self) -> dict[str, np.ndarray]:
    return random_tokens(self.vocab_size, self.batch_size, self.length)


class Recurrent(NamedTuple):
  """An LSTM language model to train: sizes, and the shape of a batch."""

  vocab_size: int
  num_layers: int
  width: int
  batch_size: int
  length: int

  def tokens(self) -> dict[str, np.ndarray]:
    return random_tokens(self.vocab_size, self.batch_size, self.length)


def random_tokens(vocab_size: int, *shape: int) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {name: rng.integers(0, vocab_size, shape) for name in ('tokens', 'targets')}


LEARNING_RATE, WEIGHT_DECAY = (
  3e-4,
  0.1,
)  # AdamW's; betas (0.9, 0.999) and epsilon 1e-8 on both sides
SMALL = GPT(50257, 1024, 12, 768, 12, batch_size=1, length=256)
CHARS = GPT(65, 256, 6, 384, 6, batch_size=12, length=256)  # nanoGPT's for characters
LSTM_LM = Recurrent(10_000, 2, 512, batch_size=32, length=128)


def zoo_gpt(size: GPT, dtype: str) -> Call:
  from zoo.models.gpt2 import GPT2

  names = ('vocab_size', 'context_length', 'num_layers', 'width', 'num_heads')
  module = GPT2(**{name: getattr(size, name) for name in names}, dropout=0.0, dtype=dtype)
  return zoo_step(module, size.tokens())


def zoo_lstm(size: Recurrent) -> Call:
  from zoo.models.lstm import LSTM

  names = ('vocab_size', 'num_layers', 'width')
  return zoo_step(LSTM(**{name: getattr(size, name) for name in names}), size.tokens())


def zoo_step(module: Any, tokens: dict[str, np.ndarray]) -> Call:
  """Our training step as scripts/train.py runs it: its objective, its step, donation, options."""
  import jax
  import jax.numpy as jnp
  import optax

  from zoo import platform
  from zoo.objectives.language_model import language_model
  from zoo.training.step import init_state, make_train_step

  objective, tx = language_model(module), optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
  batch = {name: jnp.asarray(x, jnp.int32) for name, x in tokens.items()}
  state = jax.jit(lambda key: init_state(objective, tx, batch, key))(jax.random.key(0))
  step = jax.jit(
    make_train_step(objective, tx),
    donate_argnums=0,
    compiler_options=platform.compiler_options(jax.default_backend()),
  )

  def call() -> None:
    nonlocal state
    state, _ = step(state, batch)
    jax.block_until_ready(state)

  return call


def torch_gpt(size: GPT, dtype: str, compiled: bool) -> Call:
  """The same in PyTorch: fused attention and AdamW, autocast for bfloat16."""
  import torch
  from torch.nn import functional

  torch.manual_seed(0)
  model = torch_module(size)
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
  )
  forward = torch.compile(model) if compiled else model
  batch = {name: torch.from_numpy(x) for name, x in size.tokens().items()}

  def call() -> None:
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype == 'bfloat16'):
      logits = forward(batch['tokens'])
      loss = functional.cross_entropy(logits.flatten(0, 1), batch['targets'].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()

  return call


def torch_lstm(size: Recurrent) -> Call:
  """The same as `zoo_lstm` by torch.nn.LSTM, time-major, which it takes fastest."""
  import torch
  from torch import nn
  from torch.nn import functional

  torch.manual_seed(0)
  embedding = nn.Embedding(size.vocab_size, size.width)
  lstm = nn.LSTM(size.width, size.width, size.num_layers)
  head = nn.Linear(size.width, size.vocab_size)
  parameters = nn.ModuleList([embedding, lstm, head]).parameters()
  optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
  batch = {name: torch.from_numpy(np.ascontiguousarray(x.T)) for name, x in size.tokens().items()}

  def call() -> None:
    logits = head(lstm(embedding(batch['tokens']))[0])
    loss = functional.cross_entropy(logits.flatten(0, 1), batch['targets'].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()

  return call


def torch_module(size: GPT) -> Any:
  """GPT-2 as PyTorch has it fastest: one product for q, k and v, and its own fused attention."""
  import torch
  from torch import nn
  from torch.nn import functional

  D = size.width

  class Block(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.norm_1, self.norm_2 = nn.LayerNorm(D), nn.LayerNorm(D)
      self.qkv, self.attention_out = nn.Linear(D, 3 * D), nn.Linear(D, D)
      self.mlp_in, self.mlp_out = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, x: Any) -> Any:
      q, k, v = (
        part.unflatten(-1, (size.num_heads, -1)).transpose(1, 2)
        for part in self.qkv(self.norm_1(x)).split(D, dim=2)
      )
      found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
      x = x + self.attention_out(found.transpose(1, 2).flatten(2))
      h = functional.gelu(self.mlp_in(self.norm_2(x)), approximate='tanh')
      return x + self.mlp_out(h)

  class Model(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.token_embedding = nn.Embedding(size.vocab_size, D)
      self.position_embedding = nn.Embedding(size.context_length, D)
      self.blocks = nn.ModuleList(Block() for _ in range(size.num_layers))
      self.final_norm = nn.LayerNorm(D)
      for parameter in self.parameters():
        if parameter.ndim > 1:
          nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Any) -> Any:
      x = self.token_embedding(tokens) + self.position_embedding(torch.arange(tokens.shape[1]))
      for block in self.blocks:
        x = block(x)
      return functional.linear(self.final_norm(x), self.token_embedding.weight)

  return Model()


def gpt_case(what: str, size: GPT, dtype: str) -> Case:
  return Case(
    f'{what}, batch {size.batch_size} x {size.length}, {dtype}',
    size.batch_size * size.length,
    lambda: zoo_gpt(size, dtype),
    {
      'torch.compile': lambda: torch_gpt(size, dtype, compiled=True),
      'torch eager': lambda: torch_gpt(size, dtype, compiled=False),
    },
  )


CASES = {
  'gpt2_f32': gpt_case('train GPT-2 124M', SMALL, 'float32'),
  'gpt2_bf16': gpt_case('train GPT-2 124M', SMALL, 'bfloat16'),
  'gpt_f32': gpt_case('train GPT 6 x 384, vocabulary 65', CHARS, 'float32'),
  'gpt_bf16': gpt_case('train GPT 6 x 384, vocabulary 65', CHARS, 'bfloat16'),
  'lstm': Case(
    'train LSTM 2 x 512, vocabulary 10k, batch 32 x 128, float32',
    32 * 128,
    lambda: zoo_lstm(LSTM_LM),
    {'torch.nn.LSTM': lambda: torch_lstm(LSTM_LM)},
  ),
}


def main(argv: list[str]) -> int:
  from zoo.names import unknown

  if len(argv) > 1:
    raise ValueError(f'{argv[1]!r} is no flag of this script')
  for name in FLAGS.cases:
    if name not in CASES:
      raise unknown('case', name, CASES)
  if FLAGS.rounds < 1 or FLAGS.threads < 1:
    raise ValueError('--rounds and --threads must be at least 1')
  check_torch()
  failed = False
  with open(FLAGS.json, 'a') if FLAGS.json else contextlib.nullcontext() as file:
    for name in FLAGS.cases or CASES:
      row = compare(name, CASES[name])
      print(describe(row), flush=True)
      failed |= 'error' in row
      if file is not None:
        print(json.dumps(row), file=file, flush=True)
  return int(failed)


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
  from zoo.timing import quantiles, time_in_turns

  row = {'case': name, 'what': case.what, 'threads': FLAGS.threads}
  row['provenance'] = provenance.provenance()
  running: dict[str, Contestant] = {}
  failures = {}
  try:
    for label in ('zoo', *case.peers):
      try:
        running[label] = Contestant(name, label)
      except RuntimeError as error:
        failures[label] = str(error)
    if 'zoo' not in running or len(running) < 2:
      return row | {'error': '; '.join(f'{k}: {v}' for k, v in failures.items())}
    calls = [1] * len(running)
    seconds = time_in_turns([c.block for c in running.values()], calls, FLAGS.rounds)
  finally:
    for contestant in running.values():
      contestant.stop()
  times = dict(zip(running, seconds, strict=True))
  best = min(case.peers.keys() & times, key=lambda label: np.median(times[label]))
  return row | {
    'peer': best,
    'ratio': quantiles(times[best] / times['zoo']),
    'step_ms': {label: quantiles(1000 * t) for label, t in times.items()},
    'tokens_per_second': {label: case.tokens / float(np.median(t)) for label, t in times.items()},
    'versions': {label: c.versions for label, c in running.items()},
    'failed': failures,
  }


class Contestant:
  """A process that makes a step whenever it is told to."""

  def __init__(self, case: str, label: str):
    python = sys.executable if label == 'zoo' else FLAGS.peer_python
    self.process = subprocess.Popen(
      [python, __file__, f'--contestant={case}/{label}', f'--threads={FLAGS.threads}'],
      cwd=Path(__file__).parents[1],
      env=os.environ | {'OMP_NUM_THREADS': str(FLAGS.threads), 'PYTHONPATH': '.'},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
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

  def block(self, calls: int) -> None:
    assert self.process.stdin is not None
    self.process.stdin.write(f'{calls}\n')
    self.process.stdin.flush()
    self.answer()

  def stop(self) -> None:
    assert self.process.stdin is not None
    self.process.stdin.close()
    self.process.wait()


def contestant(name: str) -> None:
  """The process of a contestant: reads numbers of calls from stdin, answers with JSON."""
  out = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # what libraries print is no answer
  case, _, label = name.partition('/')
  limit_threads(FLAGS.threads)
  try:
    call = CASES[case].ours() if label == 'zoo' else CASES[case].peers[label]()
    for _ in range(1 + WARM_UP):
      call()
  except Exception as error:  # whatever it is, the others go on
    text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    print(json.dumps({'error': text}), file=out, flush=True)
    return
  print(json.dumps(library_versions(label)), file=out, flush=True)
  for line in sys.stdin:
    for _ in range(int(line)):
      call()
    print(json.dumps(time.time()), file=out, flush=True)


def limit_threads(threads: int) -> None:
  """Leaves this process so many cores: XLA has no other setting, and torch counts them too."""
  if hasattr(os, 'sched_setaffinity'):  # on Linux
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def library_versions(label: str) -> dict[str, str]:
  import platform
  from importlib.metadata import version

  names = ('jax', 'jaxlib', 'flax') if label == 'zoo' else ('torch',)
  return {'python': platform.python_version()} | {name: version(name) for name in names}


def describe(row: dict[str, Any]) -> str:
  """A row of the table."""
  if 'error' in row:
    return f'{row["case"]}: failed: {row["error"]}'
  ratio, speed = row['ratio'], row['tokens_per_second']
  times = ', '.join(f'{label} {value:,.0f}' for label, value in speed.items())
  spread = f'{ratio["median"]:.2f} ({ratio["p10"]:.2f}-{ratio["p90"]:.2f})'
  missing = ''.join(f'; no {label}: {reason}' for label, reason in row['failed'].items())
  return f'{row["what"]}: {spread} times {row["peer"]}; tokens/s: {times}{missing}'


if __name__ == '__main__':
  if sys.argv[1:] and sys.argv[1].startswith('--contestant='):  # maybe where there is no zoo
    FLAGS(sys.argv)
    contestant(FLAGS.contestant)
  else:
    from zoo import cli

    cli.run(main)
