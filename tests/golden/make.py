"""Makes the golden files from torch and transformers: python tests/golden/make.py

Inputs and expected outputs of tiny random models, tens of kilobytes each and no pickle, so that
agreement with independent implementations is tested where neither is installed.
"""

import json
import pathlib
import re

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent


def gpt2() -> dict[str, np.ndarray]:
  """A `GPT2LMHeadModel` with no two parameters alike; its logits, loss and gradient norms."""
  torch.manual_seed(0)
  sizes = {'n_layer': 2, 'n_embd': 16, 'n_head': 4, 'n_positions': 12, 'vocab_size': 31}
  off = {'resid_pdrop': 0.0, 'embd_pdrop': 0.0, 'attn_pdrop': 0.0}
  config = transformers.GPT2Config(**sizes, **off, bos_token_id=None, eos_token_id=None)
  model = transformers.GPT2LMHeadModel(config).double().eval()
  for p in model.parameters():
    # As in the file, so that rounding to float32 is not part of the difference.
    p.data = (p.data + 0.1 * torch.randn_like(p)).float().double()
  tokens = torch.randint(0, sizes['vocab_size'], (3, 12))
  out = model(tokens, labels=tokens)
  out.loss.backward()
  arrays = {
    'sizes': np.array(list(sizes.values())),
    'tokens': tokens.numpy().astype(np.int32),
    'logits': out.logits.detach().float().numpy(),
    'loss': out.loss.detach().float().numpy(),
  }
  for name, p in model.named_parameters():
    assert p.grad is not None
    arrays[f'w:{name}'] = p.detach().float().numpy()
    arrays[f'g:{name}'] = p.grad.norm().float().numpy()
  return arrays


def trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
  return {name: p for name, p in model.named_parameters() if p.requires_grad}


def unlike(model: torch.nn.Module, noise: float = 0.1) -> torch.nn.Module:
  """Makes no two parameters alike, in the precision of the file."""
  for p in trained(model).values():
    p.data = (p.data + noise * torch.randn_like(p)).float().double()
  return model


def padded(vocab_size: int, shape: tuple[int, int], pad_id: int) -> torch.Tensor:
  """Random tokens, but no `pad_id`; of each row two more are then padding."""
  tokens = torch.randint(1, vocab_size - 1, shape)
  for b, row in enumerate(tokens):
    row[shape[1] - 2 * b :] = pad_id
  return tokens


def named(prefix: str, arrays: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
  return {f'{prefix}:{name}': x.detach().float().numpy() for name, x in arrays.items()}


def gradient_norms(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
  parameters = trained(model)
  gradients = torch.autograd.grad(loss, list(parameters.values()))
  return {name: g.norm() for name, g in zip(parameters, gradients, strict=True)}


def bert() -> dict[str, np.ndarray]:
  """`BertForMaskedLM` and `BertForSequenceClassification` with one encoder."""
  torch.manual_seed(0)
  config = transformers.BertConfig(
    vocab_size=31, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
    max_position_embeddings=12, num_labels=3, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
  )  # fmt: skip
  masked = unlike(transformers.BertForMaskedLM(config).double()).eval()
  classifier = unlike(transformers.BertForSequenceClassification(config).double()).eval()
  classifier.bert.load_state_dict(masked.bert.state_dict(), strict=False)
  tokens = padded(31, (3, 10), 0)
  inputs = {'attention_mask': tokens != 0, 'token_type_ids': torch.randint(0, 2, (3, 10))}
  labels = torch.randint(0, 31, (3, 10)).masked_fill(tokens == 0, -100)  # not counted
  of_tokens = masked(tokens, labels=labels, **inputs)
  of_classes = classifier(tokens, labels=torch.tensor([2, 0, 1]), **inputs)
  return {
    'config': np.array(json.dumps(config.to_dict())),
    'tokens': tokens.int().numpy(),
    'types': inputs['token_type_ids'].int().numpy(),
    'token_labels': labels.int().numpy(),
    'token_logits': of_tokens.logits.detach().float().numpy(),
    'class_labels': np.array([2, 0, 1], np.int32),
    'class_logits': of_classes.logits.detach().float().numpy(),
    **named('w', trained(masked) | trained(classifier)),
    **named('token_gradient', gradient_norms(masked, of_tokens.loss)),
    **named('class_gradient', gradient_norms(classifier, of_classes.loss)),
  }


def marian() -> dict[str, np.ndarray]:
  """A `MarianMTModel`, and what its greedy decoding makes of the sources."""
  torch.manual_seed(0)
  config = transformers.MarianConfig(
    vocab_size=31, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
    decoder_attention_heads=4, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=12,
    pad_token_id=30, decoder_start_token_id=30, eos_token_id=0, scale_embedding=True,
    activation_function='swish', dropout=0.0,
  )  # fmt: skip
  model = unlike(transformers.MarianMTModel(config).double(), noise=0.3).eval()
  for layer in model.modules():
    if isinstance(layer, torch.nn.Embedding):
      layer.padding_idx = None  # torch would not train what a decoder starts with
  model.final_logits_bias += (0.1 * torch.randn_like(model.final_logits_bias)).float().double()
  source, labels = padded(31, (3, 10), 30), torch.randint(0, 31, (3, 8))
  out = model(source, attention_mask=source != 30, labels=labels)
  generated = model.generate(
    source, attention_mask=source != 30, max_new_tokens=11, num_beams=1, do_sample=False,
    forced_eos_token_id=None, eos_token_id=None,
  )  # fmt: skip
  return {
    'config': np.array(json.dumps(config.to_dict())),
    'source': source.int().numpy(),
    'labels': labels.int().numpy(),
    'logits': out.logits.detach().float().numpy(),
    'generated': generated.int().numpy(),
    **named('w', {'final_logits_bias': model.final_logits_bias, **trained(model)}),
    **named('gradient', gradient_norms(model, out.loss)),
  }


def resnet() -> dict[str, np.ndarray]:
  """`ResNetForImageClassification` of both kinds of blocks, judged and trained on one batch."""
  arrays = {}
  for kind, channels in (('basic', [4, 8]), ('bottleneck', [8, 16])):
    torch.manual_seed(0)
    width = channels[0] if kind == 'basic' else channels[0] // 4
    config = transformers.ResNetConfig(
      embedding_size=width, hidden_sizes=channels, depths=[1, 1], layer_type=kind, num_labels=3
    )
    model = unlike(transformers.ResNetForImageClassification(config).double(), noise=0.2)
    images, labels = torch.randn(4, 3, 14, 18).half().double(), torch.tensor([2, 0, 1, 1])
    for name, x in model.named_buffers():
      if x.dtype == torch.float64:  # statistics, of which a variance is positive
        x.copy_((torch.rand_like(x) + (0.5 if 'var' in name else -0.5)).float())
    state = {name: x.clone() for name, x in model.state_dict().items()}
    evaluated = model.eval()(images).logits
    out = model.train()(images, labels=labels)
    means = {name: x for name, x in model.named_buffers() if name.endswith('running_mean')}
    found = {
      'config': np.array(json.dumps(config.to_dict())),
      'images': images.half().numpy(),
      'labels': labels.int().numpy(),
      'evaluated': evaluated.detach().float().numpy(),
      'trained': out.logits.detach().float().numpy(),
      **named('w', state),
      **named('gradient', gradient_norms(model, out.loss)),
      **named('mean', means),
    }
    arrays |= {f'{kind}/{name}': x for name, x in found.items()}
  return arrays


def vit() -> dict[str, np.ndarray]:
  """A `ViTForImageClassification`, its names as in files, which are not those in memory."""
  torch.manual_seed(0)
  config = transformers.ViTConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24, image_size=12,
    patch_size=4, num_labels=3,
  )  # fmt: skip
  model = unlike(transformers.ViTForImageClassification(config).double()).eval()
  images, labels = torch.randn(3, 3, 12, 12).float().double(), torch.tensor([2, 0, 1])
  out = model(images, labels=labels)
  norms = gradient_norms(model, out.loss)
  return {
    'config': np.array(json.dumps(config.to_dict())),
    'images': images.float().numpy(),
    'labels': labels.int().numpy(),
    'logits': out.logits.detach().float().numpy(),
    **named('w', {published(name): x for name, x in trained(model).items()}),
    **named('gradient', {published(name): x for name, x in norms.items()}),
  }


def published(name: str) -> str:
  """The name that a parameter of ViT has in files."""
  for theirs, ours in (
    (r'layers\.(\d+)', r'encoder.layer.\1'),
    (r'attention\.q_proj', 'attention.attention.query'),
    (r'attention\.k_proj', 'attention.attention.key'),
    (r'attention\.v_proj', 'attention.attention.value'),
    (r'attention\.o_proj', 'attention.output.dense'),
    (r'mlp\.fc1', 'intermediate.dense'),
    (r'mlp\.fc2', 'output.dense'),
  ):
    name = re.sub(theirs, ours, name)
  return name


if __name__ == '__main__':
  for make in (gpt2, bert, marian, resnet, vit):
    np.savez_compressed(HERE / f'{make.__name__}.npz', **make())
