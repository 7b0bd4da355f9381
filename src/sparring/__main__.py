"""`python -m sparring` and `torchrun -m sparring`."""

from sparring.cli import main

main()
