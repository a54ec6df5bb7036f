"""Runs all families in turn, with increasing seeds, in several processes.  See run.

Each run is a process fuzz.py with a database of its own.  The first difference ends all
of them.  The server's log is searched here, and truncated when it is large.
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

LARGEST_LOG = 100 << 20


class Night:
    """The runs that have ended, and those that are running."""

    def __init__(self, options, families, bad_log):
        self.options, self.families, self.bad_log = options, families, bad_log
        self.todo = ((seed, family) for seed in itertools.count(options.seed)
                     for family in families)
        self.lock = threading.Lock()
        self.begun = time.monotonic()
        self.given = 0          # operations that have been given to runs
        self.runs, self.ops, self.time, self.wrong = Counter(), Counter(), Counter(), Counter()
        self.running = {}       # process: (family, seed)
        self.over = False
        self.log_at = os.path.getsize(options.log) if options.log else 0

    def next(self):
        """Return the next run, (family, seed, operations), or None."""
        options = self.options
        with self.lock:
            late = options.seconds and time.monotonic() - self.begun > options.seconds
            rest = options.ops - self.given if not options.seconds else options.each
            if self.over or late or rest <= 0:
                return None
            seed, family = next(self.todo)
            ops = min(options.each, rest)
            self.given += ops
            return family, seed, ops

    def work(self):
        while (what := self.next()) is not None:
            family, seed, ops = what
            begun = time.monotonic()
            command = [sys.executable, os.path.join(os.path.dirname(__file__), 'fuzz.py'),
                       family, '--seed', str(seed), '--ops', str(ops), '--drop',
                       '--story', str(self.options.story), '--without', self.options.without]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True) as process:
                with self.lock:
                    self.running[process] = family, seed
                said = process.communicate()[0]
            with self.lock:
                del self.running[process]
                self.ended(family, seed, process.returncode, said, time.monotonic() - begun)

    def ended(self, family, seed, status, said, seconds):
        lines = said.rstrip().split('\n')
        done = int(lines[-1].split()[1]) if ' operations, ' in lines[-1] else 0
        lines += [f'PROBLEM: {line}' for line in self.faults()]
        self.runs[family] += 1
        self.ops[family] += done
        self.time[family] += seconds
        if self.over:
            return
        if status or lines[-1].startswith('PROBLEM'):
            self.wrong[family] += 1
            print('\n'.join(lines), flush=True)
            self.stop()
        else:
            print(f'{family}: seed {seed}, {done} operations in {seconds:.0f} s', flush=True)

    def faults(self):
        """Return the lines of the log that must not be there."""
        if not self.options.log:
            return []
        with open(self.options.log, encoding='utf-8', errors='replace') as log:
            log.seek(self.log_at)
            found = [line.strip() for line in log if any(bad in line for bad in self.bad_log)]
            self.log_at = log.tell() if not found else self.log_at
        if self.log_at > LARGEST_LOG:
            os.truncate(self.options.log, 0)
            self.log_at = 0
        return found

    def stop(self, *_):
        self.over = True
        for process in self.running:
            process.terminate()

    def table(self):
        print(f'\n{"family":10} {"seeds":>6} {"operations":>12} {"differences":>12} {"op/s":>7}')
        for family in self.families:
            rate = self.ops[family] / max(self.time[family], 0.001)
            print(f'{family:10} {self.runs[family]:6} {self.ops[family]:12,} '
                  f'{self.wrong[family]:12} {rate:7.0f}')
        seconds = time.monotonic() - self.begun
        print(f'{"all":10} {self.runs.total():6} {self.ops.total():12,} {self.wrong.total():12} '
              f'{self.ops.total() / seconds:7.0f}  in {seconds:,.0f} s, '
              f'from seed {self.options.seed}', flush=True)


def play(options, families, bad_log):
    night = Night(options, families, bad_log)
    signal.signal(signal.SIGINT, night.stop)
    signal.signal(signal.SIGTERM, night.stop)
    workers = [threading.Thread(target=night.work) for _ in range(options.jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        while worker.is_alive():
            worker.join(1)      # signals are handled in between
    night.table()
    return 1 if night.wrong else 0
