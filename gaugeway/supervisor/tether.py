"""Run a program that ends when its supervisor does: `python -I -S tether.py SUPERVISOR COMMAND...`.

A supervisor that is killed by SIGKILL cannot end its processes, so the kernel
does it: prctl(2), PR_SET_PDEATHSIG, which execve(2) keeps. The command
replaces this process, so that its id and signals are the program's own.
Where there is no prctl, the program runs untethered.

Standard library only, and no site packages: it starts in some 10 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Tether this process, then become the command; returns 1 if the supervisor is gone already."""
    supervisor, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        return 1  # it died before the kernel was told
    return os.execv(command[0], command)  # noqa: S606 - that is what it is for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
