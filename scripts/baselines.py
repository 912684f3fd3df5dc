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
from zoo.image_quality import gaussian, psnr, ssim
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
  methods: Iterable[Method], data: Mapping[str, Any], judge: Callable[..., Figures], by: str
) -> dict[str, tuple[dict[str, Any], Figures]]:
  """Of each method the setting with the greatest figure in validation, and its figures in test."""
  return {method.name: best(method, data, judge, by) for method in methods}


def best(
  method: Method, data: Mapping[str, Any], judge: Callable[..., Figures], by: str
) -> tuple[dict[str, Any], Figures]:
  def judged(split: str, setting: dict[str, Any]) -> Figures:
    return judge(data[split], method.apply(data[split], **setting))

  values = itertools.product(*method.settings.values())
  settings = [dict(zip(method.settings, of, strict=True)) for of in values]
  setting = settings[0]
  if len(settings) > 1:
    setting = max(settings, key=lambda setting: judged('validation', setting)[by])
  return setting, judged('test', setting)


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


BASELINES = {'restoration': of_restoration}

if __name__ == '__main__':
  cli.run(main)
