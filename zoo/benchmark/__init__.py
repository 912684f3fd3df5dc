"""How fast a workload is, how far from what the machine can do, and what to change.

`workload` and `measurements` say what is timed, `timing` how; `flops`, `peaks` and `roofline` what
the machine could do; `hlo`, `profile` and `scaling` read the compiled program and its trace;
`verify` trains under every strategy; `comparison` and `plots` show what was measured.
"""

from zoo.benchmark.measurements import MEASUREMENTS, measure
from zoo.benchmark.workload import Workload, synthetic_batch

__all__ = ['MEASUREMENTS', 'Workload', 'measure', 'synthetic_batch']
