"""`store …`: what looks after the store of a chat."""

from .app import NearestGroup, main
from .options import shared_options


@main.group("store", cls=NearestGroup)
@shared_options()
def store() -> None:
    """Look after the store of the chat."""
