"""Q-learning with a target network, from transitions that a replay gives."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from zoo import td
from zoo.losses import weighted_mean
from zoo.types import Array, Batch, Objective, PyTree, Scalars

Policy = Callable[..., Array]


@flax.struct.dataclass
class EpisodeMetrics:
  """Sums over episodes. Two are merged by adding them leaf by leaf.

  Attributes:
    returns: float32 [], the sum of undiscounted returns.
    squares: float32 [], of their squares.
    lengths: int32 [], of their steps.
    count: int32 [], episodes.
  """

  returns: Array
  squares: Array
  lengths: Array
  count: Array

  def compute(self) -> dict[str, float]:
    """Mean and standard deviation of the returns of episodes, and their mean length."""
    count = max(int(self.count), 1)
    mean = float(self.returns) / count
    variance = max(float(self.squares) / count - mean**2, 0.0)
    return {
      'episode_return': mean,
      'episode_return_std': variance**0.5,
      'episode_length': int(self.lengths) / count,
    }


def dqn(
  module: nn.Module,
  *,
  num_actions: int,
  double: bool = True,
  munchausen: bool = False,
  temperature: float = 0.03,
  huber_delta: float = 1.0,
  target_every: int = 1,
  target_rate: float = 1.0,
  taus: int = 8,
  axis_name: str | None = None,
) -> Objective:
  """Learns what actions are worth, by the head that the module has.

  A batch holds transitions: 's_tm1' and 's_t', observations [B, ...]; 'a_tm1', int32 [B]; 'r_t',
  the (discounted) rewards on the way, and 'discount_t', 0 if the episode terminated there, float32
  [B]; optionally 'weight', 0 for what is none, and 'importance', what a transition counts, of which
  the greatest on all devices becomes 1. `extras` is {'target': parameters}.

  How many steps are between the two states, and with what chance a transition is drawn, is the
  replay's affair. Batches of evaluation hold 'return', 'length' and 'weight' of whole episodes.

  `predict` values the actions of {'s_tm1': observations}, float32 [B, A], without noise.

  Args:
    module: a `models.QNetwork`.
    num_actions: of the environment.
    double: the next action is chosen by the parameters, and valued by the target network.
    munchausen: learn soft values, with the log probability of actions as a reward; then nothing is
      `double`. Of the head 'scalar' alone.
    temperature: of munchausen's policy.
    huber_delta: errors count as squares up to here and as lines beyond, as if gradients were
      clipped; 0 for squares throughout (of quantiles: for lines throughout).
    target_every: steps between two updates of the target network.
    target_rate: how far it then goes to the parameters: 1 is a copy.
    taus: how many quantiles of 'iqn' are drawn, of both networks.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range, or munchausen with another head.

  References:
    Mnih et al. 2015, Human-level control through deep reinforcement learning. Others in `td.py`.
  """
  options: Any = module
  head = options.head
  if options.num_actions != num_actions:
    raise ValueError(
      f'the network values {options.num_actions} actions, but there are {num_actions}'
    )
  if target_every < 1 or not 0 < target_rate <= 1 or huber_delta < 0 or taus < 1:
    raise ValueError(
      'dqn needs target_every >= 1, target_rate in (0, 1], huber_delta >= 0 and taus >= 1, not '
      f'{target_every}, {target_rate}, {huber_delta} and {taus}'
    )
  if munchausen and head != 'scalar':
    raise ValueError(f"munchausen learns values: config.model.head must be 'scalar', not {head!r}")

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    params = module.init(key, batch['s_tm1'][:1], train=False)['params']
    return params, {'target': jax.tree.map(jnp.copy, params)}

  def apply(params: PyTree, x: Array, key: Array, taus: Array | None = None) -> Array:
    inputs: Any = {} if taus is None else {'taus': taus}
    rngs = {'noise': key}
    outputs: Any = module.apply({'params': params}, x, train=True, rngs=rngs, **inputs)
    return outputs

  def valued(outputs: Array) -> Array:
    return td.expectation(outputs, head, options.v_min, options.v_max)

  def errors(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> tuple[Array, Array]:
    """The loss of every transition, and its values before, [B, A]."""
    keys, B = jax.random.split(key, 5), batch['a_tm1'].shape[0]
    drawn: list[Any] = [None, None]
    if head == 'iqn':
      drawn = [jax.random.uniform(k, (B, taus)) for k in keys[3:]]
    target = extras['target']
    before = apply(params, batch['s_tm1'], keys[0], drawn[0])
    after = apply(target, batch['s_t'], keys[1], drawn[1])
    step = (before, batch['a_tm1'], batch['r_t'], batch['discount_t'], after)
    squared = lambda error: (
      optax.huber_loss(error, delta=huber_delta) if huber_delta else optax.l2_loss(error)
    )
    if munchausen:
      before_target = apply(target, batch['s_tm1'], keys[1])
      soft: Any = functools.partial(td.munchausen_q_learning, temperature=temperature)
      learning = jax.vmap(soft)
      return squared(learning(*step, before_target)), before
    chosen_by = valued(apply(params, batch['s_t'], keys[2]) if double else after)
    if head == 'scalar':
      return squared(jax.vmap(td.double_q_learning)(*step, chosen_by)), before
    if head == 'c51':
      atoms = jnp.linspace(options.v_min, options.v_max, options.num_atoms)
      learning = jax.vmap(functools.partial(td.categorical_q_learning, atoms=atoms))
      return learning(*step, chosen_by), valued(before)
    if drawn[0] is None:
      N = before.shape[-1]
      drawn[0] = jnp.broadcast_to((jnp.arange(N) + 0.5) / N, (B, N))
    learning = jax.vmap(functools.partial(td.quantile_q_learning, huber_delta=huber_delta))
    return learning(before, drawn[0], *step[1:], chosen_by), valued(before)

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    each, q = errors(params, extras, batch, key)
    weight, counts = batch.get('weight'), batch.get('importance')
    if counts is not None:
      most = counts.max()
      counts /= most if axis_name is None else jax.lax.pmax(most, axis_name)
    value = weighted_mean(each if counts is None else each * counts, weight, axis_name)
    mean_q = weighted_mean(q.mean(-1), weight, axis_name)
    return value, (extras, {'loss': value, 'q': mean_q})

  def refresh(extras: PyTree, params: PyTree, step: Array) -> PyTree:
    moved = optax.incremental_update(params, extras['target'], target_rate)
    target = optax.periodic_update(moved, extras['target'], step, target_every)
    return extras | {'target': target}

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    del extras
    return values(module)(params, batch['s_tm1'])

  return Objective(init, loss, evaluate_episodes, refresh, predict)


def evaluate_episodes(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> EpisodeMetrics:
  """Sums over a batch of whole episodes: 'return', 'length' and 'weight', each [B]."""
  del params, extras, key
  real, returns = batch['weight'] > 0, batch['return']
  total = lambda x: jnp.sum(jnp.where(real, x, 0))
  return EpisodeMetrics(
    total(returns), total(jnp.square(returns)), total(batch['length']), jnp.sum(real)
  )


def values(module: nn.Module) -> Policy:
  """Returns (params, observations, key=None) -> what actions are worth, float32 [B, A].

  Args:
    module: a `models.QNetwork`. Its noise, if it has any, is drawn with the key, once for the whole
      batch; without one there is none.
  """
  options: Any = module

  def of(params: PyTree, x: Array, key: Array | None = None) -> Array:
    rngs = {} if key is None else {'noise': key}
    outputs: Any = module.apply({'params': params}, x, train=False, rngs=rngs)
    return td.expectation(outputs, options.head, options.v_min, options.v_max)

  return of
