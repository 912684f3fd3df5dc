"""Anomaly detection without a neural network, on the splits of a config: scikit-learn's forest.

  python scripts/anomaly_baseline.py --config=configs/breast_cancer_anomaly.py
  python scripts/anomaly_baseline.py --config=configs/digits_anomaly.py:0 --held_out=0,1,2,3,4,5

The isolation forest has scikit-learn's defaults and sees what the config's model would: normal
training examples, standardised, as vectors. Prints the figures of the test split, over several
seeds; with --held_out for each of these classes by itself, and the mean over them.

References:
  Liu, Ting and Zhou 2008, Isolation Forest.
"""

import json
import statistics
from typing import Any

import numpy as np
from absl import flags

from zoo import cli
from zoo.config import options_of
from zoo.data.anomaly import load_anomalies
from zoo.experiment import complete_config
from zoo.figures import detection

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'Config file with data for anomaly detection.')
flags.DEFINE_list('held_out', [], 'Classes to hold out, one by one, instead of the config.')
flags.DEFINE_integer('seeds', 3, 'How many forests.', lower_bound=1)
flags.DEFINE_bool('json', False, 'Print JSON.')
flags.mark_flag_as_required('config')

FIGURES = ('auroc', 'aupr', 'accuracy', 'f1')


def main(argv: list[str]) -> int:
  data = cli.load_config(FLAGS.config, argv[1:], complete_config).to_dict()['data']
  if data['loader'] != 'anomaly':
    raise ValueError(f"{FLAGS.config} has no data for anomaly detection: data.loader='anomaly'")
  data = {name: value for name, value in data.items() if name in options_of(load_anomalies)}
  held_out = [(int(c),) for c in FLAGS.held_out] or [data['held_out']]
  found: dict[str, list[dict[str, float]]] = {}
  for classes in held_out:
    splits = vectors(data | {'held_out': classes})
    name = ','.join(map(str, classes))
    found[name] = [forest(splits, seed) for seed in range(FLAGS.seeds)]

  if FLAGS.json:
    print(json.dumps({'data': data['name'], 'held_out': found}))
    return 0
  for name, runs in found.items():
    print(f'held out {name:8}' + described(runs))
  if len(found) > 1:
    over_classes = [
      {figure: statistics.mean(run[figure] for run in of_seed) for figure in of_seed[0]}
      for of_seed in zip(*found.values(), strict=True)
    ]
    print(f'mean over {len(found):<7}' + described(over_classes))
  return 0


def vectors(data: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """(inputs [N, F], labels [N]) by split, as a model of the config sees them."""
  dataset = load_anomalies(**data)
  key = dataset.given['input_key']
  sources = {'train': dataset.train, **dataset.evaluation}
  found = {}
  for split, source in sources.items():
    inputs = np.asarray(dataset.standardize(dataset.scale({key: source.data[key]}))[key])
    labels = source.data.get('label', np.zeros(len(inputs), np.int32))
    found[split] = (inputs.reshape(len(inputs), -1), labels)
  return found


def forest(splits: dict[str, tuple[np.ndarray, np.ndarray]], seed: int) -> dict[str, float]:
  """The figures of the test split."""
  from sklearn.ensemble import IsolationForest

  model = IsolationForest(random_state=seed).fit(splits['train'][0])
  score = lambda inputs: -model.score_samples(inputs)
  inputs, labels = splits['test']
  scores = score(inputs)
  figures = detection.ranking(labels, scores)
  if 'validation' in splits:
    inputs, odd = splits['validation']
    threshold = detection.threshold_of(score(inputs[odd == 0]))
    figures |= detection.decisions(labels, scores, threshold)
  return figures


def described(runs: list[dict[str, float]]) -> str:
  """Mean and standard deviation of each figure over the runs."""
  parts = []
  for figure in FIGURES:
    values = [run[figure] for run in runs if figure in run]
    if values:
      spread = statistics.stdev(values) if len(values) > 1 else 0.0
      parts.append(f'{figure} {statistics.mean(values):.4f} +- {spread:.4f}')
  return '  '.join(parts)


if __name__ == '__main__':
  cli.run(main)
