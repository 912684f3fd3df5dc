"""What a model now does with a few examples it was not trained on, to look at."""

import itertools
from collections.abc import Callable

import jax
import numpy as np

from zoo.data.environment import play
from zoo.data.hosted import HostEnvironment, watch
from zoo.experiment import Experiment
from zoo.figures.image_quality import psnr
from zoo.generate import generate
from zoo.models.gpt2 import decodable
from zoo.objectives.vae import picture
from zoo.population import member_on
from zoo.previews import anomaly, classification, clustering, episode, restoration, samples, text
from zoo.training.predict import examples_of, make_predict
from zoo.translate import reader
from zoo.types import Array, PyTree, Source, TrainState

Preview = Callable[[TrainState], dict[str, bytes | str]]

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 3, 32, 160
PAIRS = 24
PICTURES, AMONG = 8, 512  # what is shown lies evenly among the first of a split
GRID, WAYS = (8, 10), (6, 9)  # rows and columns


def make_preview(experiment: Experiment, state: PyTree) -> Preview:
  """Returns (state) -> pictures (PNG, or GIF) and texts by name, of the validation split.

  Of the test split, if there is no other; nothing if there is neither, or nothing to show.

  Args:
    experiment: what is trained.
    state: the placement of the train state, from `program.build`.
  """
  make, sources = PREVIEWS.get(experiment.task), experiment.dataset.evaluation
  if make is None or not sources:
    return lambda state: {}
  source = next(iter(sources.values()))
  if not experiment.is_population:
    return make(experiment, source, state)
  # Of runs side by side the first is shown, as it is without looking which is best.
  alone = experiment.alone
  preview = make(alone, source, alone.parallel.everywhere)
  return lambda state: preview(member_on(state, 0, alone.parallel))


def of_classes(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """The confusion matrix, and the worst mistakes."""
  predict = make_predict(experiment.objective, source, experiment.parallel, placement)

  def preview(state: TrainState) -> dict[str, bytes | str]:
    examples, logits = predict(state)
    names = experiment.dataset.class_names
    images = examples.get('image')
    return {**classification.preview(examples['label'], logits, images=images, class_names=names)}

  return preview


def of_anomalies(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """How scores are distributed, and the examples that are the most and the least anomalous."""
  predict = make_predict(experiment.objective, source, experiment.parallel, placement)

  def preview(state: TrainState) -> dict[str, bytes | str]:
    examples, scores = predict(state)
    return {**anomaly.preview(examples['label'], scores, images=examples.get('image'))}

  return preview


def of_clusters(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """Examples of every cluster."""
  predict = make_predict(experiment.objective, source, experiment.parallel, placement)

  def preview(state: TrainState) -> dict[str, bytes | str]:
    examples, logits = predict(state)
    return {**clustering.preview(examples['label'], logits, images=examples.get('image'))}

  return preview


def of_text(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """Continuations of the beginnings of sequences."""
  del placement
  tokenizer = experiment.dataset.tokenizer
  context = getattr(experiment.module, 'context_length', PROMPT_TOKENS + NEW_TOKENS)
  rows = examples_of(source, PROMPTS)['tokens']
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
    return {'before_and_after': restoration.before_and_after(clean, left, restored, quality)}

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
    columns, ends = len(chosen), itertools.pairwise(latent[: PICTURES + 1])
    walks = np.concatenate([np.linspace(a, b, columns) for a, b in ends])
    shown: dict[str, bytes | str] = {
      'reconstructions': samples.grid(np.concatenate([originals, restored]), columns),
      'latent_walk': samples.grid(decoded(walks), columns),
    }
    if getattr(module, 'variational', False):  # otherwise nothing says where latent numbers lie
      z = jax.random.normal(jax.random.key(0), (PICTURES * columns, latent.shape[1]))
      shown['samples'] = samples.grid(decoded(z), columns)
    return shown

  return preview


def of_episode(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """An episode, always the same start, in which the best action is taken; it moves."""
  del source, placement
  environment, objective = experiment.dataset.environment, experiment.objective
  seed = experiment.settings.seed
  assert objective.predict is not None
  predict = objective.predict

  @jax.jit
  def best(params: PyTree, extras: PyTree, seen: Array) -> Array:
    return predict(params, extras, {'s_tm1': seen}).argmax(-1)

  @jax.jit
  def played(params: PyTree, extras: PyTree) -> tuple[Array, Array]:
    choose = lambda seen, key: best(params, extras, seen[None])[0]
    found = play(environment, choose, jax.random.key(seed))
    return found.observations, found.length

  def preview(state: TrainState) -> dict[str, bytes | str]:
    weights = jax.device_get((state.params, state.extras))
    if isinstance(environment, HostEnvironment):
      shown = watch(environment, lambda seen, time: best(*weights, seen), seed)
    else:
      seen, length = jax.device_get(played(*weights))
      shown = seen[: length + 1]
    drawn = episode.gif(environment.name, shown)
    return {'episode': drawn} if drawn else {}

  return preview


def of_samples(experiment: Experiment, source: Source, placement: PyTree) -> Preview:
  """What is made from latents that stay the same for the whole run, and on the way between some.

  If the generator is conditional, a column of the grid is one class and a row one latent, and a row
  of ways is one class.
  """
  del source, placement
  module, classes = experiment.module, len(experiment.dataset.class_names)
  rng = np.random.default_rng(experiment.settings.seed)
  rows, columns = GRID[0], min(classes, 2 * GRID[1]) if module.conditional else GRID[1]
  draw = lambda count: samples.latents(rng, count, module.latent_size)
  z = draw(rows).repeat(columns, axis=0) if module.conditional else draw(rows * columns)
  ways = samples.between(draw(WAYS[0]), draw(WAYS[0]), WAYS[1]).reshape(-1, module.latent_size)
  labels = np.tile(np.arange(columns), rows), np.arange(WAYS[0]).repeat(WAYS[1]) % max(classes, 1)
  make = jax.jit(lambda variables, z, label: module.apply(variables, z, label, method='generate'))

  def preview(state: TrainState) -> dict[str, bytes | str]:
    variables = jax.device_get(experiment.objective.variables(state.params, state.extras))
    made = [np.asarray(make(variables, *x)) for x in zip((z, ways), labels, strict=True)]
    return {
      'samples': samples.grid(made[0], columns),
      'interpolation': samples.grid(made[1], WAYS[1]),
    }

  return preview


PREVIEWS = {
  'anomaly': of_anomalies,
  'classification': of_classes,
  'clustering': of_clusters,
  'distillation': of_classes,
  'dqn': of_episode,
  'fixmatch': of_classes,
  'gan': of_samples,
  'language_model': of_text,
  'pqn': of_episode,
  'restoration': of_restoration,
  'seq2seq': of_pairs,
  'vae': of_codes,
}
