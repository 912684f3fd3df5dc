"""A small folder such as a save leaves, for the tests of manifests and folders."""

from zoo.training import manifest


def make_folder(path, content=None):
  (path / 'd').mkdir(parents=True)
  (path / 'a.bin').write_bytes(bytes(range(200)))
  (path / 'd' / 'b.bin').write_bytes(b'')
  (path / 'd' / 'manifest.json').write_bytes(b'not the manifest')
  manifest.write(path, content or {'step': 3, 'info': {'x': [1.5, None, 'ü']}})
  return path
