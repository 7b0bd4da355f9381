"""`python -m sparring` and `torchrun -m sparring`."""

from sparring.command.commands import main

main()
