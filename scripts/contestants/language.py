"""Language models that scripts/peers.py compares: their sizes, and our side."""

from typing import Any, NamedTuple

import numpy as np
from contestants.case import Call, Case, zoo_step

LEARNING_RATE, WEIGHT_DECAY = 3e-4, 0.1  # of AdamW; betas 0.9, 0.999 and epsilon 1e-8 everywhere


class GPT(NamedTuple):
  """A GPT-2 to train: sizes, and the shape of a batch."""

  vocab_size: int
  context_length: int
  num_layers: int
  width: int
  num_heads: int
  batch_size: int
  length: int

  def batch(self) -> dict[str, np.ndarray]:
    return random_batch(self.vocab_size, self.batch_size, self.length)


class Recurrent(NamedTuple):
  """An LSTM language model to train: sizes, and the shape of a batch."""

  vocab_size: int
  num_layers: int
  width: int
  batch_size: int
  length: int

  def batch(self) -> dict[str, np.ndarray]:
    return random_batch(self.vocab_size, self.batch_size, self.length)


def random_batch(vocab_size: int, *shape: int) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {name: rng.integers(0, vocab_size, shape) for name in ('tokens', 'targets')}


class Decode(NamedTuple):
  """A greedy continuation by a GPT-2: how many prompts, tokens in each, and tokens to add."""

  size: GPT
  batch_size: int
  prompt_length: int = 32
  new_tokens: int = 128

  def prompts(self) -> np.ndarray:
    return random_batch(self.size.vocab_size, self.batch_size, self.prompt_length)['tokens']

  def tensors(self) -> dict[str, np.ndarray]:
    """The same weights for everyone, by the names of Hugging Face, drawn as GPT-2's are."""
    size, D = self.size, self.size.width
    shapes: dict[str, tuple[int, ...]] = {
      'wte.weight': (size.vocab_size, D),
      'wpe.weight': (size.context_length, D),
      'ln_f.weight': (D,),
      'ln_f.bias': (D,),
    }
    kernels = {'attn.c_attn': (D, 3 * D), 'attn.c_proj': (D, D)}
    kernels |= {'mlp.c_fc': (D, 4 * D), 'mlp.c_proj': (4 * D, D)}
    for i in range(size.num_layers):
      for name in ('ln_1', 'ln_2'):
        shapes |= {f'h.{i}.{name}.weight': (D,), f'h.{i}.{name}.bias': (D,)}
      for name, shape in kernels.items():
        shapes |= {f'h.{i}.{name}.weight': shape, f'h.{i}.{name}.bias': shape[1:]}
    rng = np.random.default_rng(0)
    return {
      name: rng.normal(scale=0.02, size=shape).astype(np.float32)
      if len(shape) > 1
      else np.full(shape, name.endswith('weight'), np.float32)
      for name, shape in shapes.items()
    }


SMALL = GPT(50257, 1024, 12, 768, 12, batch_size=1, length=256)
CHARS = GPT(65, 256, 6, 384, 6, batch_size=12, length=256)  # nanoGPT's for characters
# As it is trained on accelerators, its table rounded up as is kind to them.
LONG = GPT(50304, 1024, 12, 768, 12, batch_size=32, length=1024)
LSTM_LM = Recurrent(10_000, 2, 512, batch_size=32, length=128)


def zoo_gpt(size: GPT, dtype: str) -> Call:
  from zoo.models.gpt2 import GPT2

  names = ('vocab_size', 'context_length', 'num_layers', 'width', 'num_heads')
  module = GPT2(**{name: getattr(size, name) for name in names}, dropout=0.0, dtype=dtype)
  return zoo_language_model(module, size.batch())


def zoo_lstm(size: Recurrent) -> Call:
  from zoo.models.lstm import LSTM

  names = ('vocab_size', 'num_layers', 'width')
  return zoo_language_model(LSTM(**{name: getattr(size, name) for name in names}), size.batch())


def zoo_language_model(module: Any, tokens: dict[str, np.ndarray]) -> Call:
  import optax

  from zoo.objectives.language_model import language_model

  tx = optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
  return zoo_step(language_model(module), tx, tokens)


def zoo_decode(task: Decode) -> Call:
  import jax
  import jax.numpy as jnp

  from zoo.generate import generate
  from zoo.interop import gpt2

  size = task.size
  config = {'vocab_size': size.vocab_size, 'n_positions': size.context_length}
  config |= {'n_layer': size.num_layers, 'n_embd': size.width, 'n_head': size.num_heads}
  module, params = gpt2.from_hf(task.tensors(), config)
  params = jax.tree.map(jnp.asarray, params)
  prompts = task.prompts().tolist()

  def call() -> list[list[int]]:
    found = generate(module, params, prompts, max_new_tokens=task.new_tokens, temperature=0)
    return np.asarray(found)[:, 0].tolist()  # one sample of each

  return call


def in_torch() -> Any:
  """The module of the peers in torch, imported in their processes only."""
  from contestants import pytorch_language

  return pytorch_language


def gpt_case(what: str, size: GPT, dtype: str) -> Case:
  return Case(
    f'{what}, batch {size.batch_size} x {size.length}, {dtype}',
    size.batch_size * size.length,
    lambda: zoo_gpt(size, dtype),
    {
      'torch.compile': lambda: in_torch().gpt(size, dtype, compiled=True),
      'torch eager': lambda: in_torch().gpt(size, dtype, compiled=False),
    },
  )


def long_case() -> Case:
  """Against the fastest that PyTorch has on a GPU."""
  peers = {
    'torch.compile': lambda: in_torch().gpt(LONG, 'bfloat16', compiled=True),
    'torch.compile, cuDNN attention': lambda: in_torch().gpt(LONG, 'bfloat16', True, cudnn=True),
  }
  case = gpt_case('train GPT-2 124M', LONG, 'bfloat16')
  return case._replace(peers=peers, accelerator=True)


def decode_case(batch_size: int) -> Case:
  task = Decode(SMALL, batch_size)
  length = f'{task.prompt_length} + {task.new_tokens} tokens'
  return Case(
    f'decode GPT-2 124M, {length}, batch {batch_size}, float32',
    batch_size * task.new_tokens,
    lambda: zoo_decode(task),
    {'transformers': lambda: in_torch().decode(task)},
  )


def lstm_case(batch_size: int, accelerator: bool = False) -> Case:
  size = LSTM_LM._replace(batch_size=batch_size)
  return Case(
    f'train LSTM 2 x 512, vocabulary 10k, batch {batch_size} x 128, float32',
    size.batch_size * size.length,
    lambda: zoo_lstm(size),
    {'torch.nn.LSTM': lambda: in_torch().lstm(size)},
    accelerator=accelerator,
  )
