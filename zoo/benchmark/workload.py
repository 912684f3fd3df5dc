"""What is measured: an experiment of a config, or a model with its published objective."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.benchmark.flops import Flops, count, of_training
from zoo.benchmark.stand_ins import STAND_INS
from zoo.catalog import LOADERS, MODELS, create_model, example_batch, published
from zoo.config import options_of
from zoo.data import arrays
from zoo.experiment import complete_config, make_experiment
from zoo.names import unknown
from zoo.training.parallel import Parallel, parallelize
from zoo.types import Array, Batch, Objective, PyTree, Source

DTYPES = {'f32': 'float32', 'bf16': 'bfloat16'}  # by what --dtype calls them


class Workload(NamedTuple):
  """The parts of an experiment; the objective fits the strategy of `parallel`.

  Attributes:
    objective: what to learn.
    tx: how to update.
    source: what to learn from.
    parallel: on which devices.
    steps_per_call: steps in one call of the loop.
    augment: (key, batch) -> batch: what the loss does to a batch first, see `Experiment.augment`.
    workers: threads that decode the batches of a source on the host.
    module: the model.
    units: what a step makes beside examples, by name; see `Contestant`.
    warm: whether compiling from a cache is measured too, see `compile_ahead`.
  """

  objective: Objective
  tx: optax.GradientTransformation
  source: Source
  parallel: Parallel
  steps_per_call: int = 1
  augment: Callable[[Array, Batch], Batch] | None = None
  workers: int = 0
  module: nn.Module | None = None
  units: dict[str, int] = {}  # noqa: RUF012  # never written to
  warm: bool = False

  @property
  def batch_size(self) -> int:
    """Examples in a batch, over all devices."""
    return jax.tree.leaves(self.source.spec)[0].shape[0]

  def training_flops(self) -> Flops:
    """Of a step, over all devices; see `flops.of_training`."""
    parallel = self.parallel
    return of_training(self.objective, self.source.spec, parallel.axis_name, parallel.num_shards)

  def forward_flops(self) -> Flops:
    """Of the predictions for a batch."""
    assert self.objective.predict is not None
    spec, key = self.source.spec, jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(self.objective.init, key, spec)
    return count(self.objective.predict, *variables, spec)


def from_config(
  values: Mapping[str, Any],
  strategy: str | None = None,
  size: int | None = None,
  dtype: str | None = None,
  devices: Any = None,
  synthetic: bool = False,
) -> Workload:
  """The experiment of a config. Reads its data, if they are not `synthetic`.

  Args:
    values: of the config, complete.
    strategy: another one than `train.parallel`.
    size: another one than `data.batch_size`.
    dtype: of the computation, one of DTYPES, if not the model's.
    devices: all by default.
    synthetic: let random arrays stand in for data, see `stand_ins`.
  """
  values = {section: dict(options) for section, options in values.items()}
  if strategy is not None:
    values['train']['parallel'] = strategy
  if size is not None:
    if 'batch_size' not in values['data']:
      raise ValueError(
        f'data of the loader {values["data"]["loader"]} have no batch_size to change'
      )
    values['data']['batch_size'] = size
  values['model'] |= computed_in(values['model']['name'], dtype)
  loaders = STAND_INS if synthetic else LOADERS
  made = make_experiment(complete_config(values), devices=devices, loaders=loaders)
  loader = LOADERS[values['data']['loader']]
  decodes = 'workers' in inspect.signature(loader).parameters
  return Workload(
    *(made.objective, made.tx, made.dataset.train, made.parallel, made.settings.steps_per_call),
    augment=made.augment,
    workers=made.settings.workers if decodes else 0,
    module=made.module,
    units=units_of(made.dataset.train.spec, values['data']),
  )


def from_model(
  name: str,
  strategy: str = 'auto',
  size: int = 32,
  dtype: str | None = None,
  devices: Any = None,
  options: Mapping[str, Any] | None = None,
) -> Workload:
  """A model of the zoo with its published objective, on random arrays, by AdamW.

  Args:
    name: one of `list_models()`.
    strategy: see `parallelize`.
    size: of the batch.
    dtype: of the computation, one of DTYPES, if not the model's.
    devices: all by default.
    options: fields of its class that differ from the published ones.
  """
  parallel, spec = parallelize(strategy, devices), example_batch(name, size)
  parallel.split(spec)  # refuses a batch that does not divide
  options = {**(options or {}), **computed_in(name, dtype)}
  objective = published(name, parallel.axis_name, **options)
  return Workload(
    *(objective, optax.adamw(1e-3), arrays.epochs(synthetic_batch(spec), size), parallel),
    module=create_model(name, **options),
    units=units_of(spec, {}),
  )


def computed_in(name: str, dtype: str | None) -> dict[str, str]:
  """The option of a model that says what it computes in; none if it stays as it is."""
  if dtype is None:
    return {}
  if dtype not in DTYPES:
    raise unknown('--dtype', dtype, DTYPES)
  if not has_dtype(name):
    raise ValueError(f'the model {name} has no dtype to choose')
  return {'dtype': DTYPES[dtype]}


def has_dtype(name: str) -> bool:
  """Whether a model can be told what to compute in."""
  return 'dtype' in options_of(MODELS[name].module)


def units_of(spec: PyTree, data: Mapping[str, Any]) -> dict[str, int]:
  """What a step of training takes beside examples: tokens, or steps of environments."""
  if data.get('loader') == 'environment':
    return {'environment_steps': data['learn_every']}
  if data.get('loader') == 'rollouts':
    per_phase = data['num_envs'] * data['steps']
    return {'environment_steps': per_phase // (data['minibatches'] * data['epochs'])}
  names = spec if isinstance(spec, dict) else {}
  sequence = next((names[name] for name in ('tokens', 'target') if name in names), None)
  if sequence is None or sequence.ndim != 2:
    return {}
  return {'tokens': math.prod(sequence.shape)}


def synthetic_source(spec: PyTree) -> Source:
  """A source on the host whose batches are all the same synthetic one."""
  batch = synthetic_batch(spec)
  return Source(spec, lambda key: (), lambda state, params, data: (state, batch), on_device=False)


def synthetic_batch(spec: PyTree, seed: int = 0) -> Batch:
  """Random numpy arrays: bytes in 0 .. 255, other integers (labels) 0 or 1, floats in [0, 1)."""
  rng = np.random.default_rng(seed)

  def leaf(x: Any) -> np.ndarray:
    if jnp.issubdtype(x.dtype, jnp.floating):
      return rng.random(x.shape).astype(x.dtype)
    return rng.integers(256 if x.dtype == np.uint8 else 2, size=x.shape).astype(x.dtype)

  return jax.tree.map(leaf, spec)
