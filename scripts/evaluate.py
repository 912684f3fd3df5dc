"""Evaluates a run on its validation and test splits; the config comes from the run directory.

  python scripts/evaluate.py --workdir=runs/digits_cnn [--step=best]
  python scripts/evaluate.py --workdir=runs/dates --beam=1,4
  python scripts/evaluate.py --workdir=runs/digits_gan --inception=FILE.safetensors

With --beam a model of sequence to sequence is also judged by what beam search makes of the sources:
exact matches and BLEU, for each number of hypotheses. With --inception what a GAN makes is also
judged by the Frechet inception distance: FILE is as in `zoo/interop/inception.py`.

Prints the figures of each split, and with --json one JSON object and nothing else.
"""

import dataclasses
import json
from pathlib import Path

import jax
from absl import flags

from zoo import cli, huge_pages
from zoo.judge import make_judges
from zoo.robust import spread
from zoo.runs import Run, open_run
from zoo.translate import judge, reader, translate

FLAGS = flags.FLAGS
flags.DEFINE_string('workdir', None, 'Run directory, as scripts/train.py left it.')
flags.DEFINE_string('step', 'last', "Which checkpoint: 'last', 'best' or a number.")
flags.DEFINE_string('member', 'all', "Of runs side by side: 'all', 'best' or a number from 0 on.")
flags.DEFINE_list('beam', [], 'Hypotheses of beam searches to judge as well.')
flags.DEFINE_float('length_penalty', 0.6, 'Of beam search.')
flags.DEFINE_string('inception', None, "Weights to measure 'fid' by; the run's own by default.")
flags.DEFINE_bool('json', False, 'Print JSON.')
flags.mark_flag_as_required('workdir')


def main(argv: list[str]) -> int:
  if argv[1:]:
    raise ValueError(f'the config comes from the run directory; {argv[1]} cannot change it')
  beam_sizes = [positive(text) for text in FLAGS.beam]
  huge_pages.ask()
  opened = open_run(
    Path(FLAGS.workdir), FLAGS.step, None if FLAGS.member == 'all' else FLAGS.member
  )
  experiment, state = opened.experiment, opened.state
  if beam_sizes and experiment.task != 'seq2seq':
    raise ValueError(f'--beam is for sequence to sequence, not for {experiment.task}')
  if FLAGS.inception is not None:
    if experiment.task != 'gan':
      raise ValueError(f'--inception is for what a GAN makes, not for {experiment.task}')
    settings = dataclasses.replace(experiment.settings, inception=FLAGS.inception)
    experiment = experiment._replace(settings=settings)
  judges = make_judges(experiment, opened.program.state)
  best = experiment.settings.best
  figures = {split: spread(judged(state), best) for split, judged in judges.items()}
  for beam_size in beam_sizes:
    for split, found in by_beam_search(opened, beam_size).items():
      figures[split] |= {f'{name}_beam_{beam_size}': value for name, value in found.items()}
  if FLAGS.json:
    print(json.dumps({'step': opened.step, 'metrics': figures}))
    return 0
  parameters = sum(x.size for x in jax.tree.leaves(state.params)) // len(experiment.members)
  print(f'{opened.config.model.name} ({parameters:,} parameters) at step {opened.step}')
  for split, metrics in figures.items():
    print(f'{split:11}' + '  '.join(f'{name} {value:.4f}' for name, value in metrics.items()))
  return 0


def by_beam_search(opened: Run, beam_size: int) -> dict[str, dict[str, float]]:
  """Exact matches and BLEU of every split."""
  module, dataset = opened.experiment.module, opened.experiment.dataset
  params = jax.device_get(opened.variables)['params']
  options = {'beam_size': beam_size, 'length_penalty': FLAGS.length_penalty}
  return {
    split: judge(*translate(module, params, source, reader(dataset.tokenizer), **options))
    for split, source in dataset.evaluation.items()
  }


def positive(text: str) -> int:
  """A number of hypotheses."""
  if not text.isdecimal() or int(text) < 1:
    raise ValueError(f'--beam must be whole numbers of at least 1, not {text!r}')
  return int(text)


if __name__ == '__main__':
  cli.run(main)
