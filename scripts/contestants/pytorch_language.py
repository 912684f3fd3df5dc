# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""The peers in PyTorch of language models, each at its best settings."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from contestants.case import Call
from contestants.language import GPT, LEARNING_RATE, WEIGHT_DECAY, Decode, Recurrent
from contestants.pytorch_device import finished, mixed, put
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel


def gpt(size: GPT, dtype: str, compiled: bool, cudnn: bool = False) -> Call:
  """The same in PyTorch: fused attention and AdamW, autocast for bfloat16.

  Args:
    size: of model and batch.
    dtype: to compute in.
    compiled: by torch.compile.
    cudnn: attention by cuDNN, on a GPU; PyTorch chooses one if not.
  """
  torch.manual_seed(0)
  model = gpt_module(size)
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
  )
  forward = torch.compile(model) if compiled else model
  batch = {name: put(x) for name, x in size.batch().items()}

  attention = lambda: sdpa_kernel(SDPBackend.CUDNN_ATTENTION) if cudnn else nullcontext()

  def call() -> None:
    with mixed(dtype), attention():
      logits = forward(batch['tokens'])
      loss = functional.cross_entropy(logits.flatten(0, 1), batch['targets'].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()

  return finished(call)


def lstm(size: Recurrent) -> Call:
  """The same as `zoo_lstm` by torch.nn.LSTM, time-major, which it takes fastest."""
  torch.manual_seed(0)
  embedding = nn.Embedding(size.vocab_size, size.width)
  lstm = nn.LSTM(size.width, size.width, size.num_layers)
  head = nn.Linear(size.width, size.vocab_size)
  parameters = nn.ModuleList([embedding, lstm, head]).parameters()
  optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
  batch = {name: put(np.ascontiguousarray(x.T)) for name, x in size.batch().items()}

  def call() -> None:
    logits = head(lstm(embedding(batch['tokens']))[0])
    loss = functional.cross_entropy(logits.flatten(0, 1), batch['targets'].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()

  return finished(call)


def gpt_module(size: GPT) -> Any:
  """GPT-2 as PyTorch has it fastest: one product for q, k and v, and its own fused attention."""
  D = size.width

  class Block(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.norm_1, self.norm_2 = nn.LayerNorm(D), nn.LayerNorm(D)
      self.qkv, self.attention_out = nn.Linear(D, 3 * D), nn.Linear(D, D)
      self.mlp_in, self.mlp_out = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, x: Any) -> Any:
      q, k, v = (
        part.unflatten(-1, (size.num_heads, -1)).transpose(1, 2)
        for part in self.qkv(self.norm_1(x)).split(D, dim=2)
      )
      found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
      x = x + self.attention_out(found.transpose(1, 2).flatten(2))
      h = functional.gelu(self.mlp_in(self.norm_2(x)), approximate='tanh')
      return x + self.mlp_out(h)

  class Model(nn.Module):
    def __init__(self) -> None:
      super().__init__()
      self.token_embedding = nn.Embedding(size.vocab_size, D)
      self.position_embedding = nn.Embedding(size.context_length, D)
      self.blocks = nn.ModuleList(Block() for _ in range(size.num_layers))
      self.final_norm = nn.LayerNorm(D)
      for parameter in self.parameters():
        if parameter.ndim > 1:
          nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Any) -> Any:
      x = self.token_embedding(tokens) + self.position_embedding(
        torch.arange(tokens.shape[1], device=tokens.device)
      )
      for block in self.blocks:
        x = block(x)
      return functional.linear(self.final_norm(x), self.token_embedding.weight)

  return Model()


def decode(task: Decode) -> Call:
  """The same by `generate` of transformers, with its cache."""
  import transformers

  size = task.size
  config = transformers.GPT2Config(
    vocab_size=size.vocab_size,
    n_positions=size.context_length,
    n_embd=size.width,
    n_layer=size.num_layers,
    n_head=size.num_heads,
  )
  model = transformers.GPT2LMHeadModel(config).eval()
  tensors = {name: put(x) for name, x in task.tensors().items()}
  model.transformer.load_state_dict(tensors)  # the head is tied to it
  prompts = put(task.prompts())
  wanted = {'max_new_tokens': task.new_tokens, 'min_new_tokens': task.new_tokens}

  def call() -> list[list[int]]:
    with torch.inference_mode():
      found = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=False,
        pad_token_id=size.vocab_size - 1,
        **wanted,
      )
    return found[:, task.prompt_length :].tolist()

  return finished(call)
