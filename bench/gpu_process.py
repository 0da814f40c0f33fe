"""Programs with a limit to their time, for bench/gpu_checks.py and bench/gpu_bench.py."""
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time

running = set()


class Ended:
    """What became of a program. `status` is negative where a signal ended it; None: its time was up."""

    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err.strip(), seconds

    def how(self):
        return f"did not end in {self.seconds:.0f} s" if self.status is None else f"ended with status {self.status}"

    def why(self):
        said = note_of(self.err or self.out)
        return f"{self.how()}: {said}" if said else self.how()

    def told(self):
        """All that a test said at last."""
        return f"{self.how()}: {note_of(self.out + self.err, 1000)}"


def note_of(text, most=300):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " / ".join(lines[-6:])[-most:]


def end(process):
    """With all that it started: compute-sanitizer's own end leaves the program that it checks."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def end_with_the_stage():
    """The clock of a stage sends SIGTERM, which reaches no group but our own."""
    def end_all(*_):
        for process in list(running):
            end(process)
        os._exit(143)

    signal.signal(signal.SIGTERM, end_all)


def run(command, seconds, environment=None, folder=None, on_line=None):
    """Runs a program in a group of its own; on_line gets each line of its output as it comes."""
    late = threading.Event()
    lines = []
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True,
                                       errors="replace", env={**os.environ, **(environment or {})}, cwd=folder, start_new_session=True)
        except OSError as error:
            return Ended(127, "", str(error), 0)
        running.add(process)
        clock = threading.Timer(seconds, lambda: (late.set(), end(process)))
        clock.start()
        try:
            for line in process.stdout:
                lines.append(line)
                if on_line:
                    on_line(line)
            process.wait()
        finally:
            clock.cancel()
            if process.poll() is None:
                end(process)
                process.wait()
            process.stdout.close()
            running.discard(process)
        errors.seek(0)
        return Ended(None if late.is_set() else process.returncode, "".join(lines), errors.read(), time.monotonic() - begin)
