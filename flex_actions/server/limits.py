"""What one client may take of the server."""

import attrs


@attrs.frozen
class Limits:
    """The limits of a server.

    Attributes:
        concurrency: requests answered at once; more get 503 and are told when to come again.
        connections: open connections; further ones are turned away.
        url_bytes: length of a path with its query.
        head_bytes: length of all headers of a request together.
        head_s: seconds until the headers of a request must have arrived.
        idle_s: seconds that a connection may stay open between requests.
        stall_s: seconds in which a reader must take at least `stall_bytes` of what waits for it, or all of it.
        stall_bytes: see `stall_s`.
        grace_s: seconds that streams under way may take to end when the server ends; then they are cut.
    """

    concurrency: int = 64
    connections: int = 512
    url_bytes: int = 16 * 1024
    head_bytes: int = 32 * 1024
    head_s: float = 10.0
    idle_s: float = 5.0
    stall_s: float = 30.0
    stall_bytes: int = 64 * 1024
    grace_s: float = 1.0
