"""What a model now does with a few examples it was not trained on, to look at."""

import itertools
from collections.abc import Callable

import jax
import numpy as np

from zoo.experiment import Experiment
from zoo.generate import generate
from zoo.image_quality import psnr
from zoo.models.gpt2 import decodable
from zoo.objectives.vae import picture
from zoo.previews import classification, pictures, text
from zoo.training.predict import make_predict
from zoo.translate import reader
from zoo.types import PyTree, Source, TrainState

Preview = Callable[[TrainState], dict[str, bytes | str]]

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 3, 32, 160
PAIRS = 24
PICTURES, AMONG = 8, 512  # what is shown lies evenly among the first of a split


def make_preview(experiment: Experiment, state: PyTree) -> Preview:
  """Returns (state) -> PNG pictures and texts by name, of the validation split.

  Of the test split, if there is no other; nothing if there is neither, or nothing to show.

  Args:
    experiment: what is trained.
    state: the placement of the train state, from `program.build`.
  """
  make, sources = PREVIEWS.get(experiment.task), experiment.dataset.evaluation
  if make is None or not sources:
    return lambda state: {}
  return make(experiment, next(iter(sources.values())), state)


def of_classes(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """The confusion matrix, and the worst mistakes."""
  predict = make_predict(experiment.objective, source, experiment.parallel, placement)

  def preview(state: TrainState) -> dict[str, bytes | str]:
    examples, logits = predict(state)
    names = experiment.dataset.class_names
    images = examples.get('image')
    return {**classification.preview(examples['label'], logits, images=images, class_names=names)}

  return preview


def of_text(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """Continuations of the beginnings of sequences."""
  del placement
  tokenizer = experiment.dataset.tokenizer
  context = getattr(experiment.module, 'context_length', PROMPT_TOKENS + NEW_TOKENS)
  rows = first_rows(source, 'tokens', PROMPTS)
  prompts = [row[: min(PROMPT_TOKENS, context // 2)].tolist() for row in rows]
  most = min(NEW_TOKENS, context - len(prompts[0]))

  def preview(state: TrainState) -> dict[str, bytes | str]:
    weights = jax.device_get(experiment.objective.variables(state.params, state.extras))
    module, params = decodable(experiment.module, weights['params'])
    key = jax.random.fold_in(jax.random.key(experiment.settings.seed), int(state.step))
    options = {'max_new_tokens': most, 'temperature': 0.8, 'num_samples': 2}
    samples = generate(module, params, prompts, key=key, eos_id=tokenizer.eos_id, **options)
    written = [[tokenizer.decode(tokens) for tokens in of_prompt] for of_prompt in samples]
    return {'samples': text.continuations([*map(tokenizer.decode, prompts)], written)}

  return preview


def of_pairs(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """Sources with what the model makes of them, and what it should."""
  read = reader(experiment.dataset.tokenizer)
  predict = make_predict(experiment.objective, source, experiment.parallel, placement, limit=PAIRS)

  def preview(state: TrainState) -> dict[str, bytes | str]:
    examples, outputs = predict(state)
    columns = (examples['source'], outputs, examples['target'])
    sources, found, targets = ([read(row) for row in rows[:PAIRS]] for rows in columns)
    return {'translations': text.translations(sources, found, targets)}

  return preview


def of_restoration(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """Pictures, what a corruption left of them, and what was restored."""
  predict = make_predict(experiment.objective, source, experiment.parallel, placement, limit=AMONG)

  def preview(state: TrainState) -> dict[str, bytes | str]:
    examples, outputs = predict(state)
    clean = examples[experiment.dataset.given['input_key']]
    chosen = np.linspace(0, len(clean) - 1, min(PICTURES, len(clean))).astype(int)
    clean = clean[chosen] / (255 if clean.dtype == np.uint8 else 1)
    left, restored = (outputs[name][chosen] for name in ('corrupted', 'restored'))
    quality = np.stack([psnr(found, clean) for found in (left, restored)])
    return {'before_and_after': pictures.before_and_after(clean, left, restored, quality)}

  return preview


def of_codes(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """Pictures above what comes back of them; samples; walks from one picture to the next."""
  predict = make_predict(experiment.objective, source, experiment.parallel, placement, limit=AMONG)
  module = experiment.module
  decode = jax.jit(lambda variables, z: module.apply(variables, z, train=False, method='decode'))

  def preview(state: TrainState) -> dict[str, bytes | str]:
    variables = jax.device_get(experiment.objective.variables(state.params, state.extras))
    decoded = lambda z: np.asarray(picture(decode(variables, z)))
    examples, outputs = predict(state)
    originals = examples[experiment.dataset.given['input_key']]
    chosen = np.linspace(0, len(originals) - 1, min(2 * PICTURES, len(originals))).astype(int)
    originals = originals[chosen] / (255 if originals.dtype == np.uint8 else 1)
    latent, restored = (outputs[name][chosen] for name in ('latent', 'reconstruction'))
    walks = [np.linspace(a, b, len(chosen)) for a, b in itertools.pairwise(latent[: PICTURES + 1])]
    shown: dict[str, bytes | str] = {
      'reconstructions': pictures.grid([list(originals), list(restored)]),
      'latent_walk': pictures.grid([list(decoded(walk)) for walk in walks]),
    }
    if getattr(module, 'variational', False):  # otherwise nothing says where latent numbers lie
      z = jax.random.normal(jax.random.key(0), (PICTURES, *latent.shape))
      shown['samples'] = pictures.grid([list(decoded(row)) for row in z])
    return shown

  return preview


PREVIEWS = {
  'classification': of_classes,
  'language_model': of_text,
  'restoration': of_restoration,
  'seq2seq': of_pairs,
  'vae': of_codes,
}


def first_rows(source: Source, key: str, count: int) -> np.ndarray:
  """The first examples of a source of one pass."""
  draw = jax.jit(source.next) if source.on_device else source.next
  _, batch = draw(source.init(jax.random.key(0)), None, source.data)
  return np.asarray(batch[key][:count])
