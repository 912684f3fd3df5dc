import json
import re
import sys

import chex
import jax
import jax.numpy as jnp
import pytest

from zoo.data.tokenizers import ByteTokenizer, train_bpe
from zoo.interop import hub
from zoo.models import MLP
from zoo.models.gpt2 import GPT2

TINY = GPT2(vocab_size=260, context_length=8, num_layers=1, width=8, num_heads=2)


def params_of(module=TINY):
  return jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))['params']


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  folder = tmp_path_factory.mktemp('gpt2')
  tokenizer = train_bpe(['the cat sat on the mat'], 260)
  assert hub.save_pretrained(folder, TINY, {'params': params_of()}, tokenizer) == 'gpt2'
  return folder


def copied(folder, to):
  for path in folder.iterdir():
    (to / path.name).write_bytes(path.read_bytes())
  return to


def test_a_model_comes_back_whole(saved):
  module, variables, tokenizer = hub.load_pretrained(saved)
  assert module == TINY
  chex.assert_trees_all_equal(variables, {'params': params_of()})
  assert tokenizer.decode(tokenizer.encode('the hat')) == 'the hat'
  module, _, _ = hub.load_pretrained(str(saved), dropout=0.0, dtype='bfloat16')
  assert (module.dropout, module.dtype) == (0.0, 'bfloat16')


@pytest.mark.parametrize('kind', ['bert', 'gpt2', 'marian', 'vit'])
def test_heads_that_are_no_even_shares_have_no_published_layout(kind):
  layout = hub.LAYOUTS[kind]
  module = layout.module(width=8, num_heads=1, head_dim=4)
  with pytest.raises(NotImplementedError, match='has 1 heads of 4 channels in a width of 8'):
    layout.to_hf(module, {'params': {}})


def test_a_model_with_fewer_heads_comes_back_in_our_own_layout(tmp_path):
  module = TINY.clone(num_heads=1, head_dim=4)
  params = params_of(module)
  assert hub.save_pretrained(tmp_path, module, {'params': params}) == 'zoo'
  again, variables, _ = hub.load_pretrained(tmp_path)
  assert again == module
  chex.assert_trees_all_equal(variables, {'params': params})


def test_the_ids_that_generation_needs_are_written(saved):
  config = json.loads((saved / 'config.json').read_text())
  generation = json.loads((saved / 'generation_config.json').read_text())
  _, _, tokenizer = hub.load_pretrained(saved)
  for role in ('bos', 'eos', 'pad'):
    expected = getattr(tokenizer, f'{role}_id')
    assert expected is not None
    assert config[f'{role}_token_id'] == generation[f'{role}_token_id'] == expected
  special = json.loads((saved / 'tokenizer_config.json').read_text())
  assert special['eos_token'] == '<eos>'


def test_a_model_that_no_one_else_has_is_written_in_our_layout(tmp_path):
  module = MLP(widths=(4,), norm='batch', num_classes=2)
  variables = module.init(jax.random.key(0), jnp.ones((1, 3)), train=False)
  assert hub.save_pretrained(tmp_path, module, variables) == 'zoo'
  again, found, tokenizer = hub.load_pretrained(tmp_path)
  assert (again, tokenizer) == (module, None)
  chex.assert_trees_all_equal(found, variables)


def test_tokenizers_of_bytes_have_no_names_for_their_special_tokens(tmp_path):
  hub.save_pretrained(tmp_path, TINY, {'params': params_of()}, ByteTokenizer())
  assert not (tmp_path / 'tokenizer_config.json').exists()
  assert hub.load_pretrained(tmp_path)[2] == ByteTokenizer()
  assert json.loads((tmp_path / 'config.json').read_text())['eos_token_id'] == 258


def test_a_tokenizer_that_does_not_fit_the_model_is_refused(saved, tmp_path):
  folder = copied(saved, tmp_path)
  train_bpe(['the cat sat on the mat, the cat sat'], 262).save(folder)
  with pytest.raises(ValueError, match='the tokenizer has 262 tokens, the model 260'):
    hub.load_pretrained(folder)


def config(**values):
  def change(folder):
    path = folder / 'config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | values))

  return change


def run_directory(folder):
  (folder / 'config.json').write_text('{"model": {"name": "gpt2"}}')
  (folder / 'checkpoints').mkdir()


def pickle_instead(folder):
  (folder / 'model.safetensors').rename(folder / 'pytorch_model.bin')


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (config(model_type='gpt3'), "unknown model_type of {} 'gpt3'; did you mean 'gpt2'?"),
    (config(model_type=None), "unknown model_type of {} 'None'"),
    (config(n_layer=2), '{}: GPT-2 tensors: missing h.1.ln_1.weight'),
    (run_directory, '{} is a run: scripts/export.py makes a folder of weights of it'),
    (pickle_instead, 'pytorch_model.bin is of a format that is not read'),
    (lambda folder: (folder / 'config.json').unlink(), '{} holds no model: it has no config.json'),
    (lambda folder: (folder / 'config.json').write_text('{'), '{}/config.json is no JSON'),
    (lambda folder: (folder / 'tokenizer.json').write_text('{'), 'tokenizer.json is not a token'),
  ],
)
def test_a_folder_that_cannot_be_loaded_is_refused_in_one_line(saved, tmp_path, change, message):
  folder = copied(saved, tmp_path)
  change(folder)
  with pytest.raises(ValueError, match=re.escape(message.format(folder))) as error:
    hub.load_pretrained(folder)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('source', ['/no/such/folder', './nothing', 'a/b/c'])
def test_what_looks_like_a_path_is_not_looked_for_on_the_hub(source, monkeypatch):
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(ValueError, match=f'^{re.escape(source)} is no folder of a model$'):
    hub.load_pretrained(source)


def test_without_a_network_a_name_fails_at_once_in_one_line(monkeypatch, tmp_path):
  from huggingface_hub import constants

  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
  with pytest.raises(ValueError, match=r'^openai-community/gpt2 is neither ') as error:
    hub.load_pretrained('openai-community/gpt2')
  assert '\n' not in str(error.value)


def test_neither_pickles_nor_code_are_fetched(saved, monkeypatch):
  import huggingface_hub

  asked = []

  def snapshot_download(name, allow_patterns):
    asked.append((name, allow_patterns))
    return str(saved)

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', snapshot_download)
  assert hub.load_pretrained('someone/model')[0] == TINY
  [(name, patterns)] = asked
  assert name == 'someone/model'
  files = [p for p in patterns if re.search(r'\.(bin|pt|py|ckpt|h5|msgpack)$|^\*$', p)]
  assert not files
