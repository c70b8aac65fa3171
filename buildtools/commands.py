#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of ./waf, each doing by itself what it needs of the others."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True

import graft  # noqa: E402
import samba_tree  # noqa: E402

TOP = samba_tree.TOP
HARNESS = os.path.join(TOP, 'tests/harness')

USAGE = """\
usage: ./waf COMMAND [options]

  setup        install the packages that are missing, fetch the source of the
               installed Samba into build/, configure it, generate headers
  build        compile; --targets=NAME,... for some of it, -k, -v, -jN
  install      into smbd's module directory and /usr; --destdir=DIR
  test [NAME...]
               run all tests, or those with NAME in their path
  selftest [options] [-- COMMAND...]
               run COMMAND beside a private smbd; without one print how to
               reach it, and wait. --help tells the options
  demo         two initiators share one disk, step by step
  bench        what the module costs; --help tells the options
  soak         kills and power cuts for an hour; --help tells the options
  fuzz [--seconds=N] [TARGET...]
               let libFuzzer look for what crashes us
  graft DIR    put the module into the Samba source tree DIR
  clean        remove what was compiled, not Samba's source

Each does what it needs of the ones before. Options of all:

  --samba-source=DIR   a source tree of the installed Samba
  --sanitize           (build, test) with ASan and UBSan what runs outside
                       smbd
"""


def waf(arguments):
    """
    Run Samba's copy of waf on our wscript; our exit status when it fails.

    It is not configured by "configure", which we do not offer, but when it
    never was, or was for another tree of Samba.
    """
    directory = os.path.join(samba_tree.current(), 'third_party/waf')
    entry = ('import sys; sys.path.insert(0, %r); '
             'from waflib import Context, Scripting; '
             'Scripting.waf_entry_point(%r, Context.WAFVERSION, %r)'
             % (directory, TOP, directory))
    with one_at_a_time():
        if not is_configured():
            arguments = ['configure'] + arguments
        status = subprocess.call(
            [sys.executable, '-B', '-c', entry] + arguments,
            cwd=TOP, env=dict(os.environ, NOCLIMB='1'))
    if status != 0:
        sys.exit(status)


@contextlib.contextmanager
def one_at_a_time():
    """Two builds in one directory would get into each other's way."""
    with open(os.path.join(TOP, 'build/.waf.lock'), 'w') as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_configured():
    try:
        with open(os.path.join(TOP, 'build/c4che/_cache.py')) as cache:
            return repr(samba_tree.current()) in cache.read()
    except OSError:
        return False


def build(sanitize=False, fuzz=False):
    waf(['build'])
    if sanitize:
        waf(['build', '--sanitize'])
    if fuzz:
        waf(['build', '--fuzz'])


def harness(script, arguments):
    path = os.path.join(HARNESS, script)
    os.execv(sys.executable, [sys.executable, '-B', path] + arguments)


def selftest(script, arguments):
    if not os.path.exists(script):
        sys.exit('./waf: there is no ' + os.path.relpath(script, TOP))
    build()
    sys.stdout.flush()
    harness('selftest.py', arguments + ['--', script])


def do_setup(arguments):
    if arguments:
        sys.exit('./waf setup: what is "%s"?' % arguments[0])


def do_build(arguments):
    waf(['build'] + arguments)


def do_install(arguments):
    waf(['install'] + arguments)


def do_test(arguments):
    if not {'-h', '--help'} & set(arguments):
        names = [name for name in arguments if not name.startswith('-')]
        build('--sanitize' in arguments,
              not names or any('fuzz' in name for name in names))
    harness('runner.py', arguments)


def do_selftest(arguments):
    own = arguments[:arguments.index('--')] if '--' in arguments else arguments
    if not {'-h', '--help'} & set(own):
        # The output is the command's.
        with open(os.path.join(TOP, 'build/build.log'), 'w') as log:
            saved = os.dup(1), os.dup(2)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            try:
                build('--sanitize' in own)
                failed = None
            except SystemExit as error:
                failed = error
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
        if failed:
            with open(log.name) as text:
                sys.stderr.write(text.read())
            raise failed
    harness('selftest.py', arguments)


def do_demo(arguments):
    selftest(os.path.join(TOP, 'tests/demo.sh'), arguments)


def do_bench(arguments):
    if not {'-h', '--help'} & set(arguments):
        build()
    sys.stdout.flush()
    bench = os.path.join(TOP, 'tests/bench/bench.py')
    os.execv(sys.executable, [sys.executable, '-B', bench] + arguments)


def do_soak(arguments):
    if not {'-h', '--help'} & set(arguments):
        build('--sanitize' in arguments)
    sys.stdout.flush()
    soak = os.path.join(TOP, 'tests/crash/soak.py')
    os.execv(sys.executable, [sys.executable, '-B', soak] + arguments)


def do_fuzz(arguments):
    if not {'-h', '--help'} & set(arguments):
        waf(['build', '--fuzz'])
    sys.stdout.flush()
    fuzz = os.path.join(TOP, 'tests/fuzz/fuzz.py')
    os.execv(sys.executable, [sys.executable, '-B', fuzz] + arguments)


def do_graft(arguments):
    if len(arguments) != 1:
        sys.exit('usage: ./waf graft DIR')
    graft.graft(arguments[0])


def do_clean(arguments):
    samba_tree.remove_compiled()
    shutil.rmtree(os.path.join(TOP, 'build/test-logs'), ignore_errors=True)


NEEDS_NO_SAMBA = {'graft': do_graft, 'clean': do_clean}
NEEDS_SAMBA = {'setup': do_setup, 'build': do_build, 'install': do_install,
               'test': do_test, 'selftest': do_selftest, 'demo': do_demo,
               'bench': do_bench, 'soak': do_soak,
               'fuzz': do_fuzz}


def main(arguments):
    if not arguments or arguments[0] in ('-h', '--help', 'help'):
        print(USAGE, end='')
        return
    command, arguments = arguments[0], arguments[1:]
    if command in NEEDS_NO_SAMBA:
        NEEDS_NO_SAMBA[command](arguments)
        return
    if command not in NEEDS_SAMBA:
        sys.exit('./waf: no command "%s"; ./waf --help lists them' % command)

    samba_source = None
    for argument in list(arguments):
        if argument == '--':
            break
        if argument.startswith('--samba-source='):
            samba_source = argument.partition('=')[2]
            arguments.remove(argument)
    samba_tree.setup(samba_source)
    NEEDS_SAMBA[command](arguments)


if __name__ == '__main__':
    main(sys.argv[1:])
