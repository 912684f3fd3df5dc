"""Sources that act on the device: environments and a replay to learn from, episodes to judge by."""

from typing import Any

import jax
import jax.numpy as jnp

from zoo.data import replay
from zoo.data.environment import Environment, advance, play
from zoo.data.experience import Policy, experience
from zoo.types import Array, Batch, PyTree, Source


def interact(
  environment: Environment,
  policy: Policy,
  layout: replay.Layout,
  *,
  frames_per_batch: int = 1,
  warmup: int = 100,
  **options: Any,
) -> Source:
  """An endless source: acts in environments with the current parameters, stores, and samples.

  `init` fills the replay by acting at random. `next` acts in all environments, and then draws a
  batch from what it has stored. The state is that of `experience`, and 'environment': [num_envs,
  ...], the states of the environments.

  Args:
    environment: observations as they are stored; `layout.stack` of them are seen at once.
    policy: (params, observations, key) -> values [B, A]. The key is for noise, the same for all.
    layout: of the replay.
    frames_per_batch: steps of every environment between two batches.
    warmup: frames that `init` makes, of every environment.
    **options: of `experience`: how many environments, how often at random, and so on.

  Raises:
    ValueError: numbers that do not fit each other; one line.
  """
  frame, A = environment.observation, environment.num_actions
  parts = experience(frame, A, policy, layout, warmup=warmup, **options)
  num_envs = options['num_envs']

  def init(key: Array) -> PyTree:
    start_key, key = jax.random.split(key)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(start_key, jnp.arange(num_envs))
    inner, frames = jax.vmap(environment.reset)(keys)
    state = parts.begin(key, frames) | {'environment': inner}
    return jax.lax.fori_loop(0, warmup, lambda _, state: act(state, None), state)

  def act(state: PyTree, params: PyTree) -> PyTree:
    """One step of every environment; at random without parameters."""
    action, keys = parts.choose(state, params)
    step = jax.vmap(lambda *args: advance(environment, *args))
    after = step(state['environment'], state['ended'], action, keys)
    over = after.terminated | after.truncated
    state = parts.record(state, action, after.observation, after.reward, after.terminated, over)
    return state | {'environment': after.state}

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del data
    if frames_per_batch == 1:
      state = act(state, params)
    else:
      state = jax.lax.fori_loop(0, frames_per_batch, lambda _, state: act(state, params), state)
    batch, leaf = parts.draw(state)
    if parts.weigh:
      state = parts.settle(state, leaf, parts.weigh(params, batch))
    return state, batch

  return Source(parts.spec, init, next_batch, on_device=True, acts=True)


def episodes(
  environment: Environment, policy: Policy, count: int, draw: int, epsilon: float = 0.0
) -> Source:
  """A source of evaluation: one batch of whole episodes, in which the best action is taken.

  {'return': float32, 'length': int32, 'weight': 1, each [count]}. They depend on the key that
  `init` is given and on `draw`, not on what was trained in, and are the same each time.

  Args:
    environment: as the policy sees it.
    policy: (params, observations) -> values.
    count: episodes.
    draw: which ones.
    epsilon: share of random actions.
  """

  def init(key: Array) -> PyTree:
    return {'key': jax.random.fold_in(key, draw), 'lane': jnp.arange(count, dtype=jnp.int32)}

  def next_batch(state: PyTree, params: PyTree, data: PyTree) -> tuple[PyTree, Batch]:
    del data

    def choose(seen: Array, key: Array) -> Array:
      best = jnp.argmax(policy(params, seen[None])[0])
      if not epsilon:
        return best
      whether, which = jax.random.split(key)
      action = jax.random.randint(which, (), 0, environment.num_actions, best.dtype)
      return jnp.where(jax.random.uniform(whether) < epsilon, action, best)

    def one(lane: Array) -> Batch:
      episode = play(environment, choose, jax.random.fold_in(state['key'], lane))
      return {
        'return': jnp.sum(episode.rewards),
        'length': episode.length,
        'weight': jnp.ones(()),
      }

    return state, jax.vmap(one)(state['lane'])

  return Source(of_episodes(count), init, next_batch, on_device=True, acts=True, num_batches=1)


def of_episodes(count: int) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes of a batch of episodes."""
  leaf = lambda dtype: jax.ShapeDtypeStruct((count,), dtype)
  return {'return': leaf(jnp.float32), 'length': leaf(jnp.int32), 'weight': leaf(jnp.float32)}
