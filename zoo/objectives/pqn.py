"""Q-learning without a target network, from returns that a source of rollouts gives."""

from typing import Any

import flax.linen as nn
import jax
import optax

from zoo import td
from zoo.losses import weighted_mean
from zoo.objectives.dqn import evaluate_episodes, values
from zoo.types import Array, Batch, Objective, PyTree, Scalars


def pqn(module: nn.Module, *, num_actions: int, axis_name: str | None = None) -> Objective:
  """Learns what actions are worth from targets made with the parameters themselves.

  What keeps this stable in place of a target network is normalisation within the network
  (`norm='layer'`) and returns over several steps.

  A batch is that of `data/rollouts.py`: 's_tm1' [B, ...], 'a_tm1' int32 [B], 'target' and 'weight'
  float32 [B]. Batches of evaluation, and `predict`, are as of `dqn`.

  Args:
    module: a `models.QNetwork` with the head 'scalar'.
    num_actions: of the environment.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: another head, or a network of other actions.

  References:
    Gallici et al. 2024, Simplifying Deep Temporal Difference Learning.
  """
  options: Any = module
  if options.head != 'scalar':
    raise ValueError(f"pqn learns values: config.model.head must be 'scalar', not {options.head!r}")
  if options.num_actions != num_actions:
    raise ValueError(
      f'the network values {options.num_actions} actions, but there are {num_actions}'
    )

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    return module.init(key, batch['s_tm1'][:1], train=False)['params'], {}

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    rngs = {'noise': key}
    q: Any = module.apply({'params': params}, batch['s_tm1'], train=True, rngs=rngs)
    chosen = jax.vmap(td.of_action)(q, batch['a_tm1'])
    each = optax.l2_loss(chosen, batch['target'])
    value = weighted_mean(each, batch['weight'], axis_name)
    mean_q = weighted_mean(q.mean(-1), batch['weight'], axis_name)
    return value, (extras, {'loss': value, 'q': mean_q})

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    del extras
    return values(module)(params, batch['s_tm1'])

  return Objective(init, loss, evaluate_episodes, predict=predict)
