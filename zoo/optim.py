"""How to update: plain keyword arguments -> one optax transformation.

The chain, from the outside in: frozen parameters are set apart; the smallest weights pruned;
gradients are accumulated; clipped; each group's optimiser and weight decay; and the learning rate
times its schedule, once for all.
"""

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import optax

from zoo import paths
from zoo.names import unknown
from zoo.schedules import learning_rate as learning_rate
from zoo.schedules import make_schedule, scale_by_learning_rate
from zoo.schedules import scheduled_learning_rate as scheduled_learning_rate
from zoo.schedules import set_learning_rate as set_learning_rate
from zoo.sparsity import prune_by_magnitude
from zoo.types import PyTree


def _sgd(momentum: float = 0.0, nesterov: bool = False):
  if nesterov and not momentum:
    raise ValueError('nesterov needs a momentum > 0')
  return optax.trace(momentum, nesterov) if momentum else optax.identity()


def _adam(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, nesterov: bool = False):
  return optax.scale_by_adam(b1, b2, eps, nesterov=nesterov)


def _rmsprop(
  b2: float = 0.9,
  eps: float = 1e-8,
  momentum: float = 0.0,
  nesterov: bool = False,
  centered: bool = False,
):
  scale = optax.scale_by_stddev if centered else optax.scale_by_rms
  return optax.chain(scale(decay=b2, eps=eps), _sgd(momentum, nesterov))


def _muon(
  momentum: float = 0.95,
  nesterov: bool = True,
  b1: float = 0.9,
  b2: float = 0.999,
  eps: float = 1e-8,
):
  # Hidden weights only, not embeddings. A convolution is a matrix from its window to its channels.
  # Three axes may be heads or stacked layers, which a shape does not tell: those are left to Adam.
  def dimension_numbers(path: str, leaf: Any) -> optax.contrib.MuonDimensionNumbers | None:
    if leaf.ndim not in (2, 4) or not paths.is_weight(path, leaf) or path.endswith('embedding'):
      return None
    return optax.contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

  descent = optax.contrib.muon(
    learning_rate=1.0,
    beta=momentum,
    nesterov=nesterov,
    adam_b1=b1,
    adam_b2=b2,
    eps=eps,
    consistent_rms=0.2,  # so that one learning rate and one decay serve the matrices and the rest
    muon_weight_dimension_numbers=lambda params: paths.map_named(dimension_numbers, params),
  )
  return optax.chain(descent, optax.scale(-1.0))  # a direction, like the others


# From an optimiser's own hyper-parameters to the direction in which it goes.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
  'sgd': _sgd,
  'adam': _adam,
  'adamw': _adam,
  'adagrad': lambda eps=1e-7: optax.scale_by_rss(initial_accumulator_value=0.1, eps=eps),
  'rmsprop': _rmsprop,
  'lamb': lambda b1=0.9, b2=0.999, eps=1e-6: optax.scale_by_adam(b1, b2, eps),
  'lion': lambda b1=0.9, b2=0.99: optax.scale_by_lion(b1, b2),
  'muon': _muon,
}
# What follows the weight decay instead of preceding it.
AFTER_DECAY = {'lamb': optax.scale_by_trust_ratio}


def make_optimizer(
  name: str = 'adamw',
  *,
  learning_rate: float = 1e-3,
  schedule: str = 'constant',
  total_steps: int | None = None,
  warmup_steps: int = 0,
  final_scale: float = 0.0,
  boundaries: tuple = (),
  decay_factor: float = 0.1,
  weight_decay: float = 0.0,
  momentum: float | None = None,
  nesterov: bool | None = None,
  b1: float | None = None,
  b2: float | None = None,
  eps: float | None = None,
  centered: bool | None = None,
  clip_value: float = 0.0,
  clip_norm: float = 0.0,
  accumulate: int = 1,
  freeze: tuple = (),
  groups: tuple = (),
  sparsity: float = 0.0,
  sparsity_begin: int = 0,
  sparsity_end: int = 0,
  sparsity_every: int = 10,
  sparsity_patterns: tuple = ('.*kernel',),
) -> optax.GradientTransformationExtraArgs:
  """Returns the transformation that the arguments describe.

  Weight decay is decoupled for *every* optimiser: weight_decay * w joins the direction just before
  the learning rate, so that it passes through no momentum and no normalisation ('adam' and 'adamw'
  are one; 'lamb' alone normalises it too, as published). The L2 penalty that SGD is often published
  with, which does pass through the momentum, is `objectives.wrappers.with_penalty(l2=...)`.
  Only weights decay (`paths.is_weight`): no biases, no scales.

  Steps are training steps, with `accumulate` too: an update takes the schedule's value at the
  training step in which it happens.

  Args:
    name: one of `OPTIMIZERS`. In 'rmsprop' momentum precedes the learning rate, as in PyTorch.
      'muon' is for matrices and convolutions; what else there is goes by Adam, with b1 and b2.
    learning_rate: the peak. A leaf of the state: see `set_learning_rate`.
    schedule: see `make_schedule`, as for the five arguments that follow.
    total_steps: training steps in the whole run.
    warmup_steps: training steps of linear warm-up.
    final_scale: where cosine and linear end, as a fraction of the peak.
    boundaries: training steps at which the step schedule falls.
    decay_factor: by what it is multiplied there.
    weight_decay: decoupled, times the current learning rate.
    momentum: of sgd, rmsprop (0) and muon (0.95). None here and below: the default in brackets.
    nesterov: Nesterov's form of the momentum: sgd, rmsprop, adam, adamw (False), muon (True).
    b1: decay of the first moment: adam, adamw, lamb, lion, muon (0.9).
    b2: decay of the second moment: adam, adamw, lamb, muon (0.999), lion (0.99), rmsprop (0.9).
    eps: added to the denominator: adam, adamw, rmsprop, muon (1e-8), lamb (1e-6), adagrad (1e-7).
    centered: rmsprop (False) divides by the standard deviation of gradients, not by their root
      mean square.
    clip_value: clips every element of the gradient to +-clip_value; 0 is off.
    clip_norm: scales the gradient of all that is trained, over all groups, to at most this global
      norm, after `clip_value`; 0 is off.
    accumulate: how many steps' gradients are averaged into one update. The steps between leave the
      parameters as they are.
    freeze: regular expressions over whole paths ('encoder/.*'). What they match gets no update,
      has no moments, and does not count in the norm.
    groups: (pattern, options) pairs: what the pattern matches, and no earlier one does, is updated
      with these options (a dict) in place of the above: name, weight_decay, momentum, nesterov, b1,
      b2, eps, centered, learning_rate_multiplier (1), every (1). With a name, the others are that
      optimiser's defaults, but for the weight decay. With every=n the group moves at each n-th
      update alone; at the others it stays as it is, moments and weights, and their gradients are
      lost. So does a generator wait for n steps of its critic.
    sparsity: the share of weights that is zero at the end, see `sparsity.prune_by_magnitude`, as
      for the four that follow; 0 is off. An average of parameters (`objective.ema_decay`) is not
      sparse.
    sparsity_begin: training step from which on weights are pruned.
    sparsity_end: training step from which on the masks stay; 0 for three quarters of all steps.
    sparsity_every: training steps between two changes of the masks.
    sparsity_patterns: regular expressions over whole paths: what is pruned.

  Raises:
    ValueError: an unknown name, a hyper-parameter that the optimiser has not, a number out of its
      range; and from `init`, a pattern that matches no parameter.

  References:
    Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization. You et al. 2020 (LAMB). Chen
    et al. 2023 (Lion). Jordan et al. 2024 (Muon), with the scale of Liu et al. 2025, Muon is
    Scalable for LLM Training, section 2.2.
  """
  _check_range('learning_rate', learning_rate)
  _check_range('clip_value', clip_value)
  _check_range('clip_norm', clip_norm)
  if accumulate < 1:
    raise ValueError(f'accumulate must be >= 1, got {accumulate}')
  if isinstance(freeze, str):
    raise ValueError(f'freeze must be a tuple of patterns, got the string {freeze!r}')
  shape = make_schedule(
    schedule,
    total_steps=total_steps,
    warmup_steps=warmup_steps,
    final_scale=final_scale,
    boundaries=boundaries,
    decay_factor=decay_factor,
  )

  hyper = {'momentum': momentum, 'nesterov': nesterov, 'b1': b1, 'b2': b2, 'eps': eps}
  hyper |= {'centered': centered}
  hyper = {key: value for key, value in hyper.items() if value is not None}
  rules: dict[Any, Any] = {'default': _rule(name, weight_decay, **hyper)}
  patterns = [pattern for pattern, _ in groups]
  for i, (_, options) in enumerate(groups):
    inherited: dict[str, Any] = {'weight_decay': weight_decay}
    inherited |= {} if 'name' in options else {'name': name} | hyper
    rules[f'group_{i}'] = _rule(**inherited | dict(options))

  def group(path: str, _: Any) -> str:
    return next((f'group_{i}' for i, p in enumerate(patterns) if paths.match(p, path)), 'default')

  def frozen(path: str, _: Any) -> str:
    return 'frozen' if any(paths.match(p, path) for p in freeze) else 'trained'

  tx = rules['default']
  if groups:
    tx = optax.partition(rules, lambda tree: paths.map_named(group, tree))
  tx = optax.chain(
    optax.clip(clip_value) if clip_value else optax.identity(),
    optax.clip_by_global_norm(clip_norm) if clip_norm else optax.identity(),
    tx,
    scale_by_learning_rate(learning_rate, lambda n: shape(n * accumulate + accumulate - 1)),
  )
  if accumulate > 1:
    tx = optax.MultiSteps(tx, accumulate).gradient_transformation()
  if sparsity:
    if not sparsity_end and total_steps is None:
      raise ValueError('sparsity needs sparsity_end or total_steps')
    pruned = prune_by_magnitude(
      sparsity,
      begin=sparsity_begin,
      end=sparsity_end or 3 * (total_steps or 0) // 4,
      every=sparsity_every,
      patterns=sparsity_patterns,
    )
    tx = optax.chain(tx, pruned)
  if freeze:
    tx = optax.partition(
      {'trained': tx, 'frozen': optax.set_to_zero()}, lambda tree: paths.map_named(frozen, tree)
    )
  tx = optax.with_extra_args_support(tx)

  def init(params: PyTree) -> optax.OptState:
    paths.check_patterns('freeze', freeze, params)
    paths.check_patterns('group', patterns, params)
    return tx.init(params)

  return optax.GradientTransformationExtraArgs(init, tx.update)


def _rule(
  name: str,
  weight_decay: float,
  learning_rate_multiplier: float = 1.0,
  every: int = 1,
  **hyper: Any,
) -> optax.GradientTransformation:
  """One group's transformation, up to the learning rate."""
  if name not in OPTIMIZERS:
    raise unknown('optimizer', name, OPTIMIZERS)
  known = inspect.signature(OPTIMIZERS[name]).parameters
  for key in hyper:
    if key not in known:
      raise ValueError(f'optimizer {name!r} takes no {key!r}; it takes {", ".join(known)}')
    if key not in ('nesterov', 'centered'):
      _check_range(key, hyper[key], math.inf if key == 'eps' else 1)
  _check_range('weight_decay', weight_decay)
  _check_range('learning_rate_multiplier', learning_rate_multiplier)
  if not isinstance(every, int) or every < 1:
    raise ValueError(f'every must be a whole number of at least 1, got {every!r}')
  decay = optax.add_decayed_weights(weight_decay, paths.weight_mask)
  rule = optax.chain(
    OPTIMIZERS[name](**hyper),
    decay if weight_decay else optax.identity(),
    AFTER_DECAY.get(name, optax.identity)(),
    optax.scale(learning_rate_multiplier),
  )

  def due(step: Any, **_: Any) -> Any:
    return (step + 1) % every == 0

  return rule if every == 1 else optax.conditionally_mask(rule, due)


def _check_range(key: str, value: Any, below: float = math.inf) -> None:
  if not isinstance(value, Real) or not 0 <= float(value) < below:
    raise ValueError(f'{key} must be a number in [0, {below}), got {value!r}')
