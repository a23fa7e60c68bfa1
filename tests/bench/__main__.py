"""The figures of the dispatcher, as ratios within one run: `python -m tests.bench` at the root of the repository.

    python -m tests.bench                        under half a minute
    python -m tests.bench --channels 1000000     the full number of channels (filling the chat takes minutes)
    python -m tests.bench --flex                 also the real Flex in Node; needs npm and the network, keeps nothing

Absolute times belong to the machine; the ratios are what is compared with the targets. Nothing is asserted.
"""

from .dispatcher import main

main()
