"""A process starts anew at most once, and only where huge pages are there for the asking."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import huge_pages

ROOT = Path(__file__).parents[1]


@pytest.fixture
def asks(monkeypatch, tmp_path):
  """Makes this machine one on which huge pages have to be asked for."""
  file = tmp_path / 'enabled'
  file.write_text('always [madvise] never\n')
  monkeypatch.setattr(huge_pages, 'HUGE_PAGES', file)
  monkeypatch.setattr(huge_pages, 'ACCELERATORS', (tmp_path / 'none',))
  monkeypatch.setattr(huge_pages, 'glibc_version', lambda: (2, 36))
  monkeypatch.setattr(sys, 'platform', 'linux')
  assert huge_pages.wanted({})
  return tmp_path


def test_who_asks_for_huge_pages(asks, monkeypatch):
  wants = huge_pages.wanted
  assert wants({'GLIBC_TUNABLES': 'glibc.malloc.check=3', 'JAX_PLATFORMS': 'cpu'})
  assert not wants({'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=0'})
  assert not wants({'JAX_PLATFORMS': 'cuda'})
  huge_pages.HUGE_PAGES.write_text('[always] madvise never\n')
  assert not wants({})
  huge_pages.HUGE_PAGES.unlink()
  assert not wants({})


def test_not_where_there_is_an_accelerator_or_another_c_library(asks, monkeypatch):
  (asks / 'none').touch()
  assert not huge_pages.wanted({})
  assert huge_pages.wanted({'JAX_PLATFORMS': 'cpu'})
  (asks / 'none').unlink()
  monkeypatch.setattr(huge_pages, 'glibc_version', lambda: (0,))
  assert not huge_pages.wanted({})
  monkeypatch.setattr(huge_pages, 'glibc_version', lambda: (2, 36))
  monkeypatch.setattr(sys, 'platform', 'darwin')
  assert not huge_pages.wanted({})


def test_other_c_libraries_have_no_version(monkeypatch):
  for answer in (None, 'musl 1.2', 'glibc odd'):
    monkeypatch.setattr(os, 'confstr', lambda name, answer=answer: answer)
    assert huge_pages.glibc_version() == (0,)


SCRIPT = """
import os, sys
print('start', os.getpid(), sys.argv[1:], flush=True)
from zoo import huge_pages
huge_pages.wanted = lambda environment: 'hugetlb' not in str(environment.get({name!r}))
huge_pages.ask()
print('go', os.getpid(), os.environ[{name!r}])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='exec elsewhere is another thing')
def test_a_process_starts_anew_once_and_stays_itself(tmp_path):
  script = tmp_path / 'script.py'
  script.write_text(SCRIPT.format(name='GLIBC_TUNABLES'))
  variables = os.environ | {'GLIBC_TUNABLES': 'glibc.malloc.check=0', 'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    [sys.executable, '-W', 'ignore', str(script), '--a=b c', ''],
    env=variables,
    capture_output=True,
    text=True,
    timeout=120,
    check=True,
  )
  first, second, go = done.stdout.splitlines()
  assert first == second
  assert "['--a=b c', '']" in first
  pid = first.split()[1]
  assert go == f'go {pid} glibc.malloc.check=0:glibc.malloc.hugetlb=1'


def test_a_process_with_threads_goes_on(asks, monkeypatch):
  monkeypatch.setattr(huge_pages.threading, 'active_count', lambda: 2)
  monkeypatch.setattr(os, 'execve', lambda *_: pytest.fail('started anew'))
  huge_pages.ask()


def test_a_system_that_forbids_it_goes_on(asks, monkeypatch):
  def forbid(*_):
    raise PermissionError

  monkeypatch.setattr(huge_pages.threading, 'active_count', lambda: 1)
  monkeypatch.delenv('GLIBC_TUNABLES', raising=False)
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setattr(os, 'execve', forbid)
  huge_pages.ask()
