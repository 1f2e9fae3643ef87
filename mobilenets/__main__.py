"""`python -m mobilenets` is `mobilenets`: what torchrun starts."""

from mobilenets.cli.app import main

if __name__ == "__main__":
    main()
