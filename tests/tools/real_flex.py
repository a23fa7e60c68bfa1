"""The real Flex in Node, to be asked what it does. Its bundles come from npm, are checked and kept outside the tree.

`python tests/tools/real_flex.py` fetches them beforehand. The folder is `FLEX_ACTIONS_CONFORMANCE_CACHE`, or one in
the user's cache.
"""

import base64
import hashlib
import json
import os
import selectors
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).with_suffix(".cjs")
FETCH_LIMIT_S = 120
ANSWER_LIMIT_S = 60


class Bundle(NamedTuple):
    """One file of one package, pinned.

    Attributes:
        package: name and version on npm.
        member: the path of the bundle inside.
        sha512: of the package, in base64, as npm's lock files have it.
    """

    package: str
    member: str
    sha512: str


# The only place where versions stand. Webchat UI 2.9.4 depends on exactly this ui-core, which is its dispatcher, its
# chat actions and its reducers.
BUNDLES = {
    "flex1": Bundle(
        "@twilio/flex-ui-core@0.51.3",
        "package/bundle/twilio-flex-ui-core.prod.js",
        "X9FpbFwALIzcnq33pcjf6iNHsUOA6gk5qoem+Dd2YxvjZpFCtxy8WBDmOnlMfCTMBHTgRHJPJzKIRkz3jYR7lw==",
    ),
    "flex2": Bundle(
        "@twilio/flex-ui@2.17.1",
        "package/bundle/twilio-flex.prod.js",
        "cVJ1jKpyizay2HLYYV8ExTLcy8v61Lq9HBcXqkaUTbf/SIY9Q3gmKRVbQEgV2VwtLpliwPoKIDtMlixxwyWtZw==",
    ),
}


class Unavailable(Exception):
    """There is no node, no npm or no network here, or npm gave something else."""


def cache_folder():
    """Where the bundles are kept."""
    if folder := os.environ.get("FLEX_ACTIONS_CONFORMANCE_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flex-actions-conformance"


def fetched(profile):
    """The path of a profile's bundle, fetched if it is not there yet."""
    bundle = BUNDLES[profile]
    path = cache_folder() / bundle.sha512.replace("/", "_")[:16] / Path(bundle.member).name
    if path.exists():
        return path
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("npm is not installed")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # `pack` fetches the package alone; its hundreds of dependencies are not needed.
        command = [npm, "pack", bundle.package, "--pack-destination", folder, "--ignore-scripts", "--silent"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"npm pack {bundle.package} took longer than {FETCH_LIMIT_S} s") from None
        packed = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packed) != 1:
            raise Unavailable(f"npm pack {bundle.package} failed: {(done.stderr or done.stdout).strip()[-400:]}")
        take_out(bundle, packed[0], path)
    return path


def take_out(bundle, packed, path):
    """Put the bundle of a package, if that is the pinned one, at `path`."""
    with packed.open("rb") as stream:
        found = base64.b64encode(hashlib.file_digest(stream, "sha512").digest()).decode()
    if found != bundle.sha512:
        raise Unavailable(f"{bundle.package} is not the one that was pinned: its sha512 is {found}")
    part = packed.with_suffix(".part")
    with tarfile.open(packed) as archive, part.open("wb") as target:
        shutil.copyfileobj(archive.extractfile(bundle.member), target)
    part.replace(path)  # at once: another process may look for it


class RealFlex:
    """A Node process with one real package; `ask` as often as you like."""

    def __init__(self, profile):
        node = shutil.which("node")
        if node is None:
            raise Unavailable("node is not installed")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [node, str(SCRIPT), str(fetched(profile))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        self._read = b""
        assert self._line() == {"ready": True}

    def ask(self, kind, question):
        """What it answers; an error inside it is an AssertionError with its trace."""
        self._process.stdin.write(json.dumps({kind: question}).encode() + b"\n")
        answer = self._line()
        assert "failed" not in answer, answer["failed"]
        return answer["answer"]

    def _line(self):
        deadline = time.monotonic() + ANSWER_LIMIT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(deadline - time.monotonic()):
                    raise AssertionError(f"Node gave no answer within {ANSWER_LIMIT_S} s")
                chunk = self._process.stdout.read(1 << 20)
                if not chunk:
                    self._errors.seek(0)
                    raise AssertionError(f"Node ended: {self._errors.read()[-2000:].decode(errors='replace')}")
                self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def close(self):
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


if __name__ == "__main__":
    for each, its_bundle in BUNDLES.items():
        print(its_bundle.package, fetched(each).stat().st_size, "bytes")
