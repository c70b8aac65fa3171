#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 200
"""
rsvdctl merge and flatten: differencing images become one with their parents.
What comes out is read by qemu where there is no parent any more.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

SIZE = 32 << 20
MIB = 1 << 20
PATIENCE_SEC = 60

TESTS = []
TMP = None


def test(function):
    """A test; what its name says is what it proves."""
    TESTS.append(function)
    return function


def path(name):
    return os.path.join(TMP, name)


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE,
                          timeout=PATIENCE_SEC).stdout


def fails(text, *command):
    result = subprocess.run(command, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=PATIENCE_SEC)
    message = result.stderr.decode()
    assert result.returncode == 1, result
    assert text in message, message
    assert len(message.splitlines()) == 1, message


def write(name, disk, offset, data):
    """The same to an image and to what it should hold."""
    with open(path('piece'), 'wb') as f:
        f.write(data)
    run('rsvdctl', 'write', '--input=' + path('piece'),
        '--offset=%d' % offset, path(name))
    disk[offset:offset + len(data)] = data


def chain():
    """base/parent.vhdx, child.vhdx, grandchild.vhdx, and what that holds"""
    disk = bytearray(SIZE)
    os.mkdir(path('base'))
    run('rsvdctl', 'create', '--size=%d' % SIZE, '--block-size=4M',
        path('base/parent.vhdx'))
    write('base/parent.vhdx', disk, 3 * MIB, b'p' * 3 * MIB)
    write('base/parent.vhdx', disk, 20 * MIB, b'p' * 4096)
    run('rsvdctl', 'create', '--parent=' + path('base/parent.vhdx'),
        path('child.vhdx'))
    write('child.vhdx', disk, 4 * MIB, b'c' * 8192)
    write('child.vhdx', disk, 30 * MIB, b'c' * MIB)
    run('rsvdctl', 'create', '--parent=' + path('child.vhdx'),
        path('grandchild.vhdx'))
    write('grandchild.vhdx', disk, 5 * MIB, bytes(512))
    write('grandchild.vhdx', disk, 10 * MIB, b'g' * 512)
    return disk


def read(name):
    run('rsvdctl', 'check', path(name))
    return run('rsvdctl', 'read', path(name))


def info(name):
    return run('rsvdctl', 'info', path(name)).decode()


def read_by_qemu(name):
    run('qemu-img', 'check', '-f', 'vhdx', path(name))
    run('qemu-img', 'convert', '-f', 'vhdx', '-O', 'raw', path(name),
        path('raw'))
    with open(path('raw'), 'rb') as f:
        return f.read()


@test
def a_merged_parent_holds_what_its_child_did():
    disk = chain()
    said = run('rsvdctl', 'merge', path('grandchild.vhdx')).decode()
    assert re.search('MiB merged into %s; it is empty' % path('child.vhdx'),
                     said), said
    assert read('child.vhdx') == disk
    assert read('grandchild.vhdx') == disk
    run('rsvdctl', 'merge', path('child.vhdx'))
    assert read('base/parent.vhdx') == disk
    assert read_by_qemu('base/parent.vhdx') == disk
    # Both are empty children of it now.
    for name in ('child.vhdx', 'grandchild.vhdx'):
        assert read(name) == disk, name
        assert 'allocated blocks:     0 of ' in info(name), name
        assert os.path.getsize(path(name)) == 4 * MIB, name


@test
def a_merged_child_goes_with_delete():
    disk = chain()
    os.symlink('grandchild.vhdx', path('link.vhdx'))
    said = run('rsvdctl', 'merge', '--delete', path('link.vhdx')).decode()
    assert said.endswith('it is removed now\n'), said
    assert not os.path.exists(path('grandchild.vhdx'))
    assert read('child.vhdx') == disk


@test
def what_was_done_is_told_in_json():
    chain()
    assert json.loads(run('rsvdctl', 'merge', '--json',
                          path('grandchild.vhdx'))) == {
        'image': path('grandchild.vhdx'), 'parent': path('child.vhdx'),
        # At 5 MiB 4 KiB, the parents have the rest; at 10 MiB the whole
        # block, they have nothing there.
        'merged-bytes': 4096 + 2 * MIB, 'zeroed-bytes': 0, 'deleted': False}
    assert json.loads(run('rsvdctl', 'flatten', '--json',
                          path('child.vhdx'))) == {
        # 2 to 4 MiB, the rest of 4 to 6 MiB, and that with 20 MiB; the
        # others were there.
        'image': path('child.vhdx'), 'copied-blocks': 3}


@test
def a_disk_on_a_server_is_not_merged():
    fails('is on a server', 'sh', '-c',
          'rsvdctl merge //server/share/disk.vhdx 2>"$1"; s=$?; '
          'head -n 1 "$1" >&2; exit $s', 'sh', path('said'))


@test
def a_merge_that_was_killed_is_done_again():
    disk = chain()
    for _ in range(5):
        process = subprocess.Popen(['rsvdctl', 'merge', path('child.vhdx')],
                                   stdout=subprocess.DEVNULL)
        # When it has begun to write, which is not the same each time
        start = os.stat(path('base/parent.vhdx')).st_mtime_ns
        while process.poll() is None and os.stat(
                path('base/parent.vhdx')).st_mtime_ns == start:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert run('rsvdctl', 'read', path('grandchild.vhdx')) == disk
        write('child.vhdx', disk, 31 * MIB, os.urandom(512))
        # A child of the child does not know it any more.
        os.unlink(path('grandchild.vhdx'))
        run('rsvdctl', 'create', '--parent=' + path('child.vhdx'),
            path('grandchild.vhdx'))
        disk[5 * MIB:5 * MIB + 512] = b'p' * 512
        disk[10 * MIB:10 * MIB + 512] = bytes(512)
    run('rsvdctl', 'merge', path('child.vhdx'))
    # What those had reserved in the file may be left there.
    run('rsvdctl', 'compact', path('base/parent.vhdx'))
    assert read('base/parent.vhdx') == disk
    assert read('grandchild.vhdx') == disk


@test
def a_merge_ends_in_order_when_somebody_wants_the_image():
    disk = chain()
    name = path('child.vhdx')
    write('child.vhdx', disk, 8 * MIB, os.urandom(24 * MIB))
    disk[5 * MIB:5 * MIB + 512] = b'p' * 512	# was the grandchild's
    start = os.stat(path('base/parent.vhdx')).st_mtime_ns
    process = subprocess.Popen(['rsvdctl', 'merge', name],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and os.stat(
            path('base/parent.vhdx')).st_mtime_ns == start:
        pass
    # Waits until it has ended, or is through.
    with open(name, 'rb'):
        pass
    said = process.communicate(timeout=PATIENCE_SEC)
    if process.returncode != 0:
        assert process.returncode == 1, said
        assert b'is wanted by others: stopped' in said[1], said
    assert read('child.vhdx') == disk
    run('rsvdctl', 'merge', name)
    assert read('base/parent.vhdx') == disk


@test
def another_child_of_the_parent_is_refused_after_a_merge():
    chain()
    run('rsvdctl', 'create', '--parent=' + path('base/parent.vhdx'),
        path('other.vhdx'))
    run('rsvdctl', 'merge', path('child.vhdx'))
    fails('DataWriteGuid', 'rsvdctl', 'info', path('other.vhdx'))


@test
def an_image_in_use_is_neither_merged_nor_flattened():
    disk = chain()
    for command in ('merge', 'flatten'):
        with open(path('child.vhdx'), 'rb'):
            fails('child.vhdx is in use', 'rsvdctl', command,
                  path('child.vhdx'))
    assert read('child.vhdx') != disk


@test
def a_parent_in_use_is_not_merged_into():
    chain()
    with open(path('base/parent.vhdx'), 'rb'):
        fails('parent.vhdx is in use', 'rsvdctl', 'merge', path('child.vhdx'))
    # Nor is the parent of that written to while we read it.
    with open(path('base/parent.vhdx'), 'r+b'):
        fails('parent.vhdx is open for writing', 'rsvdctl', 'merge',
              path('grandchild.vhdx'))


@test
def a_parent_that_others_read_is_flattened_from_and_one_written_is_not():
    disk = chain()
    with open(path('child.vhdx'), 'r+b'):
        fails('child.vhdx is open for writing', 'rsvdctl', 'flatten',
              path('grandchild.vhdx'))
    with open(path('child.vhdx'), 'rb') as f:
        fcntl.fcntl(f, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        run('rsvdctl', 'flatten', path('grandchild.vhdx'))
    assert read('grandchild.vhdx') == disk


@test
def a_flattened_image_needs_no_parent():
    disk = chain()
    before = [read(name) for name in ('child.vhdx', 'base/parent.vhdx')]
    said = run('rsvdctl', 'flatten', path('grandchild.vhdx')).decode()
    assert 'blocks copied' in said, said
    for name, was in zip(('child.vhdx', 'base/parent.vhdx'), before):
        assert read(name) == was, name
        os.unlink(path(name))
    assert read('grandchild.vhdx') == disk
    assert read_by_qemu('grandchild.vhdx') == disk
    text = info('grandchild.vhdx')
    assert 'vhdx, dynamic\n' in text and 'parent' not in text, text
    # Done again it is done, too.
    run('rsvdctl', 'flatten', path('grandchild.vhdx'))
    assert read('grandchild.vhdx') == disk


@test
def an_image_that_is_flattened_keeps_its_children():
    disk = chain()
    run('rsvdctl', 'flatten', path('child.vhdx'))
    os.unlink(path('base/parent.vhdx'))
    assert read('grandchild.vhdx') == disk


@test
def what_has_no_parent_is_not_merged():
    chain()
    fails('it has no parent', 'rsvdctl', 'merge', path('base/parent.vhdx'))


@test
def an_image_that_is_its_own_parent_is_refused():
    chain()
    os.rename(path('child.vhdx'), path('base/child.vhdx'))
    os.unlink(path('base/parent.vhdx'))
    os.link(path('base/child.vhdx'), path('child.vhdx'))
    os.link(path('base/child.vhdx'), path('base/parent.vhdx'))
    for command in ('merge', 'flatten'):
        fails('base/parent.vhdx', 'rsvdctl', command, path('child.vhdx'))


def main():
    global TMP
    if shutil.which('qemu-img') is None:
        print('1..0 # SKIP no qemu-img')
        return 0

    failed = False
    print('1..%d' % len(TESTS))
    for number, function in enumerate(TESTS, 1):
        result = 'ok'
        TMP = tempfile.mkdtemp(prefix='merge.')
        try:
            function()
        except Exception as error:
            result, failed = 'not ok', True
            line = sys.exc_info()[2].tb_next.tb_lineno
            print('# line %d: %r' % (line, error))
            if isinstance(error, subprocess.CalledProcessError):
                print('# %r' % error.stdout)
        shutil.rmtree(TMP)
        print('%s %d - %s' % (result, number,
                              function.__name__.replace('_', ' ')),
              flush=True)
    return 1 if failed else 0


sys.exit(main())
