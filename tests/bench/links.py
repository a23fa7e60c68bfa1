"""What a download through `flex-actions serve` costs, against the same bytes from the bare server, in the same run.

Both run in processes of their own, on uvicorn with the same HTTP parser; the bare one is Starlette's `FileResponse`
with chunks of the same size: no signature, no membership, no hash, no log. Eight clients on kept connections take turns
with them; the processor time of the servers is compared as well.
"""

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from flex_actions import File, connect_sync

ROOT = Path(__file__).parent.parent.parent
CLIENTS = 8
SIZES = {"10 kB": (10_000, 100), "10 MB": (10_000_000, 4)}  # and how many downloads a client and round
CONFIG = {"fileAttachment": {"maxFileSize": 10**9, "acceptedExtensions": ["bin"]}}


class Server:
    """A process that prints its address first."""

    def __init__(self, *command):
        # A group of its own: Ctrl-C is for the benchmark, which ends it.
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        host, port = self.process.stdout.readline().strip().removeprefix("http://").split(":")
        self.address = host, int(port)

    def cpu_s(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def download(address, path, size, count):
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    buffer = bytearray(1 << 20)
    with socket.create_connection(address) as connection:
        for _ in range(count):
            connection.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            head, _, rest = head.partition(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise RuntimeError(f"refused: {head[:80]!r}")
            left = size - len(rest)
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))


def timed(server, path, size, count):
    """Seconds and seconds of the server's processor for all downloads of one round."""
    threads = [threading.Thread(target=download, args=(server.address, path, size, count)) for _ in range(CLIENTS)]
    used, begun = server.cpu_s(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun, server.cpu_s() - used


def measure(*, rounds=5, folder=None):
    """Measure and print a row for each size; about 20 s."""
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=folder or ROOT) as scratch, contextlib.ExitStack() as stack:
        chat = f"local:{scratch}/chat"
        serve = ("-m", "flex_actions", "serve", "--chat", chat, "--port", "0")
        ours = stack.enter_context(contextlib.closing(Server(*serve)))
        ada = stack.enter_context(connect_sync(chat, identity="ada", config=CONFIG))
        channel = ada.create_channel().sid
        bare = stack.enter_context(contextlib.closing(Server("-m", "tests.bench.links", scratch)))
        print(f"{'a link, 8 clients':26} {'median':>8} {'best':>8} {'ours/s':>17} {'bare/s':>8} {'processor':>10}")
        for what, (size, count) in SIZES.items():
            content = os.urandom(size)
            Path(scratch, f"{size}.bin").write_bytes(content)
            file = File.from_bytes(content, name="a.bin")
            sent = ada.invoke("SendMediaMessage", {"file": file, "channelSid": channel})
            paths = {bare: f"/{size}.bin", ours: None}
            times = {bare: [], ours: []}
            for i in range(rounds + 1):
                link = ada.invoke("DownloadMedia", {"message": sent.message_sid})
                paths[ours] = "/media/" + link.url.partition("/media/")[2]
                for server in (bare, ours) if i % 2 else (ours, bare):
                    took = timed(server, paths[server], size, count)
                    if i:  # the first round warms up
                        times[server].append(took)
            found = row(CLIENTS * count, times[bare], times[ours])
            print(
                f"{what:26} {found['median_ratio']:7.2f}x {found['best_ratio']:7.2f}x {found['ours_per_s']:17}"
                f" {found['bare_per_s']:8} {found['cpu_ratio']:9.2f}x"
            )


def row(files, bare, ours):
    best = [min(seconds for seconds, _ in side) for side in (bare, ours)]
    cpu = [statistics.median(cpu for _, cpu in side) for side in (bare, ours)]
    return {
        "median_ratio": statistics.median(b / o for (b, _), (o, _) in zip(bare, ours, strict=True)),
        "best_ratio": best[0] / best[1],
        "ours_per_s": round(files / best[1]),
        "bare_per_s": round(files / best[0]),
        "cpu_ratio": cpu[1] / max(cpu[0], 0.01),
    }


def serve_bare(folder):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import FileResponse
    from starlette.routing import Route

    class Response(FileResponse):
        chunk_size = 1024 * 1024

    async def file(request):
        return Response(os.path.join(folder, request.path_params["name"]), media_type="application/octet-stream")

    app = Starlette(routes=[Route("/{name}", file)])
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(100)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, http="httptools", loop="asyncio", log_level="critical", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    serve_bare(sys.argv[1])
