"""How a run is trained: the section `train` of a config."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class TrainSettings:
  """Settings of a run. Steps count batches, also where gradients are accumulated.

  Attributes:
    steps: how many to run.
    seed: of parameters, dropout, augmentation and the order of the data.
    seeds: how many runs side by side in one program, under `seed` and those after it, with data on
      the device. Several devices take equal shares of them.
    sweep: (option, numbers) pairs, such as ('optimizer.learning_rate', (1e-3, 3e-3)): runs side by
      side with each of them, under each of the seeds. On the command line
      --sweep.optimizer.learning_rate=1e-3,3e-3.
    init_from: the weights to start from: a folder of published ones, a name on the Hugging Face
      hub, or the directory of an earlier run; random ones if empty.
    init_ignore: patterns of parameters that start at random all the same, such as a new head.
    teacher: the directory of a run whose model teaches this one; for distillation. The weights are
      copied at the start, but whatever opens this run later reads the config there.
    judge: the directory of the run of a classifier, by which generated examples are judged; nobody
      if empty.
    inception: a safetensors file of the weights of the Frechet inception distance, for 'fid' of
      generated examples, see `zoo/interop/inception.py`; it is not computed if empty.
    parallel: 'auto', 'jit', 'pmap' or 'sharded'. Of runs side by side 'auto' is 'sharded', over as
      many devices as divide them; they are not for 'pmap'.
    steps_per_call: steps in one dispatch; more pay where a step takes well under a millisecond.
      Leave it at 1 for convolutions on a CPU: inside a loop XLA computes them more slowly (a step
      of a CNN on 64 digits took 48 ms instead of 14, jax 0.10.2).
    cpu_threads: for parts of operations, on a CPU; 0 for as many as it has cores. 1 where products
      are so small that threads wait for each other: agents with few numbers to see.
    log_every: steps between two lines in metrics.jsonl: the only times anything is fetched.
    eval_every: steps between two evaluations on the validation split; 0 for the end alone.
    preview_every: steps between two previews; 0 for the end alone.
    checkpoint_every: steps between two checkpoints; 0 for the end alone (and for a signal).
    keep_last: how many of the newest checkpoints to keep.
    keep_best: how many of the best to keep, by `best`.
    best: the validation figure to judge by.
    best_mode: 'max' or 'min'.
    final: what the figures at the end are of: 'last', the last step, or 'best', for every run the
      checkpoint with the best validation figure, of those that are kept and were saved where there
      was an evaluation; of equal ones the first.
    on_nonfinite: 'halt' stops at a loss, gradient or update that is not finite; 'skip' goes on
      without the step, and counts it, unless it was the update.
    prefetch: batches prepared ahead, for data that is streamed from the host.
    workers: threads that read and decode them.

  Raises:
    ValueError: a value that makes no sense, in one line.
  """

  steps: int = 1000
  seed: int = 0
  seeds: int = 1
  sweep: tuple[tuple[str, tuple[float, ...]], ...] = ()
  init_from: str = ''
  init_ignore: tuple[str, ...] = ()
  teacher: str = ''
  judge: str = ''
  inception: str = ''
  parallel: str = 'auto'
  steps_per_call: int = 1
  cpu_threads: int = 0
  log_every: int = 50
  eval_every: int = 0
  preview_every: int = 0
  checkpoint_every: int = 0
  keep_last: int = 2
  keep_best: int = 1
  best: str = 'accuracy'
  best_mode: str = 'max'
  final: str = 'last'
  on_nonfinite: str = 'halt'
  prefetch: int = 2
  workers: int = 4

  def __post_init__(self):
    for name in ('steps', 'seeds', 'steps_per_call', 'log_every', 'keep_last'):
      if getattr(self, name) < 1:
        raise ValueError(f'config.train.{name} must be at least 1, not {getattr(self, name)}')
    for name in (
      'eval_every',
      'preview_every',
      'checkpoint_every',
      'keep_best',
      'cpu_threads',
      'prefetch',
      'workers',
    ):
      if getattr(self, name) < 0:
        raise ValueError(f'config.train.{name} must not be negative, but is {getattr(self, name)}')
    for name in ('steps', 'log_every', 'eval_every', 'preview_every', 'checkpoint_every'):
      if getattr(self, name) % self.steps_per_call:
        value, call = getattr(self, name), self.steps_per_call
        raise ValueError(f'config.train.{name}={value} is no multiple of steps_per_call={call}')
    choices = {
      'best_mode': ('max', 'min'),
      'final': ('last', 'best'),
      'on_nonfinite': ('halt', 'skip'),
    }
    for name, valid in choices.items():
      if getattr(self, name) not in valid:
        raise ValueError(
          f'config.train.{name} must be {" or ".join(valid)}, not {getattr(self, name)!r}'
        )
