# SPDX-License-Identifier: GPL-3.0-or-later
"""
A private iSCSI target: tgt's daemon with a raw file as LUN 1.

It has a control socket of its own, and so nothing to do with the tgt service
of the machine.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time

import bench

NAME = 'iqn.2013-08.org.samba:bench'
PROGRAMS = ['tgtd', 'tgtadm']


def is_there():
    return all(shutil.which(program) for program in PROGRAMS)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def wait_for(child, path):
    while not bench.listens(path):
        if child.poll() is not None:
            raise SystemExit('bench: %s ended' % child.args[0])
        time.sleep(0.01)


@contextlib.contextmanager
def target(directory, image):
    """Serve *image*, from when this yields its libiscsi URL."""
    control = os.path.join(directory, 'tgtd')
    environment = dict(os.environ, TGT_IPC_SOCKET=control)
    port = free_port()

    def admin(*arguments):
        subprocess.run(['tgtadm', '-C', '1', '--lld', 'iscsi', *arguments],
                       env=environment, check=True)

    with open(os.path.join(directory, 'tgtd.log'), 'w') as log, \
         subprocess.Popen(['tgtd', '-f', '-C', '1', '--iscsi',
                           'portal=127.0.0.1:%d' % port],
                          env=environment, stdout=log, stderr=log) as child:
        try:
            wait_for(child, control + '.1')
            admin('--op', 'new', '--mode', 'target', '--tid', '1',
                  '--targetname', NAME)
            admin('--op', 'new', '--mode', 'logicalunit', '--tid', '1',
                  '--lun', '1', '--backing-store', image)
            admin('--op', 'bind', '--mode', 'target', '--tid', '1',
                  '--initiator-address', '127.0.0.1')
            yield 'iscsi://127.0.0.1:%d/%s/1' % (port, NAME)
        finally:
            # It ignores SIGTERM while it serves.
            child.kill()
