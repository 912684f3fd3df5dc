"""A tiny objective with what a family may bring: batch statistics and a target network."""

import chex
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.data import arrays
from zoo.training import build, run
from zoo.types import Array, Objective, Source


class Network(nn.Module):
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x, train):
    x = nn.Dense(16, use_bias=False)(x)  # batch norm would leave a bias nothing but rounding
    x = nn.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name)(x)
    return nn.Dense(3)(nn.relu(x))


@flax.struct.dataclass
class Hits:
  loss: Array  # float32 []
  hits: Array  # int32 []
  count: Array  # int32 []

  def compute(self):
    return {'loss': float(self.loss / self.count), 'accuracy': float(self.hits / self.count)}


def objective(axis_name=None, traces=None):
  """Classifies three classes; `traces` counts how often the loss is traced."""
  network = Network(axis_name)

  def init(key, batch):
    variables = network.init(key, batch['x'], train=False)
    target = jax.tree.map(jnp.copy, variables['params'])
    return variables['params'], {'stats': variables['batch_stats'], 'target': target}

  def loss(params, extras, batch, key):
    del key
    if traces is not None:
      traces.append('loss')
    variables = {'params': params, 'batch_stats': extras['stats']}
    logits, new = network.apply(variables, batch['x'], train=True, mutable=['batch_stats'])
    value = optax.softmax_cross_entropy_with_integer_labels(logits, batch['label']).mean()
    scalars = {'loss': value, 'accuracy': jnp.mean(logits.argmax(-1) == batch['label'])}
    return value, (extras | {'stats': new['batch_stats']}, scalars)

  def evaluate(params, extras, batch, key):
    del key
    if traces is not None:
      traces.append('evaluate')
    variables = {'params': params, 'batch_stats': extras['stats']}
    logits = network.apply(variables, batch['x'], train=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch['label'])
    kept = batch['weight'] > 0
    hits = (logits.argmax(-1) == batch['label']) & kept
    return Hits(jnp.where(kept, losses, 0).sum(), hits.sum(), kept.sum())

  def refresh(extras, params, step):
    return extras | {'target': optax.periodic_update(params, extras['target'], step, 5)}

  return Objective(init, loss, evaluate, refresh)


def data(size, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(size, 6)).astype(np.float32)
  label = (x[:, 0] > 0).astype(np.int32) + (x[:, 1] > 0.5).astype(np.int32)
  return {'x': x, 'label': label}


def assert_same(actual, expected, rtol=1e-5):
  """Every leaf differs by at most rtol of its norm: elements near 0 have no precision."""
  chex.assert_trees_all_equal_shapes_and_dtypes(actual, expected)
  for (path, want), got in zip(
    jax.tree.leaves_with_path(jax.device_get(expected)),
    jax.tree.leaves(jax.device_get(actual)),
    strict=True,
  ):
    difference, norm = np.linalg.norm(np.subtract(got, want)), np.linalg.norm(want)
    assert difference <= rtol * norm, f'{jax.tree_util.keystr(path)}: {difference} of {norm}'


def trained(parallel, tx, steps=20, steps_per_call=1, batch_size=32):
  """(program, state, source state as saved, last scalars) after training on 100 examples."""
  source = arrays.epochs(data(100), batch_size)
  program = build(objective(parallel.axis_name), tx, source, parallel, steps_per_call)
  state, source_state = program.init(jax.random.key(0))
  for state, source_state, scalars in run(
    program, source, state, source_state, steps=steps, steps_per_call=steps_per_call
  ):
    pass
  return program, state, program.merge_source(source_state), scalars


def host_source(examples, batch_size):
  """The batches of consecutive examples, made on the host."""
  size = len(examples['x'])

  def next_batch(state, params, data):
    del params, data
    index = (int(state['index']) * batch_size + np.arange(batch_size)) % size
    return {'index': state['index'] + 1}, {k: v[index] for k, v in examples.items()}

  spec = {k: jax.ShapeDtypeStruct((batch_size, *v.shape[1:]), v.dtype) for k, v in examples.items()}
  return Source(spec, lambda key: {'index': np.int64(0)}, next_batch, on_device=False)
