"""Clustering without a neural network, on the splits of a config: k-means on pixels.

  python scripts/clustering_baseline.py --config=configs/digits_clustering.py

k-means (scikit-learn, the best of 10 starts) sees what the config's model would: the training
examples, standardised, as vectors, and as many clusters as there are classes. Examples of the test
split go to the nearest centre. Prints how well that agrees with the classes, over several seeds.

References:
  Lloyd 1982, Least Squares Quantization in PCM. Arthur and Vassilvitskii 2007, k-means++.
"""

import json
import statistics
from typing import Any

import numpy as np
from absl import flags

from zoo import cli
from zoo.experiment import complete_config, make_experiment
from zoo.figures import partitions

FLAGS = flags.FLAGS
flags.DEFINE_string('config', None, 'Config file with labelled data.')
flags.DEFINE_integer('seeds', 3, 'How many times.', lower_bound=1)
flags.DEFINE_bool('json', False, 'Print JSON.')
flags.mark_flag_as_required('config')


def main(argv: list[str]) -> int:
  config = cli.load_config(FLAGS.config, argv[1:], complete_config)
  dataset = make_experiment(config).dataset
  key, num_classes = dataset.given['input_key'], dataset.given['num_classes']

  def vectors(data: dict[str, np.ndarray]) -> np.ndarray:
    inputs = np.asarray(dataset.standardize(dataset.scale({key: data[key]}))[key])
    return inputs.reshape(len(inputs), -1)

  train, test = dataset.train.data, dataset.evaluation['test'].data
  runs = [
    kmeans(vectors(train), vectors(test), test['label'], num_classes, seed)
    for seed in range(FLAGS.seeds)
  ]
  if FLAGS.json:
    print(json.dumps({'data': config.to_dict()['data']['name'], 'kmeans': runs}))
    return 0
  for figure in runs[0]:
    values = [run[figure] for run in runs]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    print(f'{figure:8} {statistics.mean(values):.4f} +- {spread:.4f}')
  return 0


def kmeans(
  train: np.ndarray, test: np.ndarray, labels: np.ndarray, num_clusters: int, seed: int
) -> dict[str, float]:
  """How well the clusters of test vectors [M, D] agree with their classes [M]."""
  from sklearn.cluster import KMeans

  starts: Any = 10
  model = KMeans(num_clusters, n_init=starts, random_state=seed).fit(train)
  return partitions.agreement(labels, np.asarray(model.predict(test)))


if __name__ == '__main__':
  cli.run(main)
