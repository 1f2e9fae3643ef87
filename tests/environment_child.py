"""A child (`mobilenets.processes.child`) that tells its environment."""

import os

from mobilenets.processes.child import Request, serve


def answer(request: Request) -> str | None:
    return os.environ.get(request["name"])


if __name__ == "__main__":
    serve(answer)
