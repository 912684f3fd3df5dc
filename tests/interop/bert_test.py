import json
import pathlib
import re
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.interop import bert
from zoo.models.bert import BERT

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'bert.npz'
TINY = BERT(vocab_size=11, max_length=8, num_layers=2, width=8, num_heads=2, ffn_width=12)
PARTS = {
  'BertModel': (TINY, {'pooler'}),
  'BertForMaskedLM': (TINY, {'masked_lm'}),
  'BertForSequenceClassification': (TINY.clone(num_classes=3), {'pooler', 'classifier'}),
}


def random(shapes) -> Any:
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), shapes)


def params_of(head) -> Any:
  return random(bert.shapes(*PARTS[head]))


def exported(head='BertForSequenceClassification'):
  return bert.to_hf(PARTS[head][0], params_of(head))


@pytest.mark.parametrize('head', PARTS)
def test_there_and_back_is_the_identity(head):
  tensors, config = exported(head)
  assert config['architectures'] == [head]
  module, params = bert.from_hf(tensors, json.loads(json.dumps(config)))
  assert module == PARTS[head][0]
  chex.assert_trees_all_equal(params, params_of(head))


def test_matrices_are_transposed_and_tables_are_not():
  tensors, _ = exported()
  params = params_of('BertForSequenceClassification')
  name = 'bert.encoder.layer.1.intermediate.dense.weight'
  np.testing.assert_array_equal(tensors[name], params['layer_1']['ffn_in']['kernel'].T)
  assert tensors[name].flags.c_contiguous  # as files want it
  words = tensors['bert.embeddings.word_embeddings.weight']
  np.testing.assert_array_equal(words, params['token_embedding'])


def test_a_published_file_of_old_is_read():
  # As bert-base-uncased: a pooler beside the masked language model, older names, unused tensors.
  tensors, config = exported('BertForMaskedLM')
  pooler = params_of('BertModel')['pooler']
  tensors |= {'bert.pooler.dense.weight': np.asarray(pooler['kernel'].T)}
  tensors |= {'bert.pooler.dense.bias': np.asarray(pooler['bias'])}
  old = {
    re.sub(
      'LayerNorm.bias$', 'LayerNorm.beta', re.sub('LayerNorm.weight$', 'LayerNorm.gamma', k)
    ): x
    for k, x in tensors.items()
  }
  assert len(old.keys() - tensors.keys()) == 12
  old |= {
    'cls.seq_relationship.weight': np.zeros((2, 8)),
    'cls.seq_relationship.bias': np.zeros(2),
    'bert.embeddings.position_ids': np.arange(8)[None],
    'cls.predictions.decoder.weight': tensors['bert.embeddings.word_embeddings.weight'],
    'cls.predictions.decoder.bias': old.pop('cls.predictions.bias'),
  }
  module, params = bert.from_hf(old, {**config, 'architectures': ['BertForPreTraining']})
  assert module == TINY
  chex.assert_trees_all_equal(params, params_of('BertForMaskedLM') | {'pooler': pooler})
  chex.assert_trees_all_equal(bert.to_hf(module, params)[0], tensors)


def test_options_change_what_is_a_matter_of_taste():
  tensors, config = exported()
  half = {name: x.astype(jnp.bfloat16) for name, x in tensors.items()}
  module, params = bert.from_hf(half, config, dropout=0.3, dtype='bfloat16', remat=True)
  assert module == TINY.clone(num_classes=3, dropout=0.3, dtype='bfloat16', remat=True)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype('float32')}


@pytest.mark.parametrize(
  ('theirs', 'ours'), [('gelu', 'gelu_exact'), ('gelu_new', 'gelu'), ('relu', 'relu')]
)
def test_which_gelu_is_which(theirs, ours):
  tensors, config = exported()
  module, params = bert.from_hf(tensors, {**config, 'hidden_act': theirs})
  assert module.activation == ours
  assert bert.to_hf(module, params)[1]['hidden_act'] == theirs


def renamed(tensors, config):
  tensors['bert.encoder.layer.0.attention.query.bias'] = tensors.pop(
    'bert.encoder.layer.0.attention.self.query.bias'
  )


def without_pooler(tensors, config):
  del tensors['bert.pooler.dense.weight'], tensors['bert.pooler.dense.bias']


def transposed(tensors, config):
  name = 'bert.encoder.layer.1.output.dense.weight'
  tensors[name] = tensors[name].T


def untied(tensors, config):
  words = tensors['bert.embeddings.word_embeddings.weight']
  tensors['cls.predictions.decoder.weight'] = words + 1


def field(**values):
  return lambda tensors, config: config.update(values)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (renamed, 'BERT tensors: missing bert.encoder.layer.0.attention.self.query.bias (nearest: ber'),
    (without_pooler, 'BERT tensors: missing bert.pooler.dense.bias, bert.pooler.dense.weight'),
    (transposed, 'wrong shape: bert.encoder.layer.1.output.dense.weight is [12, 8], not [8, 12]'),
    (untied, 'cls.predictions.decoder.weight is not bert.embeddings.word_embeddings.weight'),
    (field(num_hidden_layers=3), 'missing bert.encoder.layer.2.attention'),
    (field(num_hidden_layers=10**9), 'num_hidden_layers = 1000000000, but there are 41 tensors'),
    (field(hidden_size=None), 'hidden_size must be a whole number above 0, not None'),
    (field(hidden_act='quick_gelu'), "hidden_act = 'quick_gelu' is not supported, only 'gelu'"),
    (field(position_embedding_type='relative_key'), "'relative_key' is not supported"),
    (field(is_decoder=True), 'is_decoder = True is not supported, only False'),
    (field(num_attention_heads=3), 'width 8 is not a multiple of num_heads 3'),
    (field(hidden_dropout_prob='0.1'), "hidden_dropout_prob must be in [0, 1), not '0.1'"),
    (field(pad_token_id='0'), "pad_token_id must be a token, not '0'"),
  ],
)
def test_what_does_not_fit_is_named_in_one_line(change, message):
  tensors, config = exported()
  change(tensors, config)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    bert.from_hf(tensors, config)
  assert '\n' not in str(error.value)


def test_parameters_of_another_module_are_refused():
  with pytest.raises(ValueError, match='BERT parameters: missing layer_2/attention/key/bias'):
    bert.to_hf(TINY.clone(num_layers=3), params_of('BertModel'))


def test_an_activation_of_our_own_is_not_bert():
  with pytest.raises(NotImplementedError, match='mish'):
    bert.to_hf(TINY.clone(activation='mish'), params_of('BertModel'))


@pytest.mark.parametrize('kind', [pytest.param('token', marks=pytest.mark.slow), 'class'])
def test_logits_and_gradients_are_those_that_torch_computed(kind):
  """Of tiny random models with one encoder; see tests/golden/make.py."""
  with np.load(GOLDEN, allow_pickle=False) as file:
    golden = dict(file)
  expected = {
    name.split(':')[1]: x for name, x in golden.items() if name.startswith(f'{kind}_gradient:')
  }
  tensors = {name: golden[f'w:{name}'] for name in expected}
  module, params = bert.from_hf(tensors, json.loads(str(golden['config'])))
  labels = golden[f'{kind}_labels']
  logits_of = lambda p: module.apply({'params': p}, golden['tokens'], token_types=golden['types'])

  def loss(params):
    losses = partial(optax.softmax_cross_entropy_with_integer_labels, logits_of(params))
    return losses(jnp.maximum(labels, 0)).mean(where=labels >= 0)

  found, logits = logits_of(params), golden[f'{kind}_logits']
  error = np.abs(found - logits)[labels >= 0].max() / np.abs(logits).max()
  assert error < 1e-5, error
  gradients, _ = bert.to_hf(module, jax.jit(jax.grad(loss))(params))
  norms = {name: np.linalg.norm(x) for name, x in gradients.items()}
  assert norms.keys() == expected.keys()
  for name, norm in norms.items():
    np.testing.assert_allclose(norm, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
