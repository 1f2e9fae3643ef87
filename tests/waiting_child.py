"""A child that tells its number through a named pipe, $TOLD, and answers nothing."""

import os
import threading
from pathlib import Path

from mobilenets.processes.child import Request, serve


def answer(request: Request) -> None:
    Path(os.environ["TOLD"]).write_text(str(os.getpid()))
    threading.Event().wait()


if __name__ == "__main__":
    serve(answer)
