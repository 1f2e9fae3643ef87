"""A child (`mobilenets.processes.child`) that leaves a process of its own behind, as some libraries
do."""

import os
import signal

from mobilenets.processes.child import Request, serve


def answer(request: Request) -> int:
    pid = os.fork()
    if not pid:
        signal.pause()
    return pid


if __name__ == "__main__":
    serve(answer)
