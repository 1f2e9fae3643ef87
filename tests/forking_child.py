"""A child (`mobilenets.child`) that leaves a process of its own behind, as some libraries do."""

import os
import signal

from mobilenets.child import Request, serve


def answer(request: Request) -> int:
    pid = os.fork()
    if not pid:
        signal.pause()
    return pid


if __name__ == "__main__":
    serve(answer)
