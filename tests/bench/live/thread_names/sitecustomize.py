"""Gives a benchmarked program's threads their Python names in /proc, as Python 3.14 does without help.

Python imports it at its start, because the benchmark puts its folder on PYTHONPATH.
"""

import ctypes
import sys
import threading

PR_SET_NAME = 15  # of prctl(2)

if sys.platform == "linux" and sys.version_info < (3, 14):
    libc = ctypes.CDLL(None)
    bootstrap = threading.Thread._bootstrap_inner

    def named_bootstrap(thread):
        libc.prctl(PR_SET_NAME, thread.name[:15].encode("ascii", "replace"), 0, 0, 0)
        bootstrap(thread)

    threading.Thread._bootstrap_inner = named_bootstrap
