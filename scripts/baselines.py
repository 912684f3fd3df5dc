# pyright: reportMissingImports=false
"""What the models of pictures are to be better than: classical methods on the same held-out data.

  python scripts/baselines.py --config=configs/photos_restoration.py:denoise [--json]
  python scripts/baselines.py --config=configs/digits_vae.py

Of restoration: median filters, non-local means, Wiener filters and biharmonic inpainting, whichever
are made for the corruption of the config (they need scikit-image: pip install -e '.[baselines]').
They are shown exactly what the model is shown in its evaluation. Of a VAE: codes of the same values
by independent histograms, and by Gaussians with as many latent dimensions. What a method can be
told is chosen on the validation split; the figures are those of the test split.

References:
  Buades et al. 2005, A Non-Local Algorithm for Image Denoising. Damelin and Hoang 2018, On Surface
  Completion and Image Inpainting by Biharmonic Functions. Tipping and Bishop 1999, Probabilistic
  Principal Component Analysis.
"""

import functools
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from zoo import cli
from zoo.experiment import Experiment, complete_config, make_experiment
from zoo.figures.image_quality import gaussian, psnr, ssim
from zoo.names import unknown
from zoo.training import build
from zoo.training.predict import make_predict

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'Config file of a model; options follow as for train.py.')
flags.DEFINE_bool('json', False, 'Print JSON.')
flags.mark_flag_as_required('config')

Figures = dict[str, float]


class Method(NamedTuple):
  """A method and what it can be told.

  Attributes:
    name: of the method.
    apply: (data, **setting) -> what it makes of them.
    settings: the values of each argument that are tried, in all combinations.
  """

  name: str
  apply: Callable[..., Any]
  settings: Mapping[str, Iterable[Any]] = {}


def main(argv: list[str]) -> int:
  config: Any = cli.load_config(FLAGS.config, argv[1:], complete_config)
  if config.objective.name not in BASELINES:
    raise unknown('objective with baselines', config.objective.name, BASELINES)
  experiment = make_experiment(config, devices=jax.devices()[:1])
  if set(experiment.dataset.evaluation) != {'validation', 'test'}:
    raise ValueError('baselines need a validation split to choose by, and a test split')
  found = BASELINES[config.objective.name](experiment, config.objective.to_dict())
  if FLAGS.json:
    print(json.dumps({'config': FLAGS.config, 'baselines': found}))
    return 0
  for name, (setting, figures) in found.items():
    shown = '  '.join(f'{figure} {value:.4f}' for figure, value in figures.items())
    told = ', '.join(f'{k}={v:g}' for k, v in setting.items())
    print(f'{name:24} {shown}' + (f'  ({told})' if told else ''))
  return 0


def chosen(
  methods: Iterable[Method],
  data: Mapping[str, Any],
  judge: Callable[[Any, Any], Figures],
  by: str,
  best: Callable[..., Any] = max,
) -> dict[str, tuple[dict[str, Any], Figures]]:
  """Of each method the setting with the best figure in validation, and its figures in test."""
  found = {}
  for method in methods:
    judged = functools.partial(figures_of, method, data, judge)
    values = itertools.product(*method.settings.values())
    settings = [dict(zip(method.settings, of, strict=True)) for of in values]
    if len(settings) > 1:
      figures = [judged('validation', setting)[by] for setting in settings]
      settings = [settings[figures.index(best(figures))]]
    found[method.name] = settings[0], judged('test', settings[0])
  return found


def figures_of(
  method: Method,
  data: Mapping[str, Any],
  judge: Callable[[Any, Any], Figures],
  split: str,
  setting: Mapping[str, Any],
) -> Figures:
  return judge(data[split], method.apply(data[split], **setting))


# --- restoration ----------------------------------------------------------------------------------


class Corrupted(NamedTuple):
  """A split: what was, what is left, and where it is known; [N, H, W, C], the last [N, H, W, 1]."""

  clean: np.ndarray
  left: np.ndarray
  known: np.ndarray


def of_restoration(experiment: Experiment, options: dict[str, Any]) -> dict[str, Any]:
  """Classical restoration of what the model is shown in its evaluation."""
  parallel, objective = experiment.parallel, experiment.objective
  program = build(objective, experiment.tx, experiment.dataset.train, parallel)
  state, _ = program.init(jax.random.key(0))
  data = {}
  for split, source in experiment.dataset.evaluation.items():
    examples, outputs = make_predict(objective, source, parallel, program.state)(state)
    clean = examples[experiment.dataset.given['input_key']]
    clean = clean / np.float32(255) if clean.dtype == np.uint8 else clean
    data[split] = Corrupted(clean, outputs['corrupted'], outputs['known'])

  methods = [Method('nothing', lambda data: data.left)]
  if any(options['noise']):
    sigma = options['noise'][-1] / 255
    methods += [
      Method('median', median, {'size': (3, 5, 7)}),
      Method(
        'non-local means',
        functools.partial(non_local_means, sigma=sigma),
        {'patch': (3, 5, 7), 'distance': (5, 8, 11), 'strength': (0.4, 0.5, 0.6, 0.7, 0.8)},
      ),
    ]
  if options['blur']:
    balance = {'balance': (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)}
    methods.append(Method('Wiener', functools.partial(wiener, sigma=options['blur']), balance))
  if options['holes'] or options['missing']:
    methods.append(Method('biharmonic', biharmonic))
  return chosen(methods, data, quality, 'psnr')


def quality(data: Corrupted, restored: np.ndarray) -> Figures:
  """Means over pictures, as of a model: cut to [0, 1]."""
  found, clean = jnp.clip(restored, 0, 1), jnp.asarray(data.clean)
  return {name: float(fn(found, clean).mean()) for name, fn in (('psnr', psnr), ('ssim', ssim))}


def median(data: Corrupted, size: int) -> np.ndarray:
  from scipy import ndimage

  return ndimage.median_filter(data.left, (1, size, size, 1), mode='reflect')


def non_local_means(
  data: Corrupted, sigma: float, patch: int, distance: int, strength: float
) -> np.ndarray:
  from skimage.restoration import denoise_nl_means

  denoise = functools.partial(
    denoise_nl_means,
    patch_size=patch,
    patch_distance=distance,
    h=strength * sigma,
    sigma=sigma,
    channel_axis=-1,
  )
  return np.stack([denoise(picture) for picture in data.left])


def wiener(data: Corrupted, sigma: float, balance: float) -> np.ndarray:
  from skimage.restoration import wiener as deconvolve

  reach = int(np.ceil(3 * sigma))
  line = gaussian(2 * reach + 1, sigma)
  spread = np.outer(line, line)
  # It takes pictures for periodic: their mirror images around them keep their ends from mixing.
  edge = ((0, 0), (4 * reach, 4 * reach), (4 * reach, 4 * reach), (0, 0))
  padded, inner = np.pad(data.left, edge, mode='symmetric'), slice(4 * reach, -4 * reach)
  planes = np.moveaxis(padded, -1, 1).astype(np.float64)
  undone = [[deconvolve(plane, spread, balance, clip=False) for plane in p] for p in planes]
  return np.moveaxis(np.array(undone), 1, -1)[:, inner, inner]


def biharmonic(data: Corrupted) -> np.ndarray:
  from skimage.restoration import inpaint_biharmonic

  pairs = zip(data.left, data.known[..., 0] == 0, strict=True)
  return np.stack([inpaint_biharmonic(left, hole, channel_axis=-1) for left, hole in pairs])


# --- codes ----------------------------------------------------------------------------------------


def of_codes(experiment: Experiment, options: dict[str, Any]) -> dict[str, Any]:
  """Bits per value of pictures by distributions that are fitted to the training split."""
  key, levels = experiment.dataset.given['input_key'], options['levels']
  sources = {'train': experiment.dataset.train, **experiment.dataset.evaluation}
  data = {}
  for split, source in sources.items():
    if not source.on_device:
      raise ValueError('codes are fitted to data that is held whole: data.on_device must be True')
    stored = np.asarray(source.data[key])
    values = stored / (255 if stored.dtype == np.uint8 else 1) * (levels - 1)
    data[split] = np.round(values).reshape(len(stored), -1).astype(int)
  train, size = data.pop('train'), experiment.module.latent_size  # pyright: ignore
  shares = {'uniform': (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2)}
  methods = [
    Method('histogram per pixel', histogram_code(train, levels), {'added': (0.01, 0.03, 0.1, 0.3)}),
    Method('PCA + Gaussian', gaussian_code(*principal(train, size), levels), shares),
    Method('factors + Gaussian', gaussian_code(*factors(train, size), levels), shares),
  ]
  return chosen(methods, data, lambda values, bits: {'bits_per_dim': bits}, 'bits_per_dim', min)


Code = Callable[..., float]  # (integers [N, D], **setting) -> bits per value


def histogram_code(train: np.ndarray, levels: int) -> Code:
  """How often each pixel had each value in training, and `added` to these counts."""
  counts = np.stack([(train == level).sum(0) for level in range(levels)], axis=1)

  def bits(values: np.ndarray, added: float) -> float:
    shares = (counts + added) / (len(train) + levels * added)
    return float(-np.log2(shares[np.arange(values.shape[1]), values]).mean())

  return bits


def gaussian_code(mean: np.ndarray, covariance: np.ndarray, levels: int) -> Code:
  """Value after value, each by its Gaussian given those before it, cut into bins.

  The bins are the nearest levels, the outer ones reach to infinity; `uniform` is the share of a
  uniform distribution mixed in, so that no value is impossible. The probabilities of each value sum
  to one, so this is the length of a code, with nothing lost to a bound.
  """
  from scipy import special

  lower = np.linalg.cholesky(covariance)

  def bits(values: np.ndarray, uniform: float) -> float:
    z, total = np.zeros(values.shape), 0.0
    for i in range(values.shape[1]):
      location, scale = mean[i] + z[:, :i] @ lower[i, :i], lower[i, i]
      value = values[:, i]
      above = np.where(value == levels - 1, np.inf, (value + 0.5 - location) / scale)
      below = np.where(value == 0, -np.inf, (value - 0.5 - location) / scale)
      share = special.ndtr(above) - special.ndtr(below)
      total -= np.log2((1 - uniform) * share + uniform / levels).sum()
      z[:, i] = (value - location) / scale
    return float(total / values.size)

  return bits


def principal(train: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Mean and covariance of probabilistic PCA: `size` directions, and even noise in the others."""
  mean = train.mean(0)
  variances, directions = np.linalg.eigh(np.cov(train.T, bias=True))
  noise = variances[:-size].mean()
  weights = directions[:, -size:] * np.sqrt(variances[-size:] - noise)
  return mean, weights @ weights.T + noise * np.eye(len(mean))


def factors(train: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Mean and covariance of factor analysis: each pixel has noise of its own."""
  from sklearn.decomposition import FactorAnalysis

  fitted = FactorAnalysis(size).fit(train)
  # A pixel that never varied in training would have no noise: a tenth of a level is added to all.
  return fitted.mean_, fitted.get_covariance() + 0.01 * np.eye(train.shape[1])


BASELINES = {'restoration': of_restoration, 'vae': of_codes}

if __name__ == '__main__':
  cli.run(main)
