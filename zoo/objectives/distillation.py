"""Distillation: learning from labels, and from what a trained teacher says of each example."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.losses import softmax_cross_entropy, weighted_mean
from zoo.objectives.classification import classification, read_input, true_class
from zoo.types import Array, Batch, Metrics, Objective, PyTree, Scalars, as_variables


def distillation(
  module: nn.Module,
  *,
  num_classes: int,
  teacher: nn.Module | None = None,
  input_key: str = 'image',
  temperature: float = 4.0,
  alpha: float = 0.9,
  label_smoothing: float = 0.0,
  axis_name: str | None = None,
) -> Objective:
  """(1 - alpha) times the cross-entropy of the labels, plus alpha times that of the teacher.

  The latter is T^2 KL(teacher || module) of distributions softmax(logits / T): with T^2 its
  gradient is of the same order for every temperature T. Both see the same augmented input, the
  teacher as in evaluation. A batch is as in `classification`, and so are `evaluate` and `predict`,
  which are of the module alone.

  The scalars are 'loss', 'label_loss', 'teacher_loss' (T^2 KL), 'accuracy' and 'agreement' (of the
  likeliest classes). Extras are {'model': the module's collections, 'teacher': variables}. Those
  of the teacher start at random: `runs.teach` puts a trained one's there.

  Args:
    module: the student, as in `classification`.
    num_classes: C.
    teacher: returns logits of the same classes.
    input_key: the leaf of the batch that both take.
    temperature: T.
    alpha: in [0, 1]; 0 is classification.
    label_smoothing: of the labels.
    axis_name: the mapped axis, under pmap.

  Raises:
    ValueError: an option out of its range, or no teacher; when called, one that does not fit.

  References:
    Hinton et al. 2015, Distilling the Knowledge in a Neural Network, section 2. Beyer et al. 2022,
    Knowledge distillation: A good teacher is patient and consistent, section 3, for the same input.
  """
  if teacher is None:
    raise ValueError('distillation needs a teacher: config.train.teacher, the directory of a run')
  if not temperature > 0 or not 0 <= alpha <= 1:
    raise ValueError(f'temperature must be > 0 and alpha in [0, 1], not {temperature} and {alpha}')
  supervised = classification(module, num_classes=num_classes, input_key=input_key)

  def init(key: Array, batch: Batch) -> tuple[PyTree, PyTree]:
    params, collections = supervised.init(key, batch)
    example = read_input(batch, input_key)[:1]
    said, variables = teacher.init_with_output(jax.random.fold_in(key, 1), example, train=False)
    if said.shape[1:] != (num_classes,):
      raise ValueError(f'the teacher returns {said.shape}, not logits of {num_classes} classes')
    return params, {'model': collections, 'teacher': dict(variables)}

  def loss(
    params: PyTree, extras: PyTree, batch: Batch, key: Array
  ) -> tuple[Array, tuple[PyTree, Scalars]]:
    inputs, labels, weights = read_input(batch, input_key), batch['label'], batch.get('weight')
    said = teacher.apply(extras['teacher'], inputs, train=False)
    assert isinstance(said, Array)
    logits, collections = module.apply(
      {'params': params, **extras['model']},
      inputs,
      train=True,
      rngs={'dropout': key},
      mutable=list(extras['model']),
    )
    logits = logits.astype(jnp.float32)
    mean = lambda values: weighted_mean(values.astype(jnp.float32), weights, axis_name)
    label_loss = mean(softmax_cross_entropy(logits, labels, label_smoothing))
    teacher_loss = mean(softened_divergence(said, logits, temperature))
    value = (1 - alpha) * label_loss + alpha * teacher_loss
    guess = jnp.argmax(logits, axis=-1)
    return value, (
      {**extras, 'model': collections},
      {
        'loss': value,
        'label_loss': label_loss,
        'teacher_loss': teacher_loss,
        'accuracy': mean(guess == true_class(labels)),
        'agreement': mean(guess == jnp.argmax(said, axis=-1)),
      },
    )

  def predict(params: PyTree, extras: PyTree, batch: Batch) -> Array:
    assert supervised.predict is not None
    return supervised.predict(params, extras['model'], batch)

  def evaluate(params: PyTree, extras: PyTree, batch: Batch, key: Array) -> Metrics:
    return supervised.evaluate(params, extras['model'], batch, key)

  def variables(params: PyTree, extras: PyTree) -> PyTree:
    return {'params': params, **extras['model']}

  def adopt(params: PyTree, extras: PyTree, variables: PyTree) -> tuple[PyTree, PyTree]:
    params, model = as_variables(params, extras['model'], variables)
    return params, extras | {'model': model}

  return Objective(init, loss, evaluate, predict=predict, variables=variables, adopt=adopt)


def softened_divergence(teacher: Array, student: Array, temperature: float) -> Array:
  """T^2 KL(softmax(teacher / T) || softmax(student / T)) of logits [B, C], float32 [B]."""
  p = jax.nn.log_softmax(teacher.astype(jnp.float32) / temperature)
  q = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
  return temperature**2 * jnp.sum(jnp.exp(p) * (p - q), axis=-1)
