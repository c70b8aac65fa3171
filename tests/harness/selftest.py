#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
./waf selftest: a private smbd, and a command beside it.

The smbd is the distribution's own. It gets a configuration, directories and
a TCP port on 127.0.0.1 of its own and loads the module from build/, so that
nothing of the system's is touched and any number of these run side by side.
It and everything it started is gone when the command is.

Root is not needed: as another user, uid_wrapper lets smbd believe that it
can change users, and the users are nss_wrapper's in any case.
"""

import argparse
import ctypes
import glob
import os
import pwd
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
SMBD = '/usr/sbin/smbd'
MODULES = os.path.join(TOP, 'build/default/modules')
ADDRESS = '127.0.0.1'
START_TIMEOUT = 60

PASSWORD = 'Secret-1'
NT_HASH = '32DD88BA05015976331DD499DE64E9D9'

# Files that the command makes can be used by smbd on behalf of the first
# user, who is the one that runs this. The others own nothing.
USERS = [('tester', None), ('other', 60001), ('reader', 60002)]

SMB_CONF = """\
[global]
	workgroup = SELFTEST
	netbios name = RSVD
	server role = standalone server
	interfaces = {address}
	bind interfaces only = yes
	smb ports = {port}
	disable netbios = yes
	lock directory = {prefix}/lock
	state directory = {prefix}/state
	cache directory = {prefix}/cache
	private dir = {prefix}/private
	pid directory = {prefix}/pid
	ncalrpc dir = {prefix}/ncalrpc
	winbindd socket directory = {prefix}/winbindd
	passdb backend = smbpasswd:{prefix}/private/smbpasswd
	max log size = 0
	log level = {log_level}
	debug pid = yes
	load printers = no
	printcap name = /dev/null
	disable spoolss = yes
	usershare path =
	rpc start on demand helpers = no
	preload modules = {modules}/builtin_vfs.so {modules}/rsvd.so
{global_options}
[{share}]
	path = {local_path}
	read only = no
	read list = reader
	vfs objects = rsvd
{share_options}
[{share_plain}]
	path = {local_path}
	read only = no
	read list = reader
"""


class Stopped(Exception):
    """A signal asked us to end."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def be_subreaper():
    """
    Have the kernel hand us what our descendants leave behind: smbd's helpers
    detach from it, and none of them may outlive the test.
    """
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def children():
    pids = []
    for path in glob.glob('/proc/self/task/*/children'):
        with open(path) as listed:
            pids += [int(pid) for pid in listed.read().split()]
    return pids


def reap():
    """Collect children that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_children(patience=3):
    """End every descendant: whose parent ends becomes our child, in turn."""
    deadline = time.monotonic() + patience
    reap()
    while children():
        number = signal.SIGTERM
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        for pid in children():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
        reap()


def free_port():
    """
    A port that nobody listens on, and that the kernel does not give to
    outgoing connections either (those are from 32768 on).
    """
    while True:
        port = random.randrange(10000, 32768)
        with socket.socket() as probe:
            try:
                probe.bind((ADDRESS, port))
                return port
            except OSError:
                continue


def wrapper(name):
    found = glob.glob('/usr/lib/*/lib%s.so' % name)
    if not found:
        sys.exit('selftest: lib%s.so is not installed' % name)
    return found[0]


class Server:
    """One smbd and its directories."""

    def __init__(self, options):
        self.options = options
        self.smbd = None
        self.stopped = False
        self.prefix = tempfile.mkdtemp(prefix='rsvd.')
        # Users that are not us have to get through to the share.
        os.chmod(self.prefix, 0o755)
        for directory in ('lock', 'state', 'cache', 'pid', 'ncalrpc'):
            os.mkdir(self.path(directory))
        os.mkdir(self.path('private'), 0o700)
        if options.directory:
            self.local_path = tempfile.mkdtemp(prefix='rsvd.',
                                               dir=options.directory)
        else:
            self.local_path = self.path('share')
            os.mkdir(self.local_path)
        os.chmod(self.local_path, 0o777)
        self.write_users()

    def path(self, name):
        return os.path.join(self.prefix, name)

    def write_users(self):
        nobody = pwd.getpwnam('nobody')
        with open(self.path('passwd'), 'w') as passwd, \
                open(self.path('group'), 'w') as group, \
                open(self.path('private/smbpasswd'), 'w') as smbpasswd:
            for name, uid in USERS:
                uid = os.getuid() if uid is None else uid
                gid = os.getgid() if uid == os.getuid() else uid
                passwd.write('%s:x:%d:%d::%s:/bin/false\n'
                             % (name, uid, gid, self.prefix))
                group.write('%s:x:%d:\n' % (name, gid))
                smbpasswd.write('%s:%d:%s:%s:[U          ]:LCT-00000001:\n'
                                % (name, uid, 'X' * 32, NT_HASH))
            passwd.write('nobody:x:%d:%d::/:/bin/false\n'
                         % (nobody.pw_uid, nobody.pw_gid))
            group.write('nogroup:x:%d:\n' % nobody.pw_gid)
            if os.getuid() != 0:
                passwd.write('root:x:0:0::/:/bin/false\n')
                group.write('root:x:0:\n')
        os.chmod(self.path('private/smbpasswd'), 0o600)

    def write_configuration(self):
        def lines(options):
            return ''.join('\t%s\n' % line.replace('%PREFIX%', self.prefix)
                           for line in options)

        with open(self.path('smb.conf'), 'w') as conf:
            conf.write(SMB_CONF.format(
                address=ADDRESS, port=self.port, prefix=self.prefix,
                modules=MODULES, log_level=self.options.log_level,
                share='disks', share_plain='plain',
                local_path=self.local_path,
                global_options=lines(self.options.global_option),
                share_options=lines(self.options.share_option)))
            for share in self.options.share:
                conf.write(share.replace('\\n', '\n').replace(
                    '%LOCAL_PATH%', self.local_path) + '\n')

    def smbd_environment(self):
        environment = dict(os.environ)
        preload = [wrapper('nss_wrapper')]
        environment['NSS_WRAPPER_PASSWD'] = self.path('passwd')
        environment['NSS_WRAPPER_GROUP'] = self.path('group')
        if os.getuid() != 0:
            preload.append(wrapper('uid_wrapper'))
            environment['UID_WRAPPER'] = '1'
            environment['UID_WRAPPER_ROOT'] = '1'
        environment['LD_PRELOAD'] = ':'.join(preload)
        return environment

    def start(self):
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            self.port = free_port()
            self.write_configuration()
            self.launch()
            if self.wait_until_accepting(deadline):
                self.write_pid()
                return
            # Most likely somebody took the port before smbd did.
        sys.exit('selftest: smbd did not start')

    def launch(self):
        with open(self.path('smbd.out'), 'a') as out:
            self.smbd = subprocess.Popen(
                [SMBD, '--foreground', '--no-process-group',
                 '--configfile=' + self.path('smb.conf'),
                 '--log-basename=' + self.prefix],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=self.smbd_environment(), cwd=self.prefix,
                # It ends its children by ending its process group,
                # which must not be ours.
                start_new_session=True, preexec_fn=die_with_parent)

    def write_pid(self):
        """Only when it accepts: so a command sees that it is there again."""
        with open(self.path('smbd.pid.new'), 'w') as pid:
            pid.write('%d\n' % self.smbd.pid)
        os.rename(self.path('smbd.pid.new'), self.path('smbd.pid'))

    def restart(self):
        """For a command that sends us SIGUSR1."""
        self.smbd.terminate()
        self.smbd.wait()
        # Its children are ours now. Their databases go with the last.
        try:
            while True:
                os.waitpid(-self.smbd.pid, 0)
        except ChildProcessError:
            pass
        self.launch()
        if self.wait_until_accepting(time.monotonic() + START_TIMEOUT):
            self.write_pid()

    def wait_until_accepting(self, deadline):
        while time.monotonic() < deadline:
            if self.smbd.poll() is not None:
                with open(self.path('log.smbd')) as log:
                    if 'Address already in use' in log.read():
                        return False
                sys.exit('selftest: smbd ended with status %d'
                         % self.smbd.returncode)
            try:
                socket.create_connection((ADDRESS, self.port), 1).close()
                return True
            except OSError:
                time.sleep(0.01)
        return False

    def environment(self):
        """What the command learns."""
        return {
            'SERVER': 'RSVD',
            'SERVER_IP': ADDRESS,
            'SERVER_PORT': str(self.port),
            'SHARE': 'disks',
            'SHARE_PLAIN': 'plain',
            'USERNAME': 'tester',
            'OTHER_USERNAME': 'other',
            'READER_USERNAME': 'reader',
            'PASSWORD': PASSWORD,
            'LOCAL_PATH': self.local_path,
            'CONFIGURATION': '-s ' + self.path('smb.conf'),
            'SMBD_PID': str(self.smbd.pid),
            'SELFTEST_PID': str(os.getpid()),
            'SMBD_LOG': self.path('log.smbd'),
            'SELFTEST_PREFIX': self.prefix,
        }

    def show_logs(self):
        for name in ('smbd.out', 'log.smbd'):
            if os.path.exists(self.path(name)):
                sys.stdout.flush()
                sys.stderr.write('--- %s\n' % name)
                with open(self.path(name), errors='replace') as log:
                    sys.stderr.writelines(log.readlines()[-200:])

    def crashed(self):
        """A panic of any smbd is a failure whatever the command says."""
        for name in ('smbd.out', 'log.smbd'):
            try:
                with open(self.path(name), errors='replace') as log:
                    if any('INTERNAL ERROR' in line or 'PANIC' in line
                           for line in log):
                        return True
            except FileNotFoundError:
                pass
        return self.smbd.poll() is not None

    def stop(self):
        if self.smbd is not None and self.smbd.poll() is None:
            self.smbd.terminate()
            try:
                self.smbd.wait(10)
            except subprocess.TimeoutExpired:
                self.smbd.kill()
                self.smbd.wait()
        end_children()

    def remove(self):
        shutil.rmtree(self.prefix, ignore_errors=True)
        shutil.rmtree(self.local_path, ignore_errors=True)


def tool_environment(build):
    """Where the command finds what was built."""
    return {
        'TOP': TOP,
        'BUILD': build,
        'PATH': '%s/bin:%s' % (build, os.environ.get('PATH', os.defpath)),
        # What the sanitizers find is a failure, not a line in a log.
        'ASAN_OPTIONS': 'abort_on_error=0:exitcode=99',
        'UBSAN_OPTIONS': 'print_stacktrace=1',
    }


def run_command(command, environment):
    child = subprocess.Popen(command, env=environment)
    while True:
        try:
            status = child.wait()
            break
        except Stopped:
            child.terminate()
            raise
    return 128 - status if status < 0 else status


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog='./waf selftest', usage='./waf selftest [options] [-- COMMAND...]')
    parser.add_argument(
        '--share-option', metavar='LINE', action='append', default=[],
        help='a line for the share, as "vfs objects = rsvd streams_xattr"')
    parser.add_argument(
        '--global-option', metavar='LINE', action='append', default=[],
        help='a line for [global]; %%PREFIX%% is the directory of this smbd')
    parser.add_argument(
        '--share', metavar='TEXT', action='append', default=[],
        help=r'one more share, with \n between lines; %%LOCAL_PATH%% is the '
             'directory of the others')
    parser.add_argument('--directory', metavar='DIR',
                        help='where the directory of the shares is made')
    parser.add_argument('--log-level', default='1', metavar='LEVEL',
                        help='of smbd (default: 1)')
    parser.add_argument('--sanitize', action='store_true',
                        help='the tools are those of the sanitized build')
    parser.add_argument('--keep', action='store_true',
                        help='do not remove the directories')
    own, command = arguments, []
    if '--' in arguments:
        split = arguments.index('--')
        own, command = arguments[:split], arguments[split + 1:]
    options = parser.parse_args(own)
    if '--' in arguments and not command:
        parser.error('no COMMAND after --')
    return options, command


def print_and_wait(server):
    for name, value in server.environment().items():
        print('%s=%s' % (name, shlex.quote(value)))
    print('# smbd runs until this is interrupted', flush=True)
    server.smbd.wait()
    return 1


def main(arguments):
    options, command = parse(arguments)

    def stop(number, frame):
        raise Stopped(number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    be_subreaper()

    server = Server(options)
    status = 1
    try:
        server.start()
        signal.signal(signal.SIGUSR1, lambda *_: server.restart())
        if command:
            build = os.path.join(TOP, 'build', 'sanitize' if options.sanitize
                                 else 'default')
            environment = dict(os.environ)
            environment.update(tool_environment(build))
            environment.update(server.environment())
            status = run_command(command, environment)
            if server.crashed():
                sys.stderr.write('selftest: smbd crashed\n')
                status = status or 1
        else:
            status = print_and_wait(server)
    except FileNotFoundError as error:
        sys.stderr.write('selftest: %s: %s\n' % (error.filename,
                                                 error.strerror))
        status = 127
    except Stopped as stopped:
        status = 128 + stopped.number
        server.stopped = True
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        server.stop()
        if status != 0 and not server.stopped:
            server.show_logs()
        if options.keep:
            sys.stderr.write('selftest: kept %s\n' % server.prefix)
        else:
            server.remove()
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
