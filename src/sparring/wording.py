"""Words that messages of every package need."""


def counted(number: int, noun: str) -> str:
    """Number and noun, in the plural unless it is one.

    Example:
        >>> counted(1, "pair"), counted(5000, "pair")
        ('1 pair', '5,000 pairs')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"
