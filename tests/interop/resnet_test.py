"""ResNet in the layout of Hugging Face: there and back, what is refused, what torch computed."""

import json
import pathlib
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.interop import resnet
from zoo.models.resnet import ResNet

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'resnet.npz'
TINY = ResNet(stage_sizes=(2, 1), width=4, num_classes=3)
MODULES = {
  'basic': TINY,
  'bottleneck': TINY.clone(bottleneck=True),
  'backbone': TINY.clone(num_classes=0),
}


def variables_of(module) -> Any:
  rng = np.random.default_rng(0)
  random = lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32)
  return jax.tree.map(random, resnet.shapes_of(module, 3))


def exported(module=TINY):
  return resnet.to_hf(module, variables_of(module))


@pytest.mark.parametrize('kind', MODULES)
def test_there_and_back_is_the_identity(kind):
  tensors, config = exported(MODULES[kind])
  kinds = ['ResNetModel' if kind == 'backbone' else 'ResNetForImageClassification']
  assert config['architectures'] == kinds
  module, variables = resnet.from_hf(tensors, json.loads(json.dumps(config)))
  assert module == MODULES[kind]
  chex.assert_trees_all_equal(variables, variables_of(MODULES[kind]))


def test_kernels_are_out_in_height_width_and_statistics_have_their_names():
  tensors, _ = exported()
  variables = variables_of(TINY)
  name = 'resnet.encoder.stages.1.layers.0.layer.0'
  kernel: Any = variables['params']['stage_1_block_0']['conv_0']['kernel']
  for o, i, y, x in ((0, 0, 0, 0), (7, 3, 2, 1), (5, 1, 0, 2)):
    assert tensors[f'{name}.convolution.weight'][o, i, y, x] == kernel[y, x, i, o]
  assert tensors[f'{name}.convolution.weight'].flags.c_contiguous  # as files want it
  stats: Any = variables['batch_stats']['stage_1_block_0']['norm_0']
  np.testing.assert_array_equal(tensors[f'{name}.normalization.running_mean'], stats['mean'])
  np.testing.assert_array_equal(tensors[f'{name}.normalization.running_var'], stats['var'])
  assert tensors[f'{name}.normalization.num_batches_tracked'].dtype == np.int64


def test_options_change_what_is_a_matter_of_taste():
  tensors, config = exported()
  module, _ = resnet.from_hf(tensors, config, dtype='bfloat16', stochastic_depth=0.1)
  assert module == TINY.clone(dtype='bfloat16', stochastic_depth=0.1)


def renamed(tensors, config):
  tensors['resnet.embedder.embedder.convolution.wieght'] = tensors.pop(
    'resnet.embedder.embedder.convolution.weight'
  )


def without_statistics(tensors, config):
  for name in [name for name in tensors if 'running_mean' in name]:
    del tensors[name]


def as_they_are_here(tensors, config):
  name = 'resnet.encoder.stages.1.layers.0.layer.0.convolution.weight'
  tensors[name] = tensors[name].transpose(2, 3, 1, 0)


def field(**values):
  return lambda tensors, config: config.update(values)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (renamed, 'missing resnet.embedder.embedder.convolution.weight (nearest: resnet.embedder.embe'),
    (without_statistics, 'normalization.running_mean and 4 more'),
    (as_they_are_here, 'layer.0.convolution.weight is [3, 3, 4, 8], not [8, 4, 3, 3]'),
    (field(depths=[2, 2]), 'missing resnet.encoder.stages.1.layers.1.layer.0.normalization.r'),
    (field(depths=[2, 10**9]), 'depths = (2, 1000000000), but there are'),
    (field(depths=4), 'depths must be whole numbers above 0, not 4'),
    (field(hidden_sizes=[4, 9]), 'hidden_sizes = [4, 9] is not supported, only [4, 8]'),
    (field(downsample_in_bottleneck=True), 'downsample_in_bottleneck = True is not supported'),
    (field(downsample_in_first_stage=True), 'downsample_in_first_stage = True is not supported'),
    (field(layer_type='wide'), "layer_type = 'wide' is not supported, only 'basic' or 'bottlen"),
    (field(hidden_act='mish'), "hidden_act = 'mish' is not supported"),
    (field(embedding_size=None), 'embedding_size must be a whole number above 0, not None'),
  ],
)
def test_what_does_not_fit_is_named_in_one_line(change, message):
  tensors, config = exported()
  change(tensors, config)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    resnet.from_hf(tensors, config)
  assert '\n' not in str(error.value)


def test_variables_of_another_module_are_refused():
  with pytest.raises(ValueError, match='ResNet parameters: missing batch_stats/stage_1_block_1'):
    resnet.to_hf(TINY.clone(stage_sizes=(2, 2)), variables_of(TINY))


@pytest.mark.parametrize('options', [{'stem': 'cifar'}, {'norm': 'group'}, {'activation': 'mish'}])
def test_what_is_not_published_has_no_published_layout(options):
  module = TINY.clone(**options)
  with pytest.raises(NotImplementedError, match=next(iter(options.values()))):
    resnet.to_hf(module, variables_of(TINY))


@pytest.mark.parametrize('kind', ['basic', 'bottleneck'])
def test_logits_gradients_and_statistics_are_those_that_torch_computed(kind):
  """Of tiny random models; see tests/golden/make.py."""
  with np.load(GOLDEN, allow_pickle=False) as file:
    golden = {n.removeprefix(f'{kind}/'): x for n, x in file.items() if n.startswith(f'{kind}/')}
  of = lambda kind: {n.removeprefix(f'{kind}:'): x for n, x in golden.items() if f'{kind}:' in n}
  module, variables = resnet.from_hf(of('w'), json.loads(str(golden['config'])))
  images = golden['images'].transpose(0, 2, 3, 1)

  def loss(params):
    logits, after = module.apply(
      {**variables, 'params': params}, images, train=True, mutable=['batch_stats']
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, golden['labels'])
    return losses.mean(), (logits, after, module.apply(variables, images, train=False))

  run = jax.jit(jax.grad(loss, has_aux=True))
  gradients, (logits, after, evaluated) = run(variables['params'])
  assert relative_error(evaluated, golden['evaluated']) < 1e-5
  assert relative_error(logits, golden['trained']) < 1e-5
  named, _ = resnet.to_hf(module, {'params': gradients, **after})
  for name, norm in of('gradient').items():
    found = np.linalg.norm(named[name])
    np.testing.assert_allclose(found, norm, rtol=1e-3, atol=1e-5, err_msg=name)
  for name, mean in of('mean').items():
    np.testing.assert_allclose(named[name], mean, rtol=1e-4, atol=1e-5, err_msg=name)


def relative_error(found, expected):
  return np.abs(found - expected).max() / np.abs(expected).max()
