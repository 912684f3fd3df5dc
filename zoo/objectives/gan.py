"""Generative adversarial networks: two networks and one gradient for both.

The loss is the sum of both networks' losses. The discriminator's term sees pictures that are held
fixed, the generator's term a discriminator that is, so that the gradient of the sum is the two
separate gradients side by side, and no second step exists. Both terms score the same pictures with
the same weights, which XLA does once. Which network moves when is for the optimiser to say:
`optimizer.groups`, with `every` for a generator that waits for its critic.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from zoo.losses import ADVERSARIAL, slope_penalty, squared_gradient_norms
from zoo.metrics import AdversarialMetrics
from zoo.names import unknown
from zoo.objectives.collapse import diversity
from zoo.types import Array, Batch, Objective, PyTree, Scalars, as_variables, parted


def gan(
  module: nn.Module,
  *,
  adversarial_loss: str = 'non_saturating',
  gradient_penalty: float = 0.0,
  r1: float = 0.0,
  r1_every: int = 1,
  generator_ema: float = 0.0,
  collapse_below: float = 0.5,
  augment: Callable[[Array, Batch], Batch] | None = None,
  input_key: str = 'image',
) -> Objective:
  """Learns to make pictures that a discriminator cannot tell from real ones.

  A batch holds pictures in [0, 1], float [B, H, W, C], and 'label', integer [B], if the module is
  conditional. 'weight' counts in `evaluate` alone.

  The scalars are 'loss' (the sum of both, of little meaning by itself), 'discriminator_loss',
  'generator_loss', 'penalty' (if there is one, times its weight; 0 at steps that leave it out),
  'real_accuracy' and 'fake_accuracy' (of the discriminator: near 1 it has won, and teaches little;
  near 0.5 it cannot tell), 'spread' and 'nearest' (see `collapse.diversity`) and 'collapsed': 1 if
  either of them is below `collapse_below`, else 0. `evaluate` returns
  `metrics.AdversarialMetrics`, `predict` the discriminator's logits, float32 [B].

  extras are {'collections': what the module holds beside parameters}, and if they are asked for
  'ema', the averaged parameters of the generator, and 'step', the number of steps taken.

  Args:
    module: with methods `generate(z, label, train)` -> pictures and `discriminate(pictures, label,
      train)` -> logits [B], a field `latent_size`, and parameters under 'generator' and
      'discriminator', as `models.gan.DCGAN`.
    adversarial_loss: 'non_saturating', 'hinge' or 'wasserstein', see `losses`.
    gradient_penalty: weight of (|slope| - 1)^2 at random points between real and made pictures; 10
      in the paper, with 'wasserstein' and five critic steps a generator step.
    r1: weight of half the squared slope at real pictures.
    r1_every: computes that in every n-th step only, n times as heavy.
    generator_ema: decay of the average of the generator, ema <- ema + (1 - decay) * (new - ema),
      which then makes the pictures in `evaluate` and `variables`; 0 for none.
    collapse_below: when to raise the alarm.
    augment: (key, batch) -> batch, of every picture that the discriminator is shown, made ones
      too, and differentiable (Zhao et al. 2020, Differentiable Augmentation, equation 4).
    input_key: the leaf of the batch that holds the pictures.

  Raises:
    ValueError: an unknown loss or an option out of its range; from `init`, pictures that the module
      does not make; when called, a batch of one picture.

  References:
    Goodfellow et al. 2014. R1: Mescheder et al. 2018, Which Training Methods for GANs do actually
    Converge?, equation 9; every n-th step: Karras et al. 2020, StyleGAN2, section 3.1. Gradient
    penalty: Gulrajani et al. 2017. Average: Karras et al. 2018, Progressive Growing of GANs.
  """
  if adversarial_loss not in ADVERSARIAL:
    raise unknown('adversarial_loss', adversarial_loss, ADVERSARIAL)
  if gradient_penalty < 0 or r1 < 0:
    raise ValueError(f'gradient_penalty and r1 must be >= 0, not {gradient_penalty} and {r1}')
  if r1_every < 1:
    raise ValueError(f'r1_every must be at least 1, not {r1_every}')
  if not 0 <= generator_ema < 1:
    raise ValueError(f'generator_ema must be in [0, 1), not {generator_ema}')
  losses_of = ADVERSARIAL[adversarial_loss]

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    z = jnp.zeros((1, module.latent_size))
    label = batch['label'][:1] if 'label' in batch else None
    variables = module.init(key, z, label, train=False)
    made = jax.eval_shape(lambda v: use(v, z, label, method='generate'), variables)
    if made.shape[1:] != batch[input_key].shape[1:]:
      raise ValueError(
        f'the generator makes pictures of {made.shape[1:]}, but those of the data are '
        f'{batch[input_key].shape[1:]}: change resolution and channels, or config.data.image_size'
      )
    params, collections = parted(variables)
    extras: dict[str, PyTree] = {'collections': collections}
    if generator_ema:
      extras['ema'] = jax.tree.map(jnp.copy, params['generator'])
    if r1_every > 1:
      extras['step'] = jnp.zeros((), jnp.int32)
    return params, extras

  def apply(params: PyTree, collections: PyTree, *inputs: Array | None, method: str) -> Any:
    """In training: the outputs, and the collections as they are afterwards."""
    variables = {'params': params, **collections}
    return module.apply(variables, *inputs, train=True, method=method, mutable=list(collections))

  def use(variables: PyTree, *inputs: Array | None, method: str) -> Any:
    """After training: the outputs."""
    return module.apply(variables, *inputs, method=method)

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    latent_key, real_key, fake_key, between_key = jax.random.split(key, 4)
    images, label, collections = batch[input_key], batch.get('label'), extras['collections']
    z = jax.random.normal(latent_key, (len(images), module.latent_size))
    made, collections = apply(params, collections, z, label, method='generate')
    real, fake = seen(real_key, images, label), seen(fake_key, made, label)

    fixed = jax.lax.stop_gradient
    score = lambda params, collections, x: apply(
      params, collections, x, label, method='discriminate'
    )
    real_scores, collections = score(params, collections, real)
    for_critic, after = score(params, collections, fixed(fake))
    for_generator, _ = score(fixed(params), collections, fake)
    critic, _ = losses_of(real_scores, for_critic)
    _, generator = losses_of(real_scores, for_generator)

    slopes = lambda x: squared_gradient_norms(lambda x: score(params, collections, x)[0], x)
    penalty = jnp.zeros(())
    if gradient_penalty:
      share = jax.random.uniform(between_key, (len(real), *[1] * (real.ndim - 1)))
      between = real + share * (fixed(fake) - real)
      penalty += gradient_penalty * jnp.mean(slope_penalty(slopes(between)))
    if r1:
      now = lambda: r1 * r1_every / 2 * jnp.mean(slopes(real))
      if r1_every == 1:
        penalty += now()
      else:
        penalty += jax.lax.cond(extras['step'] % r1_every == 0, now, lambda: jnp.zeros(()))

    value = jnp.mean(critic) + jnp.mean(generator) + penalty
    found = diversity(images, made)
    scalars = {
      'loss': value,
      'discriminator_loss': jnp.mean(critic),
      'generator_loss': jnp.mean(generator),
      'real_accuracy': jnp.mean((real_scores > 0).astype(jnp.float32)),
      'fake_accuracy': jnp.mean((for_critic <= 0).astype(jnp.float32)),
      'collapsed': (jnp.minimum(*found.values()) < collapse_below).astype(jnp.float32),
      **found,
      **({'penalty': penalty} if r1 or gradient_penalty else {}),
    }
    return value, (extras | {'collections': after}, scalars)

  def seen(key: Array, images: Array, label: Array | None) -> Array:
    """What the discriminator is shown of pictures."""
    if augment is None:
      return images
    labels = {} if label is None else {'label': label}
    return augment(key, {input_key: images, **labels})[input_key]

  def refresh(extras: PyTree, params: PyTree, step: Array) -> PyTree:
    if generator_ema:
      new = optax.incremental_update(params['generator'], extras['ema'], 1 - generator_ema)
      extras = extras | {'ema': new}
    return extras | {'step': step} if r1_every > 1 else extras

  def variables(params: PyTree, extras: PyTree) -> PyTree:
    generator = extras.get('ema', params['generator'])
    return {'params': params | {'generator': generator}, **extras['collections']}

  def adopt(params: PyTree, extras: PyTree, variables: PyTree) -> tuple[PyTree, PyTree]:
    params, collections = as_variables(params, extras['collections'], variables)
    average = {'ema': jax.tree.map(jnp.copy, params['generator'])} if generator_ema else {}
    return params, extras | average | {'collections': collections}

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    inputs = (batch[input_key], batch.get('label'))
    return use(variables(params, extras), *inputs, method='discriminate')

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> AdversarialMetrics:
    used, label = variables(params, extras), batch.get('label')
    z = jax.random.normal(key, (len(batch[input_key]), module.latent_size))
    made = use(used, z, label, method='generate')
    examples = {'real': batch[input_key], 'fake': made}
    scores = {kind: use(used, x, label, method='discriminate') for kind, x in examples.items()}
    critic, generator = losses_of(scores['real'], scores['fake'])
    return AdversarialMetrics.from_scores(critic + generator, scores, examples, batch.get('weight'))

  return Objective(
    init, loss, evaluate, refresh, predict, variables, adopt, ('generator', 'discriminator')
  )
