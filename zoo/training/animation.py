"""Pictures of one name, from many steps, as one that moves."""

import io
import pathlib
import re
from collections.abc import Sequence

from zoo.training import rundir

_PREVIEW = re.compile(r'(.+)_(\d{8})\.png')


def animate(folder: rundir.PathLike, seconds: float = 6.0, most: int = 100) -> list[pathlib.Path]:
  """Writes NAME.gif beside the pictures NAME_{step}.png of a folder, in the order of their steps.

  Args:
    folder: the previews of a run. A name with one picture moves nowhere and is left out.
    seconds: how long it takes from the first to the last, which then stays for two.
    most: frames; of more pictures only so many are taken, evenly spread.

  Returns:
    The files.

  Raises:
    OSError: a file could not be read or written.
  """
  folder = pathlib.Path(folder)
  found: dict[str, dict[int, pathlib.Path]] = {}
  for path in folder.glob('*.png'):
    if matched := _PREVIEW.fullmatch(path.name):
      found.setdefault(matched[1], {})[int(matched[2])] = path
  written = []
  for name, by_step in sorted(found.items()):
    if len(by_step) > 1:
      paths = [by_step[step] for step in sorted(by_step)]
      count = min(most, len(paths))
      chosen = [paths[i * (len(paths) - 1) // (count - 1)] for i in range(count)]
      rundir.atomic_write(folder / f'{name}.gif', gif(chosen, seconds / count))
      written.append(folder / f'{name}.gif')
  return written


def gif(paths: Sequence[pathlib.Path], seconds: float) -> bytes:
  """One frame for each picture, all fitted to the size of the last."""
  from PIL import Image

  frames = []
  for path in reversed(paths):
    with rundir.errors_naming(path), Image.open(path) as picture:
      frame = picture.convert('L' if picture.mode == 'L' else 'RGB')
    frames.append(frame if not frames else frame.resize(frames[0].size))
  frames.reverse()
  buffer = io.BytesIO()
  pause = max(round(1000 * seconds), 20)  # ms; below that viewers do as they like
  frames[0].save(
    buffer,
    format='gif',
    save_all=True,
    append_images=frames[1:],
    duration=[pause] * (len(frames) - 1) + [2000],
    loop=0,
  )
  return buffer.getvalue()
