"""Real models learn the same under every strategy. The toys of objectives' own tests cannot show
what a network does with its axis: batch statistics, gradients within a loss, unequal shares."""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.training import toy
from zoo import models, objectives
from zoo.data import arrays
from zoo.training import build, make_evaluate, parallelize, run

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
B, STEPS = 16, 3
RNG = np.random.default_rng(0)
PICTURES = {
  'image': RNG.uniform(size=(48, 8, 8, 3)).astype(np.float32),
  'label': np.arange(48, dtype=np.int32) % 3,
}
LENGTHS = RNG.integers(3, 9, 48)
# The shares of devices hold unequally many that count.
REAL = np.arange(8) < LENGTHS[:, None]
TOKENS = {'tokens': np.where(REAL, RNG.integers(3, 11, (48, 8)), 0).astype(np.int32)}


@pytest.fixture(autouse=True)
def quick_compilation():
  """Compiling is nearly all of the time here."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def classifier(name, **options):
  """Of the three classes of PICTURES, by a model without dropout."""

  def make(axis):
    given = {'axis_name': axis} if 'norm' in options else {}
    module = getattr(models, name)(num_classes=3, **options, **given)
    return objectives.classification(module, num_classes=3, axis_name=axis)

  return PICTURES, make


def restoration(axis):
  module = models.UNet(widths=(4, 8), patch_size=2, norm='batch', axis_name=axis)
  return objectives.restoration(module, noise=(25.0,), distance='l2', axis_name=axis)


def masked_language_model(axis):
  small: dict[str, Any] = {'num_layers': 1, 'width': 8, 'num_heads': 2, 'ffn_width': 8}
  without: dict[str, Any] = {'dropout': 0.0, 'attention_dropout': 0.0, 'classifier_dropout': 0.0}
  module = models.BERT(vocab_size=11, max_length=8, **small, **without)
  objective = objectives.masked_lm(
    module, mask_id=2, pad_id=0, vocab_size=11, mask_rate=1.0, axis_name=axis
  )

  def loss(*arguments):
    # How a token is hidden, devices draw by themselves: always by the mask.
    with mock.patch.object(jax.random, 'uniform', lambda key, shape: jnp.full(shape, 0.1)):
      return objective.loss(*arguments)

  return objective._replace(loss=loss)


def adversarial(axis):
  options: dict[str, Any] = {'resolution': 8, 'channels': 3, 'base': 2, 'width': 4}
  module = models.DCGAN(**options, latent_size=3, discriminator_norm='batch', axis_name=axis)
  objective = objectives.gan(module, r1=1.0, r1_every=2, generator_ema=0.5)

  def loss(params, extras, batch, key):
    # Latents, devices draw by themselves: here they are pixels of the real pictures.
    pixels = 2 * batch['image'].reshape(len(batch['image']), -1) - 1
    with mock.patch.object(jax.random, 'normal', lambda key, shape: pixels[:, : shape[1]]):
      return objective.loss(params, extras, batch, key)

  return objective._replace(loss=loss)


CASES = {
  'gan_with_batch_norm_and_r1': (PICTURES, adversarial),
  'masked_language_model': (TOKENS, masked_language_model),
  'rnn_classifier': classifier('RNNClassifier', width=4, bidirectional=True),
  'unet_with_batch_norm': (PICTURES, restoration),
  'vit': classifier('ViT', patch_size=4, num_layers=2, width=8, num_heads=2, ffn_width=8),
  'wide_resnet': classifier('WideResNet', depth=10, widen=1, norm='batch'),
}


def started(objective, source):
  """Parameters at random, since some networks start at zero, and extras as they are."""
  params, extras = jax.jit(objective.init)(KEY, jax.tree.map(jnp.zeros_like, source.spec))
  rng = np.random.default_rng(1)
  draw = lambda x: (x + 0.3 * rng.normal(size=x.shape)).astype(np.float32)
  params, extras = jax.tree.map(draw, jax.device_get(params)), jax.device_get(extras)
  return objective._replace(init=lambda *_: jax.tree.map(jnp.asarray, (params, extras)))


def trained(name, strategy):
  """(state, figures, its first parameters) after some SGD: Adam hides a gradient n times too big.

  All steps draw alike: the key that a step gives to the loss depends on its device.
  """
  examples, make = CASES[name]
  parallel = parallelize(strategy)
  source = arrays.epochs(examples, B)
  objective = started(make(parallel.axis_name), source)
  fixed = objective._replace(
    loss=lambda params, extras, batch, key: objective.loss(params, extras, batch, KEY)
  )
  program = build(fixed, optax.sgd(0.05), source, parallel)
  state, source_state = program.init(KEY)
  before = jax.device_get(state.params)
  scalars = {}
  for state, source_state, scalars in run(program, source, state, source_state, steps=STEPS):
    pass
  judged = arrays.one_pass({k: v[:20] for k, v in examples.items()}, 8)
  figures = make_evaluate(objective, judged, parallel, program.state)(state)
  return jax.device_get((state.params, state.extras)), figures, float(scalars['loss']), before


@pytest.mark.parametrize('name', CASES)
def test_jit_pmap_and_sharded_train_and_judge_alike(name):
  assert jax.device_count() == 8
  state, figures, loss, before = trained(name, 'jit')
  moved = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), before, state[0])
  assert np.median(jax.tree.leaves(moved)) > 1e-4  # the comparison is of what was learnt
  for strategy in ('pmap', 'sharded'):
    other, judged, logged, _ = trained(name, strategy)
    toy.assert_same(other, state, rtol=1e-4)
    assert logged == pytest.approx(loss, rel=1e-4)
    if name not in ('masked_language_model', 'gan_with_batch_norm_and_r1'):  # they draw to judge
      assert judged == pytest.approx(figures, rel=1e-4)
