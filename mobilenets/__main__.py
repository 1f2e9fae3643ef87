"""`python -m mobilenets` is `mobilenets`: what torchrun starts."""

from mobilenets.cli.main import main

if __name__ == "__main__":
    main()
