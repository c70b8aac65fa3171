#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf test: run the tests and count them.

A test program is tests/<kind>/test_*.{c,sh,py}, C being run as built. It
prints TAP (testanything.org): "1..N", and "ok" or "not ok" for each of its
tests; cmocka does so by itself. One that ends in any other way than with
status 0, or whose tests are not as many as it said, has failed.

Those of tests/unit run as they are, all others beside a private smbd each
(selftest.py). What a program needs beyond that it says in a comment:

  selftest-options: --share-option='vfs objects = rsvd streams_xattr'
  time-limit: 300
"""

import argparse
import collections
import concurrent.futures
import glob
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import selftest

TOP = selftest.TOP
LOGS = os.path.join(TOP, 'build/test-logs')
KINDS = ['unit', 'selftest', 'interop', 'crash', 'fuzz', 'cluster']
TIME_LIMIT = 120
GRACE = 15

Program = collections.namedtuple('Program', 'name kind command options limit')
Count = collections.namedtuple('Count', 'passed failed skipped')


def find_programs(build):
    for kind in KINDS:
        for source in sorted(glob.glob('%s/tests/%s/test_*' % (TOP, kind))):
            stem, suffix = os.path.splitext(os.path.basename(source))
            if suffix not in ('.c', '.sh', '.py'):
                continue
            with open(source, errors='replace') as text:
                head = text.read(4000)
            options = re.search(r'selftest-options: (.*)', head)
            limit = re.search(r'time-limit: (\d+)', head)
            yield Program(
                os.path.relpath(source, TOP), kind,
                '%s/tests/%s/%s' % (build, kind, stem) if suffix == '.c'
                else source,
                shlex.split(options.group(1)) if options else [],
                int(limit.group(1)) if limit else TIME_LIMIT)


def count_tap(output, status):
    """Count what the output says; the reasons why it can not be trusted."""
    planned = None
    passed = failed = skipped = 0
    problems = []
    for line in output.splitlines():
        plan = re.match(r'1\.\.(\d+)(\s*#\s*skip.*)?', line, re.IGNORECASE)
        if plan:
            # A cmocka program has a plan for each of its groups.
            planned = (planned or 0) + int(plan.group(1))
            if plan.group(1) == '0' and plan.group(2):
                skipped += 1
                planned += 1
            continue
        result = re.match(r'(not )?ok\b(.*)', line)
        if not result:
            if line.startswith('Bail out!'):
                problems.append(line)
            continue
        if re.search(r'#\s*skip', result.group(2), re.IGNORECASE):
            skipped += 1
        elif result.group(1):
            failed += 1
        else:
            passed += 1

    if status < 0:
        problems.append('ended by %s' % signal.Signals(-status).name)
    elif status != 0 and not failed:
        problems.append('ended with status %d' % status)
    if planned is None:
        problems.append('no plan (1..N)')
    elif planned != passed + failed + skipped:
        problems.append('%d tests planned, %d run'
                        % (planned, passed + failed + skipped))
    if not passed + failed + skipped:
        problems.append('no test')
    if problems:
        failed += 1
    return Count(passed, failed, skipped), problems


class Runner:
    def __init__(self, build, sanitize):
        self.build = build
        self.sanitize = sanitize
        self.running = set()
        self.stopping = threading.Event()
        self.printing = threading.Lock()

    def environment(self, directory):
        environment = dict(os.environ)
        environment.update(selftest.tool_environment(self.build))
        environment['CMOCKA_MESSAGE_OUTPUT'] = 'TAP'
        environment['TMPDIR'] = directory
        environment['LC_ALL'] = 'C.UTF-8'
        return environment

    def run(self, program):
        if self.stopping.is_set():
            return Count(0, 0, 0)
        log = os.path.join(LOGS, program.name.replace('/', '.') + '.log')
        # Short, for it has to hold paths of sockets.
        directory = tempfile.mkdtemp(prefix='t.')
        os.chmod(directory, 0o755)
        command = [program.command]
        if program.kind != 'unit':
            command = [sys.executable, selftest.__file__] + program.options + (
                ['--sanitize'] if self.sanitize else []) + ['--'] + command
        started = time.monotonic()
        # A new file, should another run still write to the old one.
        if os.path.exists(log):
            os.unlink(log)
        with open(log, 'w+', errors='replace') as out:
            child = None
            try:
                child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    cwd=TOP, env=self.environment(directory),
                    start_new_session=True,
                    preexec_fn=selftest.die_with_parent)
                self.running.add(child)
                status = child.wait(program.limit)
            except OSError as error:
                out.write('%s\n' % error)
                status = 127
            except subprocess.TimeoutExpired:
                self.end(child)
                out.write('Bail out! time limit of %d s\n' % program.limit)
                status = child.returncode
            finally:
                if child:
                    self.running.discard(child)
                    self.end(child)
                shutil.rmtree(directory, ignore_errors=True)
            out.seek(0)
            text = out.read()
        count, problems = count_tap(text, status)
        if not self.stopping.is_set():
            self.report(program, count, problems, text,
                        time.monotonic() - started)
        return count

    def end(self, child):
        """The program and its process group; selftest.py ends its smbd."""
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()

    def report(self, program, count, problems, text, seconds):
        with self.printing:
            print('%-6s %s (%d tests, %.1f s)'
                  % ('FAILED' if count.failed else
                     'ok' if count.passed else 'skip', program.name,
                     sum(count) - bool(problems), seconds), flush=True)
            if count.failed:
                for line in text.splitlines()[-300:]:
                    print('    | ' + line)
                for problem in problems:
                    print('    * ' + problem)
                sys.stdout.flush()

    def stop(self, number, frame):
        self.stopping.set()
        for child in list(self.running):
            try:
                child.terminate()
            except ProcessLookupError:
                pass
        raise selftest.Stopped(number)


def main(arguments):
    parser = argparse.ArgumentParser(prog='./waf test')
    parser.add_argument('names', nargs='*', metavar='NAME',
                        help='only tests with NAME in their path')
    parser.add_argument('--sanitize', action='store_true',
                        help='unit tests and tools with ASan and UBSan')
    parser.add_argument('-j', '--jobs', type=int, default=2,
                        help='test programs at a time (default: 2)')
    options = parser.parse_args(arguments)

    build = os.path.join(TOP, 'build',
                         'sanitize' if options.sanitize else 'default')
    programs = [program for program in find_programs(build)
                if not options.names
                or any(name in program.name for name in options.names)]
    if not programs:
        sys.exit('./waf test: no such test')
    os.makedirs(LOGS, exist_ok=True)

    runner = Runner(build, options.sanitize)
    signal.signal(signal.SIGINT, runner.stop)
    signal.signal(signal.SIGTERM, runner.stop)
    try:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            counts = list(pool.map(runner.run, programs))
    except selftest.Stopped as stopped:
        return 128 + stopped.number
    total = Count(*(sum(column) for column in zip(*counts)))
    if total.failed:
        print('The logs are in ' + os.path.relpath(LOGS, TOP))
    print('%d passed, %d failed, %d skipped' % total)
    return 1 if total.failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
