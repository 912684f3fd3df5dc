"""Learning rates: schedules as shapes whose peak is 1, and the rate that multiplies them as a leaf.

A shape knows nothing of the rate, and the rate is a part of the optimiser's state. So it can be
changed in mid-run, or differ between the members of a vmapped sweep, under one compiled step.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from zoo.names import unknown
from zoo.types import Array


def make_schedule(
  name: str = 'constant',
  *,
  total_steps: int | None = None,
  warmup_steps: int = 0,
  final_scale: float = 0.0,
  boundaries: tuple = (),
  decay_factor: float = 0.1,
) -> Callable[[ArrayLike], Array]:
  """Returns shape: (t) -> float32 in [0, 1], for the step that is taken after t others.

  It is the product of a warm-up, min(1, (t + 1) / warmup_steps), in which the first step already
  learns and the last is at the peak, and of a decay:

  - constant: 1.
  - cosine: half a period from 1 to `final_scale` over the steps after the warm-up.
  - linear: from 1 to `final_scale` over the same steps.
  - step: `decay_factor` to the power of how many boundaries t has reached.
  - rsqrt: sqrt(w / max(t + 1, w)) with w = max(warmup_steps, 1).

  Args:
    name: one of the above.
    total_steps: where cosine and linear reach `final_scale`, and stay.
    warmup_steps: steps of linear warm-up, which are a part of `total_steps`.
    final_scale: the end of cosine and linear, as a fraction of the peak.
    boundaries: int, in steps from the start of the run, for step.
    decay_factor: what step multiplies by at each boundary.

  Raises:
    ValueError: an unknown name, something missing, or a number out of its range.

  References:
    Warm-up: Goyal et al. 2017, Accurate, Large Minibatch SGD, section 2.2. Cosine: Loshchilov and
    Hutter 2017, SGDR, equation 5, without restarts. Rsqrt with warm-up: Vaswani et al. 2017,
    Attention Is All You Need, equation 3, whose step number is t + 1.
  """
  w = max(warmup_steps, 1)
  decays = {  # p in [0, 1] is the part done of the steps after the warm-up
    'constant': lambda t, p: jnp.ones_like(t),
    'cosine': lambda t, p: final_scale + (1 - final_scale) * (1 + jnp.cos(jnp.pi * p)) / 2,
    'linear': lambda t, p: 1 - (1 - final_scale) * p,
    'step': lambda t, p: decay_factor ** sum((t >= b).astype(t.dtype) for b in boundaries),
    'rsqrt': lambda t, p: jnp.sqrt(w / jnp.maximum(t + 1, w)),
  }
  if name not in decays:
    raise unknown('schedule', name, decays)
  if name in ('cosine', 'linear') and total_steps is None:
    raise ValueError(f'schedule {name!r} needs total_steps')
  if name == 'step' and not boundaries:
    raise ValueError("schedule 'step' needs boundaries")
  if warmup_steps < 0:
    raise ValueError(f'warmup_steps must be >= 0, got {warmup_steps}')
  if total_steps is not None and total_steps <= warmup_steps:
    raise ValueError(f'total_steps must be > warmup_steps ({warmup_steps}), got {total_steps}')
  for key, value in (('final_scale', final_scale), ('decay_factor', decay_factor)):
    if not 0 <= value <= 1:
      raise ValueError(f'{key} must be in [0, 1], got {value}')
  decay = decays[name]
  decay_steps = 1 if total_steps is None else total_steps - warmup_steps

  def shape(t: ArrayLike) -> Array:
    t = jnp.asarray(t, jnp.float32)
    p = jnp.clip((t - warmup_steps) / decay_steps, 0, 1)
    return jnp.minimum(1, (t + 1) / w) * decay(t, p)

  return shape


@functools.partial(optax.inject_hyperparams, hyperparam_dtype=jnp.float32)
def scale_by_learning_rate(learning_rate: Any, schedule: Any) -> optax.GradientTransformation:
  """Scales by -learning_rate * schedule(updates so far); the learning rate is a leaf of the state.

  Args:
    learning_rate: float, the peak.
    schedule: a shape, as `make_schedule` returns.
  """
  return optax.scale_by_learning_rate(learning_rate * schedule)


def learning_rate(opt_state: optax.OptState) -> Array:
  """The rate in a state with `scale_by_learning_rate`, without its schedule: float32 []."""
  return _injected(opt_state)['learning_rate']


def scheduled_learning_rate(opt_state: optax.OptState) -> Array:
  """The learning rate times its schedule, as the latest update used it (or the first will)."""
  hyperparams = _injected(opt_state)
  return hyperparams['learning_rate'] * hyperparams['schedule']


def set_learning_rate(opt_state: optax.OptState, value: ArrayLike) -> optax.OptState:
  """Returns the state with another learning rate; a step compiled for the old one serves the new.

  Args:
    opt_state: a state with `scale_by_learning_rate` anywhere in it, or N such states stacked.
    value: the rate, [] or, for a stack, [N].
  """

  def replace(node: Any) -> Any:
    if not _is_injected(node):
      return node
    # Placed and typed as the old one, or jit would compile again; and a copy, or to donate the
    # state would delete the caller's array.
    rate = jnp.array(jnp.full_like(node.hyperparams['learning_rate'], value))
    return node._replace(hyperparams={**node.hyperparams, 'learning_rate': rate})

  return jax.tree.map(replace, opt_state, is_leaf=_is_injected)


def _is_injected(node: Any) -> bool:
  return isinstance(node, optax.InjectStatefulHyperparamsState)


def _injected(opt_state: optax.OptState) -> dict[str, Array]:
  return next(filter(_is_injected, jax.tree.leaves(opt_state, is_leaf=_is_injected))).hyperparams
