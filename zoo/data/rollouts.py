"""A source that acts and learns from what it has just done: no replay, no target network.

All environments go some steps with the parameters as they are; every step then has a target, what
it earned and what was to come by the values of those same parameters; and what was done is learnt
from in shuffled batches, a few times over. Then the next steps are made.
"""

import jax
import jax.numpy as jnp

from zoo import td
from zoo.data.arrays import permute
from zoo.data.environment import Environment, advance
from zoo.data.experience import Epsilon, Policy, unit, words
from zoo.types import Array, Batch, PyTree, Source


def rollouts(
  environment: Environment,
  policy: Policy,
  *,
  num_envs: int,
  steps: int,
  minibatches: int,
  epochs: int,
  discount: float,
  trace: float,
  epsilon: Epsilon,
  parts: int = 1,
) -> Source:
  """An endless source of what was just done, with returns to be learnt.

  A batch holds 's_tm1' [B, ...], 'a_tm1' int32 [B], 'target' float32 [B] and 'weight', 0 for a
  frame in which nothing was done because an episode had ended; B is num_envs * steps /
  minibatches.

  The state leads with environments, or parts, as that of `interaction.interact` does: {key, time:
  int32 [], frames each environment has given; made: int32 [], batches; epsilon_end: float32 [];
  lane: int32 [num_envs]; part: int32 [parts]; environment, observation, ended: [num_envs, ...];
  rollout: [num_envs, steps, ...]}.

  Args:
    environment: in which to act.
    policy: (params, observations) -> values [B, A].
    num_envs: environments.
    steps: of every environment between two phases of learning.
    minibatches: into how many batches these are divided.
    epochs: how often each step is learnt.
    discount: per step.
    trace: lambda: 0 for targets of one step, 1 for returns.
    epsilon: share of random actions.
    parts: as in `interact`: each is shuffled by itself, and gives an equal share of a batch.

  Raises:
    ValueError: numbers that do not divide; one line.

  References:
    Gallici et al. 2024, Simplifying Deep Temporal Difference Learning (PQN), algorithm 1.
  """
  if num_envs % parts or num_envs // parts * steps % minibatches:
    raise ValueError(
      f'num_envs={num_envs} times steps={steps}, in {parts} parts, cannot be divided into '
      f'minibatches={minibatches}'
    )
  A, lanes = environment.num_actions, num_envs // parts
  size, share = lanes * steps, lanes * steps // minibatches

  def init(key: Array) -> PyTree:
    start_key, key = jax.random.split(key)
    lane = jnp.arange(num_envs, dtype=jnp.int32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(start_key, lane)
    inner, observation = jax.vmap(environment.reset)(keys)
    ring, frame = (num_envs, steps), environment.observation
    return {
      'key': key,
      'time': jnp.zeros((), jnp.int32),
      'made': jnp.zeros((), jnp.int32),
      'lane': lane,
      'part': jnp.arange(parts, dtype=jnp.int32),
      'environment': inner,
      'observation': observation,
      'ended': jnp.zeros(num_envs, bool),
      'epsilon_end': jnp.full((), epsilon.end, jnp.float32),
      'rollout': {
        's_tm1': jnp.zeros((*ring, *frame.shape), frame.dtype),
        'a_tm1': jnp.zeros(ring, jnp.int32),
        'target': jnp.zeros(ring),
        'weight': jnp.zeros(ring),
      },
    }

  def act(state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
    """One step of every environment, and what is to be remembered of it."""
    time, seen, dead = state['time'], state['observation'], state['ended']
    count = time * num_envs + state['lane']
    bits, keys = words(jax.vmap(jax.random.fold_in, (None, 0))(state['key'], count), 2)
    values = policy(params, seen)
    best = jnp.argmax(values, axis=-1).astype(jnp.int32)
    at_random = unit(bits[:, 1]) < epsilon.at(time * num_envs, state['epsilon_end'])
    action = jnp.where(at_random, (bits[:, 0] % A).astype(jnp.int32), best)
    after = jax.vmap(lambda *args: advance(environment, *args))(
      state['environment'], dead, action, keys
    )
    ended = after.terminated | after.truncated
    done = {'seen': seen, 'action': action, 'reward': after.reward, 'dead': dead, 'ended': ended}
    done |= {'terminated': after.terminated, 'worth': values.max(-1)}
    moved = {'environment': after.state, 'observation': after.observation, 'ended': ended}
    return state | moved | {'time': time + 1}, done

  def collect(state: PyTree, params: PyTree) -> PyTree:
    state, done = jax.lax.scan(lambda s, _: act(s, params), state, length=steps)
    last = policy(params, state['observation']).max(-1)
    worth = jnp.concatenate([done['worth'][1:], last[None]])
    # What follows an end is of that end still: the frame after it shows where the episode stopped.
    target = jax.vmap(td.lambda_returns, 1, 1)(
      done['reward'],
      discount * (1.0 - done['terminated']),
      worth,
      trace * (1.0 - done['ended']),
    )
    rollout = {
      's_tm1': done['seen'],
      'a_tm1': done['action'],
      'target': target,
      'weight': 1.0 - done['dead'],
    }
    return state | {'rollout': jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rollout)}

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del data
    made, part = state['made'], state['part']
    due = made % (epochs * minibatches) == 0
    state = jax.lax.cond(due, collect, lambda state, _: state, state, params)
    position = made % minibatches * share + jnp.arange(share)

    def of_part(number: Array) -> Array:
      key = jax.random.fold_in(state['key'], number)
      return permute(key, jnp.full(share, made // minibatches), position, size)

    index = jax.vmap(of_part)(part)
    lane = jnp.arange(len(part))[:, None] * lanes + index // steps
    take = lambda x: x[lane.ravel(), (index % steps).ravel()]
    return state | {'made': made + 1}, jax.tree.map(take, state['rollout'])

  frame, leaf = environment.observation, lambda dtype: jax.ShapeDtypeStruct((parts * share,), dtype)
  spec = {
    's_tm1': jax.ShapeDtypeStruct((parts * share, *frame.shape), frame.dtype),
    'a_tm1': leaf(jnp.int32),
    'target': leaf(jnp.float32),
    'weight': leaf(jnp.float32),
  }
  return Source(spec, init, next_batch, on_device=True, acts=True)
