"""Objectives made of objectives: with_transform, with_augmentation, with_views, with_ema and more.

They compose as functions do. Of two that change the batch, the outermost does so first:
`with_transform(with_augmentation(objective, flip), scale)` scales, then flips.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo import paths
from zoo.types import Array, Batch, Metrics, Objective, PyTree, Scalars


def with_transform(objective: Objective, fn: Callable[[Batch], Batch]) -> Objective:
  """Applies fn to every batch, in init, loss, evaluate and predict: scaling, standardising.

  Args:
    objective: what to learn from the batches that fn returns.
    fn: batch -> batch, jittable and without randomness.
  """

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    return objective.init(key, fn(batch))

  def loss(params: PyTree, extras: PyTree, batch: Batch, key: Array):
    return objective.loss(params, extras, fn(batch), key)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> Metrics:
    return objective.evaluate(params, extras, fn(batch), key)

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> PyTree:
    assert objective.predict is not None
    return objective.predict(params, extras, fn(batch))

  changed = objective._replace(init=init, loss=loss, evaluate=evaluate)
  return changed._replace(predict=predict) if objective.predict else changed


def with_augmentation(objective: Objective, fn: Callable[[Array, Batch], Batch]) -> Objective:
  """Applies fn to the batches of the loss alone.

  Args:
    objective: what to learn. Its loss gets a key of its own, independent of fn's.
    fn: (key, batch) -> batch, jittable. It may change labels into distributions (mixup), but must
      keep the shape of the inputs, since init and evaluate see them as they are.
  """

  def loss(params: PyTree, extras: PyTree, batch: Batch, key: Array):
    augment_key, loss_key = jax.random.split(key)
    return objective.loss(params, extras, fn(augment_key, batch), loss_key)

  return objective._replace(loss=loss)


def with_views(objective: Objective, fn: Callable[[Array, Batch], Batch]) -> Objective:
  """Applies fn to the batches of the loss and of evaluation, for objectives that compare views.

  Args:
    objective: what to learn from the views. Its init and predict see batches as they are.
    fn: (key, batch) -> batch of views, jittable.
  """

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> Metrics:
    view_key, key = jax.random.split(key)
    return objective.evaluate(params, extras, fn(view_key, batch), key)

  return with_augmentation(objective, fn)._replace(evaluate=evaluate)


def with_ema(objective: Objective, decay: float, *, warmup: bool = False) -> Objective:
  """Evaluates and predicts by an exponential moving average of the parameters.

  extras become {'inner': the objective's own, 'ema': the average}. After the n-th step,
  ema <- ema + (1 - decay) * (params - ema), starting from the initial parameters. The objective's
  own extras are used as they are: batch statistics are running averages already.

  Args:
    objective: what to learn.
    decay: in [0, 1). Per training step, also where gradients are accumulated over several.
    warmup: decays by min(decay, (1 + n) / (10 + n)) instead, so that a short run forgets its
      initial parameters.

  Raises:
    ValueError: if decay is out of its range.

  References:
    Polyak and Juditsky 1992. The warm-up is that of `tf.train.ExponentialMovingAverage` with
    `num_updates`. That, and `torch.optim.swa_utils.AveragedModel`, leave batch statistics too.
  """
  if not 0 <= decay < 1:
    raise ValueError(f'decay must be in [0, 1), got {decay}')

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    params, inner = objective.init(key, batch)
    # A copy: the state is donated, and no two of its leaves may share a buffer.
    return params, {'inner': inner, 'ema': jax.tree.map(jnp.copy, params)}

  def loss(params: PyTree, extras: PyTree, batch: Batch, key: Array):
    value, (inner, scalars) = objective.loss(params, extras['inner'], batch, key)
    return value, ({'inner': inner, 'ema': extras['ema']}, scalars)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> Metrics:
    del params
    return objective.evaluate(extras['ema'], extras['inner'], batch, key)

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> PyTree:
    del params
    assert objective.predict is not None
    return objective.predict(extras['ema'], extras['inner'], batch)

  def refresh(extras: PyTree, params: PyTree, step: Array) -> PyTree:
    n = jnp.asarray(step, jnp.float32)
    rate = 1 - jnp.minimum(decay, (1 + n) / (10 + n)) if warmup else 1 - decay
    average = lambda ema, new: (ema + rate * (new - ema)).astype(ema.dtype)
    return {
      'inner': objective.refresh(extras['inner'], params, step),
      'ema': jax.tree.map(average, extras['ema'], params),
    }

  def variables(params: PyTree, extras: PyTree) -> PyTree:
    del params
    return objective.variables(extras['ema'], extras['inner'])

  def adopt(params: PyTree, extras: PyTree, variables: PyTree) -> tuple[PyTree, PyTree]:
    params, inner = objective.adopt(params, extras['inner'], variables)
    return params, {'inner': inner, 'ema': jax.tree.map(jnp.copy, params)}

  changed = Objective(init, loss, evaluate, refresh, objective.predict and predict)
  return changed._replace(variables=variables, adopt=adopt, parts=objective.parts)


def with_penalty(objective: Objective, *, l1: float = 0.0, l2: float = 0.0) -> Objective:
  """Adds l1 * sum |w| + l2 / 2 * sum w^2 over the weights w to the loss, and to its scalars.

  Weights are what `paths.is_weight` says, so neither biases nor scales. The gradient of the second
  term, l2 * w, is the weight decay of PyTorch's SGD; it passes through momentum and normalisation,
  which the decoupled decay of `make_optimizer` does not. Under pmap every device adds the same
  penalty, whose mean over the devices is the penalty itself.

  Args:
    objective: what to learn.
    l1: of the sum of absolute values (lasso).
    l2: of half the sum of squares (ridge).

  Returns:
    The objective, with the scalar 'penalty'.

  Raises:
    ValueError: if either is negative.
  """
  if l1 < 0 or l2 < 0:
    raise ValueError(f'l1 and l2 must be >= 0, got {l1} and {l2}')

  def penalty(path: str, w: Array) -> Array:
    if not paths.is_weight(path, w):
      return jnp.zeros(())
    w = w.astype(jnp.float32)
    return l1 * jnp.sum(jnp.abs(w)) + l2 / 2 * jnp.sum(jnp.square(w))

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    value, (extras, scalars) = objective.loss(params, extras, batch, key)
    total = sum(jax.tree.leaves(paths.map_named(penalty, params)), start=jnp.zeros(()))
    return value + total, (extras, {**scalars, 'penalty': total})

  return objective._replace(loss=loss)
