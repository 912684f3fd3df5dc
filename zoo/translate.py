"""A split translated by beam search, as text, and how good that is: exact matches and BLEU."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from zoo.beam import beam_search
from zoo.types import PyTree, Source


def translate(
  module: nn.Module,
  params: PyTree,
  source: Source,
  read: Callable[[np.ndarray], str],
  *,
  beam_size: int = 1,
  length_penalty: float = 0.6,
) -> tuple[list[str], list[str]]:
  """Translates every source of a split.

  Args:
    module: with `start` and `decode`, see `beam_search`.
    params: of the module.
    source: one pass of batches of 'source' and 'target', and 'weight', 0 for padding.
    read: a row of token ids, int32 [T] -> its text, see `reader`.
    beam_size: hypotheses for each source.
    length_penalty: see `beam_search`.

  Returns:
    The best hypotheses and the targets, in the order of the split.
  """
  assert source.num_batches is not None
  draw = jax.jit(source.next) if source.on_device else source.next
  state, outputs, targets = source.init(jax.random.key(0)), [], []
  for _ in range(source.num_batches):
    state, batch = draw(state, None, source.data)
    best, _ = beam_search(
      module,
      params,
      batch['source'],
      beam_size=beam_size,
      length_penalty=length_penalty,
      max_length=batch['target'].shape[1],
    )
    real = np.asarray(batch['weight']) > 0
    outputs += map(read, np.asarray(best[:, 0])[real])
    targets += map(read, np.asarray(batch['target'])[real])
  return outputs, targets


def reader(tokenizer: Any) -> Callable[[np.ndarray], str]:
  """Returns: a row of token ids, int [T] -> the text of what stands before the end or padding."""

  def read(row: np.ndarray) -> str:
    [ended] = np.nonzero((row == tokenizer.eos_id) | (row == tokenizer.pad_id))
    return tokenizer.decode(row[: ended[0] if len(ended) else len(row)].tolist())

  return read


def judge(outputs: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
  """Returns 'exact_match', a share, and 'bleu', 0 to 100.

  BLEU is that of sacreBLEU with its default tokenisation ('13a'), on cased text.

  References:
    Papineni et al. 2002, BLEU. Post 2018, A Call for Clarity in Reporting BLEU Scores.
  """
  import sacrebleu

  same = [output == target for output, target in zip(outputs, targets, strict=True)]
  bleu = sacrebleu.corpus_bleu(list(outputs), [list(targets)])
  return {'exact_match': float(np.mean(same)), 'bleu': bleu.score}
