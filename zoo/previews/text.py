"""What a language model now writes, as text to read."""

from collections.abc import Sequence


def continuations(prompts: Sequence[str], samples: Sequence[Sequence[str]]) -> str:
  """Prompts, and below each what followed.

  Args:
    prompts: N.
    samples: for each the texts that continue it.
  """
  parts = []
  for prompt, texts in zip(prompts, samples, strict=True):
    parts.append(f'=== prompt\n{prompt}')
    parts += [f'--- sample {i}\n{text}' for i, text in enumerate(texts, 1)]
  return '\n'.join(parts) + '\n'


def translations(
  sources: Sequence[str], outputs: Sequence[str], targets: Sequence[str], width: int = 60
) -> str:
  """A table of source, output and target; a row whose output is not the target has a mark.

  Args:
    sources: N texts.
    outputs: N, what the model makes of them.
    targets: N, what it should.
    width: characters a column has at most.
  """
  rows = [('', 'source', 'output', 'target')]
  for source, output, target in zip(sources, outputs, targets, strict=True):
    rows.append(('' if output == target else 'x', source, output, target))
  shorten = lambda cell: cell if len(cell) <= width else cell[: width - 1] + '…'
  rows = [tuple(map(shorten, row)) for row in rows]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = ['  '.join(map(str.ljust, row, widths)).rstrip() for row in rows]
  right = sum(output == target for output, target in zip(outputs, targets, strict=True))
  return '\n'.join([*lines, f'{right} of {len(targets)} exactly right']) + '\n'
