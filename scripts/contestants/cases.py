"""What scripts/peers.py compares, by name."""

from contestants.acting import dqn_case
from contestants.images import dcgan_case, resnet_case
from contestants.language import CHARS, SMALL, decode_case, gpt_case, long_case, lstm_case

CASES = {
  'gpt2_f32': gpt_case('train GPT-2 124M', SMALL, 'float32'),
  'gpt2_bf16': gpt_case('train GPT-2 124M', SMALL, 'bfloat16'),
  'gpt_f32': gpt_case('train GPT 6 x 384, vocabulary 65', CHARS, 'float32'),
  'gpt_bf16': gpt_case('train GPT 6 x 384, vocabulary 65', CHARS, 'bfloat16'),
  'gpt2_long': long_case(),
  'lstm': lstm_case(32),
  'lstm_256': lstm_case(256, accelerator=True),
  'decode_1': decode_case(1),
  'decode_8': decode_case(8),
  'decode_64': decode_case(64)._replace(accelerator=True),
  'resnet_f32': resnet_case('float32'),
  'resnet_bf16': resnet_case('bfloat16'),
  'dcgan': dcgan_case(),
  'dqn': dqn_case(1),
  'dqn_8': dqn_case(8),
}
