"""What is measured together, by kind of machine: the rows that README has a table of."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from zoo.names import unknown


class Target(NamedTuple):
  """Something to measure.

  Attributes:
    name: of a config of the embedded data, or of a model.
    what: measurements, see `MEASUREMENTS`.
    batch_size: if not the config's; None is for configs alone.
    options: overrides of a config, 'section.option' -> value; fields of a model.
    dtype: see `workload.DTYPES`; None as it is.
    is_model: or else it is a config.
  """

  name: str
  what: tuple[str, ...] = ('train', 'loop')
  batch_size: int | None = None
  options: Mapping[str, Any] = {}
  dtype: str | None = None
  is_model: bool = False

  @property
  def label(self) -> str:
    """Its name with whatever makes it differ from what has that name."""
    extra = [f'{k.rpartition(".")[2]}={v}' for k, v in self.options.items()]
    return ' '.join([self.name, *extra, *([self.dtype] if self.dtype else [])])


def model(name: str, batch_size: int, *what: str, **options: Any) -> Target:
  dtype = options.pop('computed_in', None)
  return Target(name, what or ('train',), batch_size, options, dtype, is_model=True)


# Every family, on the data that ship inside dependencies: what runs anywhere.
CPU = (
  Target('digits_mlp'),
  Target('digits_cnn'),
  Target('digits_lstm'),
  Target('digits_gan'),
  Target('digits_vae'),
  Target('digits_fixmatch'),
  Target('digits_simclr'),
  Target('digits_transfer', ('train',)),
  Target('photos_restoration', ('train',)),
  Target('catch_dqn', ('loop',)),
  Target('cartpole_dqn', ('loop',)),
  Target('cartpole_pqn', ('loop',)),
  Target('dates_transformer'),
  Target('pydocs_lstm'),
  Target('pydocs_gpt_char'),
  model('resnet18_cifar', 32),
  model('gpt2', 1, 'generate'),
)

# What published figures are of. The environments are CartPole's, which are on the device.
LARGE = {'dropout': 0.0, 'computed_in': 'bf16'}
ACCELERATOR = (
  model('gpt2', 32, 'compile', 'train', **LARGE),
  model('gpt2_xl', 8, 'train', remat=True, scan_layers=True, **LARGE),
  model('gpt2', 1, 'generate', **LARGE),
  model('gpt2', 64, 'generate', **LARGE),
  model('resnet50', 256, 'train', computed_in='bf16'),
  model('vit_b16', 128, 'train', computed_in='bf16'),
  model('lstm', 256, 'train', implementation='scan'),
  model('lstm', 256, 'train', implementation='cudnn'),
  Target('cartpole_dqn', ('loop',), options={'data.num_envs': 256, 'data.learn_every': 256}),
  Target('digits_cnn'),
  Target('pydocs_gpt_char'),
)
SUITES = {
  'cpu': CPU,
  'gpu': ACCELERATOR,
  'tpu': tuple(t for t in ACCELERATOR if t.options.get('implementation') != 'cudnn'),
}


def of_platform(name: str, platform: str) -> tuple[Target, ...]:
  """A suite, on the machine that it is for.

  Raises:
    ValueError: no such suite, or the machine has no such device; one line.
  """
  if name not in SUITES:
    raise unknown('--suite', name, SUITES)
  if name != platform:
    raise ValueError(f'--suite={name} needs a {name.upper()}; JAX finds only a {platform.upper()}')
  return SUITES[name]


def overrides(target: Target) -> Iterator[str]:
  """The options of a config as they are given on a command line."""
  for name, value in target.options.items():
    yield f'--config.{name}={value}'
