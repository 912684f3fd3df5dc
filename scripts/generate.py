"""Continues prompts with a language model, or translates sources with one of sequence to sequence.

  python scripts/generate.py --workdir=runs/pydocs_gpt_char --prompt='The Zen of '
  python scripts/generate.py --from=FOLDER --prompt='Hello, ' --prompt='Once' --temperature=0.8
  python scripts/generate.py --workdir=runs/dates_transformer --prompt='3 mai 1968' --beam_size=4

One continuation is printed as it comes; several, each when all are complete. Then tokens a second,
with the prompt's share but without tracing and compiling. With --json it prints one JSON object and
nothing else.
"""

import json
import time
import warnings
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import zoo
from zoo import cli, huge_pages
from zoo.beam import beam_search
from zoo.generate import generate
from zoo.models.gpt2 import decodable
from zoo.runs import open_run
from zoo.text_stream import TextStream
from zoo.translate import reader
from zoo.types import PyTree

FLAGS = flags.FLAGS
flags.DEFINE_string('workdir', None, 'Run directory, as scripts/train.py left it.')
flags.DEFINE_string('from', None, 'In place of a run: a folder of weights, or a name on the hub.')
flags.DEFINE_string('step', 'last', "Which checkpoint of a run: 'last', 'best' or a number.")
flags.DEFINE_string('member', 'best', "Of runs side by side: 'best' or a number from 0 on.")
flags.DEFINE_multi_string('prompt', [], 'What to continue, or to translate; may be repeated.')
flags.DEFINE_string('prompts_file', None, 'A file with a prompt in each line, UTF-8.')
flags.DEFINE_integer('max_new_tokens', 100, 'The most tokens to generate for each prompt.')
flags.DEFINE_float('temperature', 1.0, 'Below 1 for likelier tokens; 0 for the likeliest.')
flags.DEFINE_integer('top_k', 0, 'Draw among this many likeliest tokens; 0 for all.')
flags.DEFINE_float('top_p', 1.0, 'Draw among the likeliest that have this probability together.')
flags.DEFINE_float('repetition_penalty', 1.0, 'Above 1 to discourage tokens that were there.')
flags.DEFINE_integer('num_samples', 1, 'Continuations of each prompt.')
flags.DEFINE_integer('seed', 0, 'Equal seeds give equal continuations.')
flags.DEFINE_integer('beam_size', 4, 'Hypotheses in the beam search of a translation.')
flags.DEFINE_float('length_penalty', 0.6, 'Of beam search: 0 prefers short translations.')
flags.DEFINE_bool('json', False, 'Print JSON.')

SAMPLING = ('temperature', 'top_k', 'top_p', 'repetition_penalty', 'num_samples', 'seed')
BEAM = ('beam_size', 'length_penalty')


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'{argv[1]!r} is no flag; a prompt is given as --prompt=...')
  prompts = read_prompts(FLAGS.prompt, FLAGS.prompts_file)
  if FLAGS.max_new_tokens < 1:
    raise ValueError(f'--max_new_tokens must be at least 1, not {FLAGS.max_new_tokens}')
  huge_pages.ask()
  module, params, tokenizer = load(FLAGS.workdir, FLAGS['from'].value, FLAGS.step)
  translates = hasattr(module, 'encode')
  for name in SAMPLING if translates else BEAM:
    if FLAGS[name].present:
      kind = 'a translation' if translates else 'a continuation'
      raise ValueError(f'--{name} means nothing for {kind}')

  encoded = [tokenizer.encode(prompt) for prompt in prompts]
  for i, tokens in enumerate(encoded):
    if tokenizer.unk_id is not None and tokenizer.unk_id in tokens:
      warnings.warn(f'prompt {i} holds characters that the tokenizer does not know', stacklevel=1)

  clock = Clock()
  respond = translate if translates else continue_
  found, count = respond(module, params, tokenizer, prompts, encoded)
  seconds, compiling = clock.read()
  speed = count / (seconds - compiling)
  if FLAGS.json:
    timing = {'tokens': count, 'tokens_per_second': speed, 'compile_seconds': compiling}
    print(json.dumps({'results': found, **timing}))
    return 0
  if len(prompts) > 1 or len(found[0]['outputs']) > 1:
    for result in found:
      for output in result['outputs']:
        print(f'--- {result["prompt"]}\n{output["text"]}')
  print(f'\n{count} tokens, {speed:.1f} tokens/s (and {compiling:.1f} s of compiling)')
  return 0


def read_prompts(given: list[str], file: str | None) -> list[str]:
  """The prompts of both flags, none of them empty."""
  prompts = list(given)
  if file is not None:
    try:
      prompts += Path(file).read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
      raise ValueError(f'{file} is not UTF-8: {error.reason} at byte {error.start}') from None
  if not prompts:
    raise ValueError('there is no prompt: give --prompt or --prompts_file')
  for i, prompt in enumerate(prompts):
    if not prompt:
      raise ValueError(f'prompt {i} is empty')
  return prompts


def load(workdir: str | None, source: str | None, step: str) -> tuple[Any, PyTree, Any]:
  """Module, parameters and tokenizer that fit each other and can generate.

  Raises:
    ValueError: no such run or folder, or it is of another kind.
  """
  if (workdir is None) == (source is None):
    raise ValueError('give either --workdir or --from')
  if workdir is not None:
    run = open_run(Path(workdir), step, FLAGS.member)
    module, tokenizer = run.experiment.module, run.experiment.dataset.tokenizer
    params = jax.device_get(run.variables)['params']
  else:
    module, variables, tokenizer = zoo.load_pretrained(str(source))
    params = variables['params']
  where, name = workdir or source, type(module).__name__
  if not hasattr(module, 'decode'):
    raise ValueError(f'{where} holds a {name}, which generates no text')
  if tokenizer is None:
    raise ValueError(f'{where} holds no tokenizer')
  size = getattr(module, 'vocab_size', tokenizer.vocab_size)
  if tokenizer.vocab_size > size:
    raise ValueError(f'{where}: the tokenizer has {tokenizer.vocab_size} tokens, the model {size}')
  module, params = decodable(module, params)
  return module, jax.device_put(params), tokenizer


def continue_(
  module: nn.Module, params: PyTree, tokenizer: Any, prompts: list[str], encoded: list[list[int]]
) -> tuple[list[dict[str, Any]], int]:
  """Continues prompts; a single continuation is printed as it comes.

  Returns:
    For each prompt {'prompt', 'outputs': [{'text', 'tokens'}]}, and how many tokens are new.
  """
  stream = TextStream(tokenizer.decode)
  write = lambda text: print(text, end='', flush=True)
  streams = len(prompts) == FLAGS.num_samples == 1 and not FLAGS.json
  if streams:
    write(prompts[0])
  found = generate(
    module,
    params,
    encoded,
    max_new_tokens=FLAGS.max_new_tokens,
    temperature=FLAGS.temperature,
    top_k=FLAGS.top_k,
    top_p=FLAGS.top_p,
    repetition_penalty=FLAGS.repetition_penalty,
    num_samples=FLAGS.num_samples,
    eos_id=tokenizer.eos_id,
    key=jax.random.key(FLAGS.seed),
    on_tokens=(lambda prompt, sample, new: write(stream.add(new))) if streams else None,
  )
  if streams:
    write(stream.finish() + '\n')
  results = [
    {'prompt': p, 'outputs': [{'text': tokenizer.decode(t), 'tokens': t} for t in samples]}
    for p, samples in zip(prompts, found, strict=True)
  ]
  return results, sum(len(tokens) for samples in found for tokens in samples)


def translate(
  module: Any, params: PyTree, tokenizer: Any, prompts: list[str], encoded: list[list[int]]
) -> tuple[list[dict[str, Any]], int]:
  """Translates sources by beam search.

  Returns:
    For each source {'prompt', 'outputs': [{'text', 'tokens', 'score'}]}, of which there is one but
    in JSON; and how many tokens the best have.
  """
  sources = [[*tokens, module.eos_id] for tokens in encoded]
  for i, tokens in enumerate(sources):
    if len(tokens) > module.max_length:
      raise ValueError(
        f'prompt {i} has {len(tokens)} tokens, more than the context of {module.max_length}'
      )
  width = max(len(tokens) for tokens in sources)
  padded = np.array([t + [module.pad_id] * (width - len(t)) for t in sources], np.int32)
  beams, scores = beam_search(
    module,
    params,
    jnp.asarray(padded),
    beam_size=FLAGS.beam_size,
    length_penalty=FLAGS.length_penalty,
    max_length=min(FLAGS.max_new_tokens, module.max_length),
  )
  read = reader(tokenizer)
  results = [
    {
      'prompt': prompt,
      'outputs': [
        {'text': read(tokens), 'tokens': tokens[tokens != module.pad_id].tolist(), 'score': score}
        for tokens, score in zip(hypotheses, values, strict=True)
        if score > -np.inf
      ],
    }
    for prompt, hypotheses, values in zip(
      prompts, np.asarray(beams), np.asarray(scores).tolist(), strict=True
    )
  ]
  count = sum(len(result['outputs'][0]['tokens']) for result in results)
  if not FLAGS.json:
    for result in results:
      result['outputs'] = result['outputs'][:1]
    if len(prompts) == 1:
      print(results[0]['outputs'][0]['text'])
  return results, count


class Clock:
  """Measures the time from its making on, and how much of it JAX traced and compiled."""

  def __init__(self):
    self._start = time.perf_counter()
    self._spans: list[tuple[float, float]] = []
    jax.monitoring.register_event_duration_secs_listener(self._add)

  def _add(self, event: str, duration_secs: float, **_: Any) -> None:
    if not event.startswith('/jax/core/compile/'):
      return
    end = time.perf_counter()
    # Functions are traced within functions: what lies within this span is counted with it.
    while self._spans and self._spans[-1][0] >= end - duration_secs:
      self._spans.pop()
    self._spans.append((end - duration_secs, end))

  def read(self) -> tuple[float, float]:
    """Seconds since the start, and of these, seconds of tracing and compiling."""
    return time.perf_counter() - self._start, sum(end - start for start, end in self._spans)


if __name__ == '__main__':
  cli.run(main)
