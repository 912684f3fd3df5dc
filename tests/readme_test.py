"""README tells the truth: its code runs, its files exist, and its tables are what was measured."""

import pathlib
import re
import runpy
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()


def test_the_code_runs(capsys):
  blocks = re.findall(r'```python\n(.*?)```', README, flags=re.DOTALL)
  assert len(blocks) == 2
  for block in blocks:
    exec(block.replace('steps=500', 'steps=4').replace('step % 100', 'step % 2'), {})
  assert len(capsys.readouterr().out.splitlines()) == 2


def test_every_link_and_script_exists():
  for target in re.findall(r'\]\(([^)#]+)\)', README):
    assert (ROOT / target).exists(), target
  for target in re.findall(r'\b(?:scripts|configs)/\w+\.py', README):
    assert (ROOT / target).exists(), target


def test_the_tables_are_what_the_files_say(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['results.py'])
  monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
  results = runpy.run_path(str(ROOT / 'scripts' / 'results.py'))
  assert results['rewritten'](README) == README, 'run python scripts/results.py'
  with pytest.raises(ValueError, match="between which the table 'peers' stands"):
    results['replace_table'](README.replace('<!-- /peers -->', ''), 'peers', '')
