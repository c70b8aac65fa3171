#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# selftest-options: --global-option='realm = SELFTEST.EXAMPLE' --global-option='kerberos method = dedicated keytab' --global-option='dedicated keytab file = FILE:%PREFIX%/private/keytab'
"""
Kerberos: the tools with tickets of a KDC of this test's own, and a smbd that
has a keytab and believes them.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '../harness'))

import selftest  # noqa: E402

PATIENCE_SEC = 30
REALM = 'SELFTEST.EXAMPLE'

# Samba takes no ticket for "localhost", nor for an address. This is 127.0.0.1
# for getaddrinfo(), but no address for Samba.
HOST = '127.1'
SERVICE = 'cifs/' + HOST
USER = os.environ['USERNAME']
UNC = '//%s/%s/disk.vhdx' % (HOST, os.environ['SHARE'])
PLUGIN = os.path.join(os.environ['BUILD'], 'nbdkit/nbdkit-rsvd-plugin.so')
CONFIGURATION = os.environ['CONFIGURATION'].split()
REMOTE = ['-p', os.environ['SERVER_PORT'], *CONFIGURATION]
KRB5 = os.path.join(os.environ['SELFTEST_PREFIX'], 'krb5')

# A PAC is what a domain controller says of a user. A smbd that is in no domain
# refuses tickets with one.
KDC_CONF = """\
[kdcdefaults]
	kdc_listen = 127.0.0.1:{port}
	kdc_tcp_listen = 127.0.0.1:{port}
[realms]
	{realm} = {{
		database_name = {directory}/principal
		key_stash_file = {directory}/stash
		disable_pac = true
	}}
[logging]
	kdc = FILE:{directory}/kdc.log
"""

KRB5_CONF = """\
[libdefaults]
	default_realm = {realm}
	dns_lookup_kdc = false
	dns_canonicalize_hostname = false
	rdns = false
[realms]
	{realm} = {{
		kdc = 127.0.0.1:{port}
	}}
[domain_realm]
	{host} = {realm}
"""

TESTS = []


class Skip(Exception):
    pass


def test(function):
    """A test; what its name says is what it proves."""
    TESTS.append(function)
    return function


def path(name):
    return os.path.join(KRB5, name)


def run(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=PATIENCE_SEC,
                          **kwargs).stdout.decode()


def kadmin(command):
    run('kadmin.local', '-r', REALM, '-q', command)


def start_kdc():
    """Somebody may take the port before it does."""
    while True:
        port = selftest.free_port()
        for name, text in (('kdc.conf', KDC_CONF), ('krb5.conf', KRB5_CONF)):
            with open(path(name), 'w') as f:
                f.write(text.format(port=port, realm=REALM, directory=KRB5,
                                    host=HOST))
        if not os.path.exists(path('principal')):
            run('kdb5_util', 'create', '-s', '-r', REALM, '-P', 'master')
            kadmin('addprinc -pw %s %s' % (os.environ['PASSWORD'], USER))
            kadmin('addprinc -randkey ' + SERVICE)
            kadmin('ktadd -k %s %s' % (os.path.join(
                os.environ['SELFTEST_PREFIX'], 'private/keytab'), SERVICE))
        kdc = subprocess.Popen(['krb5kdc', '-n', '-r', REALM],
                               stdout=subprocess.DEVNULL,
                               preexec_fn=selftest.die_with_parent)
        end = time.monotonic() + PATIENCE_SEC
        while kdc.poll() is None:
            assert time.monotonic() < end, 'the KDC does not listen'
            try:
                socket.create_connection(('127.0.0.1', port), 1).close()
                return kdc
            except OSError:
                time.sleep(0.01)


@contextlib.contextmanager
def ticket():
    """A credential cache with a ticket for the user."""
    with tempfile.TemporaryDirectory(prefix='ccache.') as directory:
        os.environ['KRB5CCNAME'] = 'FILE:' + os.path.join(directory, 'ccache')
        run('kinit', USER, input=os.environ['PASSWORD'].encode() + b'\n')
        try:
            yield
        finally:
            os.environ['KRB5CCNAME'] = path('no-cache')


def has_service_ticket():
    return '%s@%s' % (SERVICE, REALM) in run('klist')


def refused(*command):
    result = subprocess.run(command, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            timeout=PATIENCE_SEC)
    assert result.returncode != 0, result
    return result.stdout.decode()


@test
def a_ticket_is_enough_for_rsvdctl():
    for options in (['--use-kerberos=required', '-N'], ['-k', '-N']):
        with ticket():
            assert not has_service_ticket()
            assert 'SMB dialect' in run('rsvdctl', 'info', *REMOTE, *options,
                                        UNC)
            assert has_service_ticket()


@test
def a_password_gets_a_ticket():
    assert 'SMB dialect' in run(
        'rsvdctl', 'info', *REMOTE, '--use-kerberos=required', '-U',
        '%s%%%s' % (USER, os.environ['PASSWORD']), UNC)
    refused('rsvdctl', 'info', *REMOTE, '--use-kerberos=required', '-U',
            USER + '%wrong', UNC)


@test
def without_a_ticket_nobody_is_let_in():
    refused('rsvdctl', 'info', *REMOTE, '--use-kerberos=required', '-N', UNC)
    # It has no ticket for an address, and must not do without.
    with ticket():
        assert 'ACCESS_DENIED' in refused(
            'rsvdctl', 'info', *REMOTE, '--use-kerberos=required', '-N',
            UNC.replace(HOST, os.environ['SERVER_IP']))


@test
def a_ticket_is_enough_for_nbdkit():
    if not os.path.exists(PLUGIN):
        raise Skip('the plugin is not in this build')
    command = ['nbdkit', '-f', PLUGIN, UNC, 'kerberos=true',
               'port=' + os.environ['SERVER_PORT'],
               'config-file=' + CONFIGURATION[1], '-U']
    with ticket():
        assert run(*command, '-', '--run', 'nbdinfo --size "$uri"') == \
            '%d\n' % (8 << 20)
        assert has_service_ticket()
    assert 'ACCESS_DENIED' in refused(*command, path('nbd'))


@test
def a_ticket_is_enough_for_rsvd_sg():
    command = ['rsvd-sg', *REMOTE, '--use-kerberos=required', '-N', UNC, UNC,
               '--', 'sg_readcap', '/dev/rsvd1']
    with ticket():
        assert 'Number of logical blocks=16384' in run(*command)
        assert has_service_ticket()
    refused(*command)


def main():
    os.environ['PATH'] += ':/usr/sbin'
    for program in ('krb5kdc', 'kdb5_util', 'kadmin.local', 'kinit', 'klist',
                    'nbdkit', 'nbdinfo', 'sg_readcap'):
        if shutil.which(program) is None:
            print('1..0 # SKIP no ' + program)
            return 0

    os.mkdir(KRB5, 0o700)
    os.environ['KRB5_CONFIG'] = path('krb5.conf')
    os.environ['KRB5_KDC_PROFILE'] = path('kdc.conf')
    os.environ['KRB5CCNAME'] = path('no-cache')
    kdc = start_kdc()
    run('rsvdctl', 'create', '--size=8M',
        os.path.join(os.environ['LOCAL_PATH'], 'disk.vhdx'))

    failed = False
    print('1..%d' % len(TESTS))
    for number, function in enumerate(TESTS, 1):
        result, note = 'ok', ''
        try:
            function()
        except Skip as reason:
            note = ' # SKIP %s' % reason
        except Exception as error:
            result, failed = 'not ok', True
            line = sys.exc_info()[2].tb_next.tb_lineno
            print('# line %d: %r' % (line, error))
            if isinstance(error, subprocess.CalledProcessError):
                print('# %r' % error.stdout)
        print('%s %d - %s%s' % (result, number,
                                function.__name__.replace('_', ' '), note),
              flush=True)
    kdc.terminate()
    kdc.wait()
    return 1 if failed else 0


sys.exit(main())
