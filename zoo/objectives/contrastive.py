"""SimCLR: learning features without labels, from which views are of the same example."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from zoo.metrics import ratio
from zoo.objectives.classification import read_input
from zoo.types import Array, Batch, Objective, PyTree, Scalars, as_variables, parted


@flax.struct.dataclass
class ViewMetrics:
  """Sums over views.

  Attributes:
    loss: float32 [], of `nt_xent`.
    matches: int32 [], views whose nearest other one is of the same example.
    views: int32 [], how many.
  """

  loss: Array
  matches: Array
  views: Array

  def compute(self) -> dict[str, float]:
    views = int(self.views)
    return {'loss': ratio(float(self.loss), views), 'matches': ratio(int(self.matches), views)}


def contrastive(
  module: nn.Module,
  *,
  input_key: str = 'image',
  hidden_width: int = 128,
  embedding_width: int = 64,
  temperature: float = 0.5,
  axis_name: str | None = None,
) -> Objective:
  """Tells the other view of an example from those of all others in the batch.

  Batches of the loss and of `evaluate` are {'first', 'second'}: two views of the same examples
  (`data.views.two`); those of `init` and `predict` have no parts. The features of the module pass
  through two dense layers to where they are compared. These layers, the projection head, are of use
  in training alone: `predict` returns features, float32 [B, D], and `variables` are the module's.

  The loss is the mean over all views of all devices, each compared with all others: the same under
  every strategy. But that of `evaluate` depends on the size of a batch. The scalars are 'loss' and
  'matches', the share of views whose nearest is the other of the same example.

  Parameters are {'backbone': the module's, 'projection': ...}.

  Args:
    module: takes (x, train) and returns features [B, D].
    input_key: the leaf of each part that the module takes.
    hidden_width: of the projection head's first layer.
    embedding_width: of its second, where views are compared.
    temperature: by which cosines are divided.
    axis_name: the mapped axis, under pmap. The module must have been given the same.

  Raises:
    ValueError: an option out of its range.

  References:
    Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations,
    algorithm 1 and section 4.2 (the head).
  """
  if not temperature > 0:
    raise ValueError(f'temperature must be positive, not {temperature}')
  if min(hidden_width, embedding_width) < 1:
    raise ValueError(f'widths must be positive, not {hidden_width} and {embedding_width}')
  head = nn.Sequential([nn.Dense(hidden_width), nn.relu, nn.Dense(embedding_width)])

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    module_key, head_key = jax.random.split(key)
    inputs = read_input(batch, input_key)[:1]
    features, variables = module.init_with_output(module_key, inputs, train=False)
    backbone, extras = parted(variables)
    projection = head.init(head_key, features)['params']
    return {'backbone': backbone, 'projection': projection}, extras

  def pairs(batch: Batch) -> Array:
    return jnp.concatenate([read_input(batch[part], input_key) for part in ('first', 'second')])

  def compared(params: PyTree, features: Array, weights: Array | None) -> tuple[Array, Array]:
    embedded = head.apply({'params': params['projection']}, features)
    assert isinstance(embedded, Array)
    first, second = jnp.split(embedded, 2)
    return nt_xent(first, second, temperature, weights, axis_name)

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    features, extras = module.apply(
      variables(params, extras),
      pairs(batch),
      train=True,
      rngs={'dropout': key},
      mutable=list(extras),
    )
    losses, matches = compared(params, features, None)
    value = jnp.mean(losses)
    return value, (extras, {'loss': value, 'matches': jnp.mean(matches.astype(jnp.float32))})

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> ViewMetrics:
    del key
    features = featurize(params, extras, pairs(batch))
    weights = batch['first'].get('weight', jnp.ones(len(features) // 2))
    losses, matches = compared(params, features, weights)
    counts = jnp.concatenate([weights, weights]) > 0
    return ViewMetrics(
      loss=jnp.sum(jnp.where(counts, losses, 0.0)),
      matches=jnp.sum((matches & counts).astype(jnp.int32)),
      views=jnp.sum(counts.astype(jnp.int32)),
    )

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    return featurize(params, extras, read_input(batch, input_key))

  def featurize(params: PyTree, extras: PyTree, inputs: Array) -> Array:
    features = module.apply(variables(params, extras), inputs, train=False)
    assert isinstance(features, Array)
    return features.astype(jnp.float32)

  def variables(params: PyTree, extras: PyTree) -> PyTree:
    return {'params': params['backbone'], **extras}

  def adopt(params: PyTree, extras: PyTree, variables: PyTree) -> tuple[PyTree, PyTree]:
    backbone, extras = as_variables(params['backbone'], extras, variables)
    return params | {'backbone': backbone}, extras

  return Objective(init, loss, evaluate, predict=predict, variables=variables, adopt=adopt)


def nt_xent(
  first: Array,
  second: Array,
  temperature: float,
  weights: Array | None = None,
  axis_name: str | None = None,
) -> tuple[Array, Array]:
  """The cross-entropy, for each view, of finding its partner among all others by their cosines.

  Args:
    first: float [B, D], a view of each example.
    second: float [B, D], another.
    temperature: by which cosines are divided.
    weights: float [B]; views of an example that weighs 0 are not among the others. None for all.
    axis_name: the mapped axis: the others are those of all devices.

  Returns:
    The losses, float32 [2 B], of the first views and then of the second; and bool [2 B], whether
    the partner is the nearest.

  References:
    Chen et al. 2020, equation 1: the normalized temperature-scaled cross-entropy.
  """
  B = len(first)
  own = jnp.stack([first, second]).astype(jnp.float32)
  own /= jnp.maximum(jnp.linalg.norm(own, axis=-1, keepdims=True), 1e-8)
  everyone, rows = own, jnp.arange(B)
  there = jnp.ones(B, bool) if weights is None else weights > 0
  if axis_name is not None:
    everyone = jax.lax.all_gather(own, axis_name, axis=1, tiled=True)
    there = jax.lax.all_gather(there, axis_name, tiled=True)
    rows += jax.lax.axis_index(axis_name) * B
  similar = jnp.einsum('vbd,wcd->vbwc', own, everyone) / temperature  # view, row, view, row

  same_row = (rows[:, None] == jnp.arange(len(there))[None, :])[None, :, None, :]
  same_view = jnp.eye(2, dtype=bool)[:, None, :, None]
  partner = jnp.sum(jnp.where(same_row & ~same_view, similar, 0.0), axis=(2, 3))
  hidden = (same_row & same_view) | ~there[None, None, None, :]
  others = jnp.where(hidden, -jnp.inf, similar)
  losses = jax.nn.logsumexp(others, axis=(2, 3)) - partner
  return losses.reshape(-1), (partner >= jnp.max(others, axis=(2, 3))).reshape(-1)
