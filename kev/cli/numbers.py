"""Numbers in what commands say."""


def counted(number: int, noun: str, plural: str) -> str:
    """`1 switch`, `2 switches`."""
    return f"{number:,} {noun if number == 1 else plural}"
