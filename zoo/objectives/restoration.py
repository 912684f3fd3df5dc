"""Restoration: pictures from what noise, blur, a lower resolution or holes have left of them."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.figures.image_quality import RestorationMetrics
from zoo.losses import weighted_mean
from zoo.names import unknown
from zoo.objectives.classification import read_input
from zoo.objectives.corruption import make_corruption
from zoo.objectives.keys import keys_of
from zoo.types import Array, Batch, Objective, PyTree, Scalars, parted

CHARBONNIER_EPSILON = 1e-3

PSNR_EPSILON = 1e-8  # of a squared error: 80 dB

over_pictures = functools.partial(jnp.mean, axis=(1, 2, 3))
# By name: of the difference of pictures, [B, H, W, C], what it costs, [B].
DISTANCES: dict[str, Callable[[Array], Array]] = {
  'l1': lambda x: over_pictures(jnp.abs(x)),
  'l2': lambda x: over_pictures(jnp.square(x)),
  'charbonnier': lambda x: over_pictures(jnp.sqrt(jnp.square(x) + CHARBONNIER_EPSILON**2)),
  'psnr': lambda x: 10 * jnp.log10(over_pictures(jnp.square(x)) + PSNR_EPSILON),
}


def restoration(
  module: nn.Module,
  *,
  input_key: str = 'image',
  noise: tuple[float, ...] = (25.0,),
  blur: float = 0.0,
  factor: int = 1,
  missing: float = 0.0,
  holes: int = 0,
  hole_size: int = 12,
  distance: str = 'charbonnier',
  ensemble: bool = False,
  axis_name: str | None = None,
) -> Objective:
  """Learns to undo a corruption that is made inside the loss, anew whenever a picture is seen.

  A batch holds pictures, float [B, H, W, C] in [0, 1], and optionally 'weight', float [B]. Their
  corruption has up to four parts, in this order: blur, loss of resolution, noise, missing pixels.
  The module is shown the corrupted picture; where pixels may be missing these are 0, and a channel
  more says where pixels are known (1). If nothing else was done to the known ones they are part of
  the result as they are, and the module fills in the rest.

  In `evaluate` and `predict` the corruption depends on the picture alone (`keys.keys_of`): figures
  of two models, or of something else that is shown the same pictures, can be compared. `evaluate`
  returns `RestorationMetrics`; `predict` {'corrupted', 'known' [B, H, W, 1], 'restored'}. What is
  restored is cut to [0, 1] in both.

  Args:
    module: takes (x, train) and returns pictures of the shape of the clean ones.
    input_key: the leaf of the batch that holds the pictures.
    noise: standard deviation of Gaussian noise, in units of 1/255; of two numbers, each picture
      draws its own from between them; () for none. Noisy pictures are not cut to [0, 1].
    blur: standard deviation of a Gaussian blur, in pixels; 0 for none.
    factor: by which the resolution is lower: cubic interpolation to the lower one, and back.
    missing: the share of pixels that are missing, each by itself.
    holes: squares that are missing, at random places.
    hole_size: their side.
    distance: what is minimised: 'l1', 'l2', 'charbonnier' (a smooth form of the first) or 'psnr',
      minus the figure that pictures are judged by: it asks of smooth pictures what they allow.
    ensemble: in `evaluate` and `predict`, the mean over what the module makes of the picture turned
      and mirrored in all eight ways, each turned back: eight times the work.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range, or nothing to restore; when called, pictures or a module
      that do not fit.

  References:
    Zhang et al. 2017, Beyond a Gaussian Denoiser (DnCNN). Pathak et al. 2016, Context Encoders.
    Dong et al. 2014, Learning a Deep Convolutional Network for Image Super-Resolution, for the
    interpolation first. Charbonnier et al. 1994, Two Deterministic Half-Quadratic Regularization
    Algorithms, with the epsilon of Lai et al. 2017 (LapSRN). 'psnr': Chen et al. 2022, Simple
    Baselines for Image Restoration, section 5. 'ensemble': Lim et al. 2017, Enhanced Deep Residual
    Networks for Single Image Super-Resolution, section 3.3.
  """
  corruption = make_corruption(noise, blur, factor, missing, holes, hole_size)
  if distance not in DISTANCES:
    raise unknown('distance', distance, DISTANCES)

  def read(batch: Batch) -> Array:
    pictures = read_input(batch, input_key)
    if pictures.ndim != 4:
      raise ValueError(f'restoration takes pictures [B, H, W, C], not {pictures.shape}')
    return pictures.astype(jnp.float32)

  def corrupted(key: Array, clean: Array) -> tuple[Array, Array, Array]:
    left, known = jax.vmap(corruption.apply)(keys_of(key, clean), clean)
    return left, known, jnp.concatenate([left, known], -1) if corruption.masked else left

  def finish(outputs: Any, left: Array, known: Array) -> Array:
    if outputs.shape != left.shape:
      raise ValueError(f'the module returns {outputs.shape}, not pictures {left.shape}')
    outputs = outputs.astype(jnp.float32)
    return outputs if corruption.degraded else known * left + (1 - known) * outputs

  def losses(restored: Array, clean: Array) -> Array:
    return DISTANCES[distance](restored - clean)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    *_, seen = corrupted(key, read(batch)[:1])
    variables = module.init(key, seen, train=False)
    return parted(variables)

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    corrupt_key, dropout_key = jax.random.split(key)
    clean = read(batch)
    left, known, seen = corrupted(corrupt_key, clean)
    outputs, extras = module.apply(
      {'params': params, **extras},
      seen,
      train=True,
      rngs={'dropout': dropout_key},
      mutable=list(extras),
    )
    found = losses(finish(outputs, left, known), clean)
    value = weighted_mean(found, batch.get('weight'), axis_name)
    return value, (extras, {'loss': value})

  def restore(params: PyTree, extras: PyTree, clean: Array) -> tuple[Array, Array, Array]:
    left, known, seen = corrupted(jax.random.key(0), clean)
    apply = functools.partial(module.apply, {'params': params, **extras}, train=False)
    outputs = over_symmetries(apply, seen) if ensemble else apply(seen)
    return left, known, finish(outputs, left, known)

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> dict[str, Array]:
    left, known, restored = restore(params, extras, read(batch))
    return {'corrupted': left, 'known': known, 'restored': jnp.clip(restored, 0, 1)}

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> RestorationMetrics:
    del key
    clean = read(batch)
    left, _, restored = restore(params, extras, clean)
    return RestorationMetrics.from_pictures(
      losses(restored, clean), clean, jnp.clip(restored, 0, 1), left, batch.get('weight')
    )

  return Objective(init, loss, evaluate, predict=predict)


def over_symmetries(apply: Callable[[Array], Any], x: Array) -> Array:
  """The mean of what a function makes of pictures turned and mirrored, each turned back.

  Args:
    apply: of pictures, [N, H, W, C] -> [N, H, W, D], and of [N, W, H, C].
    x: [B, H, W, C].

  Returns:
    [B, H, W, D]: it turns and mirrors as x does, whatever the function.
  """
  turn: Callable[[Array], Array] = lambda x: x.swapaxes(1, 2)
  flips: tuple[Callable[[Array], Array], ...] = (
    lambda x: x,
    lambda x: x[:, ::-1],
    lambda x: x[:, :, ::-1],
    lambda x: x[:, ::-1, ::-1],
  )  # each is its own inverse

  def over_flips(x: Array) -> Array:
    outputs = apply(jnp.concatenate([flip(x) for flip in flips]))
    parts = jnp.split(outputs, len(flips))
    return jnp.mean(jnp.stack([f(part) for f, part in zip(flips, parts, strict=True)]), 0)

  return (over_flips(x) + turn(over_flips(turn(x)))) / 2
