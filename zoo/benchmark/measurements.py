"""What can be measured of a workload, by name."""

from typing import Any

import jax
import jax.numpy as jnp

from zoo.benchmark.calls import arguments, bare, bound_flights, looped
from zoo.benchmark.compilation import Compiled, compile_ahead
from zoo.benchmark.flops import count
from zoo.benchmark.inputs import inputs
from zoo.benchmark.timing import ENOUGH_SECONDS, Contestant, Row, compare, timed
from zoo.benchmark.workload import Workload, synthetic_batch, synthetic_source
from zoo.generate import generate
from zoo.population import build_population, members_of, parallelize_members
from zoo.training.program import build
from zoo.types import Array, Batch, PyTree, TrainState

PROMPT, NEW_TOKENS = 32, 128  # of each row that is generated
MEMBERS = 8  # runs side by side


def measure(
  what: str, work: Workload, steps: int | None = None, seconds: float = ENOUGH_SECONDS
) -> list[Row]:
  """Runs one of MEASUREMENTS.

  Args:
    what: its name.
    work: what to measure it of.
    steps: how many to time; as many as there is time for if None.
    seconds: of timing, about.
  """
  contestants = MEASUREMENTS[what](work)
  return compare(
    contestants, work.parallel, work.batch_size, 1 if what == 'compile' else steps, seconds
  )


def train(work: Workload) -> list[Contestant]:
  """The bare training step, on a synthetic batch that is on the devices already."""
  source = synthetic_source(work.source.spec)
  program = build(work.objective, work.tx, source, work.parallel)
  carry, fixed = arguments(program, source)
  compiled = compile_ahead(program.step, *carry, fixed, warm=work.warm)
  return [Contestant('train', bare(program, carry, fixed), 1, compiled, **of_training(work))]


def of_training(work: Workload) -> dict[str, Any]:
  """What a contestant says of a training step."""
  return {'flops': work.training_flops(), 'units': work.units}


def compilation(work: Workload) -> list[Contestant]:
  """Compiling that step, from nothing and from a persistent cache; `measure` makes one step."""
  [contestant] = train(work._replace(warm=True))
  return [contestant._replace(what='compile')]


def forward(work: Workload) -> list[Contestant]:
  """`objective.predict` on such a batch."""
  predict, parallel = work.objective.predict, work.parallel
  if predict is None:
    raise ValueError('this objective has no predict')
  source = synthetic_source(work.source.spec)
  program = build(work.objective, work.tx, source, parallel)
  [state], batch = arguments(program, source)
  each = jax.ShapeDtypeStruct((work.batch_size,), jnp.int32)
  one = jax.ShapeDtypeStruct((), jnp.int32)

  # The count makes each call wait for the last: a CPU might run independent ones side by side.
  def counted(state: TrainState, batch: Batch) -> tuple[Array, PyTree]:
    return state.step + 1, predict(state.params, state.extras, batch)

  call = parallel.compile(
    counted,
    (program.state, parallel.split(source.spec)),
    (parallel.shared(one), parallel.split(each)),
  )
  compiled = compile_ahead(call, state, batch, warm=work.warm)

  def block(calls: int) -> None:
    now, wait = state, bound_flights(parallel)
    for _ in range(calls):
      count, _ = call(now, batch)
      now = now.replace(step=count)
      wait(count)
    jax.block_until_ready(now.step)

  tokens = {name: n for name, n in work.units.items() if name == 'tokens'}
  flops = work.forward_flops()
  return [Contestant('forward', block, 1, compiled, flops=flops, units=tokens)]


def generation(work: Workload) -> list[Contestant]:
  """Greedy decoding with a cache, of random parameters: a step is one token of every row.

  FLOPs are those of the token itself; attention to the cache is left out. What compiling took is
  the first call less the second, the program being inside `generate`.
  """
  module: Any = work.module
  size = work.batch_size
  if not hasattr(module, 'decode') or 'targets' not in work.source.spec:
    raise ValueError('only language models generate')
  batch = synthetic_batch(work.source.spec)
  params, _ = jax.jit(work.objective.init)(jax.random.key(0), batch)
  prompts = [row.tolist() for row in batch['tokens'][:, :PROMPT]]

  def block(calls: int) -> None:
    for _ in range(calls):
      generate(module, params, prompts, max_new_tokens=NEW_TOKENS, temperature=0)

  first = timed(block, 1)[0]
  compiled = Compiled(first - timed(block, 1)[0])
  one = jax.ShapeDtypeStruct((size, 1), jnp.int32)
  logits = lambda params, tokens: module.apply({'params': params}, tokens)
  flops = count(logits, params, one)
  units = {'tokens': size}
  return [Contestant('generate', block, NEW_TOKENS, compiled, flops=flops, units=units)]


def loop(work: Workload) -> list[Contestant]:
  """`training.run` with the real source, against its own compiled call in a bare Python loop."""
  source, k = work.source, work.steps_per_call
  program = build(work.objective, work.tx, source, work.parallel, k)
  carry, fixed = arguments(program, source)
  compiled = compile_ahead(program.step, *carry, fixed, warm=work.warm)
  known = of_training(work)
  return [
    Contestant('bare step', bare(program, carry, fixed), k, compiled, **known),
    Contestant(
      *('loop', looped(program, source, k), k, compiled), **known, streams=not source.on_device
    ),
  ]


def scan(work: Workload) -> list[Contestant]:
  """`training.run` with K steps a call, against one a call, and against a plain loop.

  K is the workload's `steps_per_call`, or 32 if that is 1.
  """
  contestants = [plain(work)]
  for k in (1, work.steps_per_call if work.steps_per_call > 1 else 32):
    program = build(work.objective, work.tx, work.source, work.parallel, k)
    carry, fixed = arguments(program, work.source)
    compiled = compile_ahead(program.step, *carry, fixed, warm=work.warm)
    block = looped(program, work.source, k)
    contestants.append(Contestant(f'loop, {k} a call', block, k, compiled, **of_training(work)))
  return contestants


def plain(work: Workload) -> Contestant:
  """The loop that people write: every step puts a numpy batch there and fetches a figure.

  The batch is always the same one: no time goes into making it.
  """
  source, parallel = synthetic_source(work.source.spec), work.parallel
  program = build(work.objective, work.tx, source, parallel)
  state, _ = program.init(jax.random.key(0))
  batch, placement = synthetic_batch(source.spec), parallel.split(source.spec)
  # On one device people write just that, and it is faster than to say where.
  put = jax.device_put if parallel.strategy == 'jit' else lambda x: parallel.put(x, placement)
  compiled = compile_ahead(program.step, state, put(batch), warm=work.warm)

  def block(calls: int) -> None:
    nonlocal state
    for _ in range(calls):
      state, scalars = program.step(state, put(batch))
      float(scalars['grad_norm'])

  return Contestant('plain loop', block, 1, compiled, **of_training(work))


def seeds(work: Workload) -> list[Contestant]:
  """The training loop's call for one run, and for MEMBERS of them side by side (`train.seeds`).

  The one is on the device of the workload, which must be one; the others are on all that divide
  them.
  """
  source, k = work.source, work.steps_per_call
  if work.parallel.strategy != 'jit':
    raise ValueError(
      f'one run is measured on one device: --parallel=jit, not {work.parallel.strategy}'
    )
  members, everywhere = members_of(0, MEMBERS, {}), parallelize_members('auto', MEMBERS)
  programs = {
    'one run': build(work.objective, work.tx, source, work.parallel, k),
    f'{MEMBERS} runs': build_population(work.objective, work.tx, source, everywhere, members, k),
  }
  contestants = []
  for what, program in programs.items():
    carry, fixed = arguments(program, source)
    compiled = compile_ahead(program.step, *carry, fixed, warm=work.warm)
    runs = 1 if what == 'one run' else MEMBERS
    block = bare(program, carry, fixed)
    contestants.append(
      Contestant(
        *(what, block, k, compiled),
        units={'examples_of_all_runs': runs * work.batch_size},
        parallel=program.parallel,
      )
    )
  return contestants


MEASUREMENTS = {
  'train': train,
  'forward': forward,
  'generate': generation,
  'input': inputs,
  'loop': loop,
  'scan': scan,
  'seeds': seeds,
  'compile': compilation,
}
