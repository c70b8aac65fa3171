#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# time-limit: 300
"""
nbdkit-rsvd-plugin: a shared virtual disk as an NBD device, used by libnbd,
nbdcopy, qemu and fio; and what it does when the server goes away.
"""

import contextlib
import errno
import json
import os
import pty
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time

SIZE = 64 << 20
BLOCK = 1 << 20

# What nothing may have to wait for.
PATIENCE_SEC = 30

LOCAL_PATH = os.environ['LOCAL_PATH']
PLUGIN = os.path.join(os.environ['BUILD'], 'nbdkit/nbdkit-rsvd-plugin.so')
TESTS = []


class Skip(Exception):
    pass


def test(function):
    """A test; what its name says is what it proves."""
    TESTS.append(function)
    return function


def needs(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skip('no ' + program)


def run(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE,
                          timeout=PATIENCE_SEC * 3, **kwargs).stdout


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE_SEC
    while not condition():
        assert time.monotonic() < end, 'no ' + what
        time.sleep(0.01)


def new_image(name, *options):
    path = os.path.join(LOCAL_PATH, name)
    if os.path.exists(path):
        os.unlink(path)
    run('rsvdctl', 'create', '--size=%d' % SIZE, '--block-size=%d' % BLOCK,
        *options, path)
    # For initiators that are not root.
    os.chmod(path, 0o666)
    return path


class Nbdkit:
    """nbdkit on a disk of the share, until the end of the "with"."""

    def __init__(self, name='nbd.vhdx', port=None, user=None, password=None,
                 parameters=()):
        self.directory = tempfile.mkdtemp(prefix='nbdkit.')
        self.socket = os.path.join(self.directory, 'socket')
        self.uri = 'nbd+unix:///?socket=' + self.socket
        # Written when it listens; the socket is there before.
        self.pid_file = os.path.join(self.directory, 'pid')
        secret = os.path.join(self.directory, 'password')
        with open(secret, 'w') as f:
            f.write(password or os.environ['PASSWORD'])
        self.log = open(os.path.join(self.directory, 'log'), 'w+b')
        self.process = subprocess.Popen(
            ['nbdkit', '-f', '-v', '-P', self.pid_file, '-U', self.socket,
             PLUGIN,
             '//%s/%s/%s' % (os.environ['SERVER_IP'], os.environ['SHARE'],
                             name),
             'port=%s' % (port or os.environ['SERVER_PORT']),
             'user=' + (user or os.environ['USERNAME']),
             'password=+' + secret,
             'config-file=' + os.environ['CONFIGURATION'].split()[1],
             *parameters], stderr=self.log)

    def __enter__(self):
        wait_for(lambda: os.path.exists(self.pid_file) or
                 self.process.poll() is not None, 'nbdkit that listens')
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        status = self.process.wait(PATIENCE_SEC)
        if exception[0] is not None:
            print('# ' + self.messages().replace('\n', '\n# '))
        self.log.close()
        shutil.rmtree(self.directory)
        if exception[0] is None:
            assert status == 0, 'nbdkit ended with %d' % status

    def messages(self):
        self.log.seek(0)
        return self.log.read().decode(errors='replace')

    def connect(self):
        handle = nbd.NBD()
        handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        handle.connect_uri(self.uri)
        return handle

    def qemu_io(self, *commands):
        needs('qemu-io')
        arguments = []
        for command in commands:
            arguments += ['-c', command]
        return run('qemu-io', '-f', 'raw', *arguments, self.uri).decode()


def contents(image):
    """What the disk has, read by another implementation."""
    with tempfile.NamedTemporaryFile() as raw:
        run('qemu-img', 'convert', '-f', 'vhdx', '-O', 'raw', image, raw.name)
        with open(raw.name, 'rb') as f:
            return f.read()


def allocated(image):
    """(start, end) of what is in the file, neighbours joined."""
    ranges = []
    for e in json.loads(run('rsvdctl', 'map', '--json', image)):
        if not e['data']:
            continue
        if ranges and ranges[-1][1] == e['start']:
            ranges[-1][1] += e['length']
        else:
            ranges.append([e['start'], e['start'] + e['length']])
    return ranges


def serving_smbd(image):
    """The smbd process that has the image open, a child of our server."""
    for pid in os.listdir('/proc'):
        try:
            with open('/proc/%s/stat' % pid) as f:
                parent = f.read().rsplit(')', 1)[1].split()[1]
            if parent != os.environ['SMBD_PID']:
                continue
            for fd in os.listdir('/proc/%s/fd' % pid):
                if os.readlink('/proc/%s/fd/%s' % (pid, fd)) == image:
                    return int(pid)
        except (OSError, IndexError):
            continue
    return None


class Proxy:
    """A way to the server that can be cut, and opened again."""

    def __init__(self):
        self.listener = None
        self.sockets = []
        self.port = 0
        self.open()

    def open(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', self.port))
        self.port = self.listener.getsockname()[1]
        self.listener.listen()
        threading.Thread(target=self.accept, args=(self.listener,),
                         daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(
                (os.environ['SERVER_IP'], int(os.environ['SERVER_PORT'])))
            self.sockets += [client, server]
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(a, b),
                                 daemon=True).start()

    def copy(self, source, destination):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                destination.sendall(data)
        for s in (source, destination):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        self.sockets = []


@test
def nbdcopy_brings_back_what_it_copied():
    needs('nbdcopy')
    image = new_image('nbd.vhdx')
    with tempfile.NamedTemporaryFile() as source, \
            tempfile.NamedTemporaryFile() as back, Nbdkit() as nbdkit:
        source.write(random.randbytes(8 << 20))
        source.truncate(SIZE)
        source.flush()
        run('nbdcopy', '--flush', '--connections=4', source.name, nbdkit.uri)
        run('nbdcopy', '--connections=4', nbdkit.uri, back.name)
        run('cmp', source.name, back.name)
    # What the source had no data for has none here.
    assert allocated(image) == [[0, 8 << 20]], allocated(image)


@test
def qemu_img_converts_to_and_from_it():
    needs('qemu-img')
    new_image('nbd.vhdx')
    with tempfile.NamedTemporaryFile() as source, \
            tempfile.NamedTemporaryFile(suffix='.qcow2') as back, \
            Nbdkit() as nbdkit:
        source.write(random.randbytes(4 << 20))
        source.truncate(SIZE)
        source.flush()
        run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw',
            source.name, nbdkit.uri)
        run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source.name,
            nbdkit.uri)
        run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', nbdkit.uri,
            back.name)
        run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', source.name,
            back.name)


@test
def fio_verifies_what_it_wrote():
    needs('fio')
    if 'nbd' not in run('fio', '--enghelp').decode():
        raise Skip('fio has no nbd engine')
    new_image('nbd.vhdx')
    with Nbdkit() as nbdkit:
        run('fio', '--name=verify', '--ioengine=nbd', '--uri=' + nbdkit.uri,
            '--rw=randwrite', '--bs=4k', '--size=16M', '--iodepth=16',
            '--verify=crc32c', '--do_verify=1', '--verify_fatal=1',
            cwd=nbdkit.directory)


@test
def the_export_says_what_the_disk_can():
    new_image('nbd.vhdx')
    with Nbdkit() as nbdkit:
        h = nbdkit.connect()
        assert h.get_size() == SIZE
        assert h.can_multi_conn() and h.can_flush() and h.can_fua()
        assert h.can_trim() and h.can_zero() and not h.is_read_only()
        assert h.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        assert h.get_block_size(nbd.SIZE_MINIMUM) == 512
        h.shutdown()


@test
def sectors_of_4096_bytes_are_the_minimum_of_such_a_disk():
    new_image('nbd.vhdx', '--sector-size=4096')
    with Nbdkit() as nbdkit:
        h = nbdkit.connect()
        assert h.get_block_size(nbd.SIZE_MINIMUM) == 4096
        h.set_strict_mode(0)
        try:
            h.pwrite(bytes(512), 512)
            raise AssertionError('half a sector was written')
        except nbd.Error as error:
            assert error.errnum == errno.EINVAL, error
        h.zero(1 << 20, 1 << 20)
        h.pwrite(b'x' * 4096, 1 << 20)
        assert h.pread(8192, 1 << 20) == b'x' * 4096 + bytes(4096)
        h.shutdown()


@test
def writes_of_one_connection_are_read_by_another():
    new_image('nbd.vhdx')
    with Nbdkit() as nbdkit:
        one, two = nbdkit.connect(), nbdkit.connect()
        one.pwrite(b'1' * 512, 512)
        one.flush()
        assert two.pread(1024, 0) == bytes(512) + b'1' * 512
        one.shutdown()
        two.shutdown()


@test
def block_status_is_what_is_allocated():
    image = new_image('nbd.vhdx')
    with Nbdkit() as nbdkit:
        h = nbdkit.connect()
        h.pwrite(b'a' * BLOCK, 3 * BLOCK)
        h.pwrite(b'b' * BLOCK, 5 * BLOCK)
        h.flush()
        extents = []

        def got(context, offset, entries, error):
            extents.extend(entries)
            return 0

        h.block_status(SIZE, 0, got)
        flags = nbd.STATE_HOLE | nbd.STATE_ZERO
        assert extents == [3 * BLOCK, flags, BLOCK, 0, BLOCK, flags,
                           BLOCK, 0, SIZE - 6 * BLOCK, flags], extents
        extents.clear()
        h.block_status(SIZE - 512, 512, got, nbd.CMD_FLAG_REQ_ONE)
        assert extents == [3 * BLOCK - 512, flags], extents
        h.shutdown()
    assert allocated(image) == [[3 * BLOCK, 4 * BLOCK],
                                [5 * BLOCK, 6 * BLOCK]]


@test
def zeroing_and_trimming_send_no_data():
    image = new_image('nbd.vhdx')
    with Nbdkit() as nbdkit:
        h = nbdkit.connect()
        h.pwrite(b'x' * 4 * BLOCK, 0)
        h.flush()
        space = os.stat(image).st_blocks * 512
        # A part of a block, whole blocks, and what was never written.
        h.zero(1024, 512)
        h.zero(BLOCK, BLOCK)
        h.trim(BLOCK, 2 * BLOCK)
        h.zero(SIZE - 8 * BLOCK, 8 * BLOCK, nbd.CMD_FLAG_FUA)
        assert h.pread(4 * BLOCK, 0) == (
            b'x' * 512 + bytes(1024) + b'x' * (BLOCK - 1536) +
            bytes(2 * BLOCK) + b'x' * BLOCK)
        # But for what the log takes
        assert (os.stat(image).st_blocks * 512 <=
                space - 2 * BLOCK + 64 * 1024)
        h.shutdown()
    # Behind what was written there may be blocks that were allocated ahead.
    assert allocated(image)[-1][1] <= 8 * BLOCK, allocated(image)
    left = allocated(image)
    assert left[0] == [0, BLOCK] and left[1][0] == 3 * BLOCK, left
    assert contents(image)[4 * BLOCK:] == bytes(SIZE - 4 * BLOCK)


@test
def zeroing_without_holes_keeps_the_space():
    image = new_image('nbd.vhdx', '--type=fixed')
    with Nbdkit() as nbdkit:
        h = nbdkit.connect()
        h.pwrite(b'x' * 2 * BLOCK, 0)
        h.zero(BLOCK, BLOCK, nbd.CMD_FLAG_NO_HOLE)
        assert h.pread(BLOCK, BLOCK) == bytes(BLOCK)
        h.shutdown()
    assert allocated(image) == [[0, SIZE]]


@test
def zeroing_is_fast_where_it_may_make_holes():
    image = new_image('nbd.vhdx')
    with Nbdkit() as nbdkit:
        h = nbdkit.connect()
        assert h.can_fast_zero()
        h.pwrite(b'x' * 4 * BLOCK, 0)
        h.flush()
        space = os.stat(image).st_blocks
        h.zero(2 * BLOCK, BLOCK, nbd.CMD_FLAG_FAST_ZERO)
        assert h.pread(4 * BLOCK, 0) == (b'x' * BLOCK + bytes(2 * BLOCK) +
                                         b'x' * BLOCK)
        assert os.stat(image).st_blocks < space
        try:
            h.zero(BLOCK, 0, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
            raise AssertionError('that may have been slow')
        except nbd.Error as error:
            assert error.errnum == errno.EOPNOTSUPP, error
        assert h.pread(BLOCK, 0) == b'x' * BLOCK
        h.shutdown()


@test
def the_password_comes_in_each_way_of_nbdkit():
    new_image('nbd.vhdx')
    password = os.environ['PASSWORD']
    pipe, writer = os.pipe()
    os.write(writer, password.encode() + b'\n')
    os.close(writer)
    terminal, tty = pty.openpty()
    for value in (password, '-%d' % pipe, '-'):
        nbdkit = subprocess.Popen(
            ['nbdkit', '-U', '-', PLUGIN,
             'server=' + os.environ['SERVER_IP'],
             'share=' + os.environ['SHARE'], 'path=nbd.vhdx',
             'port=' + os.environ['SERVER_PORT'],
             'user=' + os.environ['USERNAME'], 'password=' + value,
             'config-file=' + os.environ['CONFIGURATION'].split()[1],
             '--run', 'nbdinfo --size $uri'], stdin=tty, pass_fds=[pipe],
            stdout=subprocess.PIPE)
        if value == '-':
            # It asks with the echo off, and forgets what came before.
            wait_for(lambda: not termios.tcgetattr(terminal)[3] &
                     termios.ECHO, 'question')
            os.write(terminal, password.encode() + b'\n')
        output = nbdkit.communicate(timeout=PATIENCE_SEC)[0]
        assert output.endswith(b'%d\n' % SIZE), (value, output)
    for fd in (pipe, terminal, tty):
        os.close(fd)


@test
def qemu_io_writes_with_fua_and_discards():
    image = new_image('nbd.vhdx')
    with Nbdkit() as nbdkit:
        nbdkit.qemu_io('write -P 0x55 1M 64k', 'write -z 64k 64k',
                       'write -f -P 1 8M 4k', 'discard 4M 4M', 'flush',
                       'read -P 0x55 1M 64k', 'read -P 1 8M 4k',
                       'read -P 0 2M 6M')
    assert contents(image)[BLOCK:BLOCK + 65536] == b'\x55' * 65536


BOOT_SECTOR = """
    # What the BIOS loads to 0x7C00 and jumps to, the drive in %dl: copy a
    # sector to another, by INT 13h, and tell what was in it.
    .code16
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    movw $0x7c00, %sp
    movb $0x42, %ah                 # EXTENDED READ
    movw $packet, %si
    int $0x13
    jc end
    movl $TO, packet + 8
    movw $0x4300, %ax               # EXTENDED WRITE
    movw $packet, %si
    int $0x13
    jc end
    movw $0x8000, %si
    movw $0x3f8, %dx                # COM1
next:
    lodsb
    outb %al, %dx
    cmpb $10, %al
    jne next
end:
    outb %al, $0xf4                 # isa-debug-exit
    hlt
packet:
    .byte 16, 0
    .word 1                         # sectors
    .word 0x8000, 0                 # where in memory
    .quad FROM
    .org 510
    .word 0xaa55
"""


@test
def qemu_boots_from_it():
    needs('qemu-system-x86_64', 'as', 'ld')
    source, copy = 40 * BLOCK // 512 + 7, 50 * BLOCK // 512
    message = b'booted %d\n' % random.getrandbits(64)
    image = new_image('nbd.vhdx')
    with Nbdkit() as nbdkit:
        sector = os.path.join(nbdkit.directory, 'sector')
        run('as', '--32', '-o', sector + '.o', input=BOOT_SECTOR.replace(
            'FROM', str(source)).replace('TO', str(copy)).encode())
        run('ld', '-m', 'elf_i386', '-Ttext=0x7c00', '--oformat=binary', '-e',
            '0x7c00', '-o', sector, sector + '.o')
        h = nbdkit.connect()
        with open(sector, 'rb') as f:
            h.pwrite(f.read(), 0)
        h.pwrite(message.ljust(512, b'\0'), source * 512)
        h.shutdown()
        qemu = subprocess.run(
            ['qemu-system-x86_64', '-accel', 'tcg', '-nodefaults', '-display',
             'none', '-no-reboot', '-serial', 'stdio', '-device',
             'isa-debug-exit,iobase=0xf4', '-drive',
             'file=%s,format=raw,if=virtio' % nbdkit.uri],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            timeout=PATIENCE_SEC * 3)
        # isa-debug-exit: the value, shifted, and one
        assert qemu.returncode == 10 << 1 | 1, qemu
        assert message in qemu.stdout, qemu
    assert contents(image)[copy * 512:].startswith(message)


@test
def what_another_initiator_has_reserved_cannot_be_written():
    new_image('nbd.vhdx')

    def reservations(*arguments):
        run('rsvdctl', 'reservations', *os.environ['CONFIGURATION'].split(),
            '-p', os.environ['SERVER_PORT'], '-U',
            '%s%%%s' % (os.environ['USERNAME'], os.environ['PASSWORD']),
            '//%s/%s/nbd.vhdx' % (os.environ['SERVER_IP'],
                                  os.environ['SHARE']), *arguments)

    with Nbdkit() as nbdkit:
        h = nbdkit.connect()
        reservations('register', '--key=1')
        reservations('reserve', '--type=we')
        assert h.pread(512, 0) == bytes(512)
        for write in (lambda: h.pwrite(bytes(512), 0),
                      lambda: h.trim(BLOCK, 0), lambda: h.zero(BLOCK, 0)):
            try:
                write()
                raise AssertionError('that was written')
            except nbd.Error as error:
                assert error.errnum == errno.EPERM, error
        # The release is told as a unit attention, which nobody notices.
        reservations('release')
        h.pwrite(b'y' * 512, 0)
        h.shutdown()


@test
def who_may_only_read_gets_a_read_only_export():
    new_image('nbd.vhdx')
    with Nbdkit(user=os.environ['READER_USERNAME']) as nbdkit:
        h = nbdkit.connect()
        assert h.is_read_only()
        assert h.pread(512, 0) == bytes(512)
        h.shutdown()


@test
def it_ends_at_once_when_it_cannot_attach():
    new_image('nbd.vhdx')
    for keywords, text in (
            ({'password': 'wrong'}, 'NT_STATUS_LOGON_FAILURE'),
            ({'name': 'none.vhdx'}, 'NT_STATUS_OBJECT_NAME_NOT_FOUND'),
            ({'parameters': ['share=' + os.environ['SHARE_PLAIN']]},
             'vfs objects = rsvd'),
            ({'parameters': ['initiator-id=me']}, 'is no GUID'),
            ({'parameters': ['colour=red']}, 'unknown parameter')):
        nbdkit = Nbdkit(**keywords)
        try:
            assert nbdkit.process.wait(PATIENCE_SEC) != 0
            assert text in nbdkit.messages(), nbdkit.messages()
        finally:
            nbdkit.process.kill()
            nbdkit.log.close()
            shutil.rmtree(nbdkit.directory)


@test
def help_and_man_page_have_the_same_parameters():
    help_text = run('nbdkit', PLUGIN, '--help').decode()
    with open(os.path.join(os.environ['TOP'],
                           'docs/man/nbdkit-rsvd-plugin.1.xml')) as f:
        terms = re.findall(r'<term>(.*?)</term>', f.read(), re.DOTALL)
    told = set(re.findall(r'^([a-z-]+)=', help_text, re.MULTILINE))
    documented = {name for term in terms
                  for name in re.findall(r'([a-z-]+)=', term)}
    assert told == documented, told ^ documented


@test
def io_goes_on_when_the_serving_smbd_is_killed():
    image = new_image('nbd.vhdx')
    expected = bytearray(SIZE)
    rng = random.Random(1)
    with Nbdkit() as nbdkit:
        h = nbdkit.connect()
        killed = set()
        for n in range(600):
            # 16 under way at a time.
            cookies = []
            places = rng.sample(range(0, SIZE, 65536), 16)
            for place in places:
                data = rng.randbytes(4096)
                expected[place:place + 4096] = data
                cookies.append(h.aio_pwrite(nbd.Buffer.from_bytearray(
                    bytearray(data)), place))
            if n % 150 == 149:
                pid = serving_smbd(image)
                assert pid is not None and pid not in killed
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            for cookie in cookies:
                while not h.aio_command_completed(cookie):
                    assert h.poll(PATIENCE_SEC * 1000) == 1
        assert len(killed) == 4
        h.flush()
        assert h.pread(SIZE // 2, 0) == expected[:SIZE // 2]
        assert h.pread(SIZE // 2, SIZE // 2) == expected[SIZE // 2:]
        assert nbdkit.messages().count('connected again') == 4
        h.shutdown()
    run('rsvdctl', 'check', image)
    assert contents(image) == expected


@test
def a_server_that_does_not_answer_is_left_for_another():
    image = new_image('nbd.vhdx')
    with Nbdkit(parameters=['timeout=1']) as nbdkit:
        h = nbdkit.connect()
        h.pwrite(b'a' * 512, 0)
        pid = serving_smbd(image)
        os.kill(pid, signal.SIGSTOP)
        try:
            h.pwrite(b'b' * 512, 512)
            assert h.pread(1024, 0) == b'a' * 512 + b'b' * 512
        finally:
            os.kill(pid, signal.SIGKILL)
        assert 'connected again' in nbdkit.messages()
        h.shutdown()


@test
def io_is_held_until_the_server_is_back():
    new_image('nbd.vhdx')
    proxy = Proxy()
    with Nbdkit(port=proxy.port) as nbdkit:
        h = nbdkit.connect()
        h.pwrite(b'a' * 512, 0)
        proxy.cut()
        cookie = h.aio_pwrite(nbd.Buffer.from_bytearray(
            bytearray(b'b' * 512)), 512)
        wait_for(lambda: 'cannot connect' in nbdkit.messages(),
                 'attempt to connect')
        assert not h.aio_command_completed(cookie)
        proxy.open()
        while not h.aio_command_completed(cookie):
            assert h.poll(PATIENCE_SEC * 1000) == 1
        assert h.pread(1024, 0) == b'a' * 512 + b'b' * 512
        h.shutdown()
    proxy.cut()


@test
def io_fails_when_the_server_is_away_for_too_long():
    new_image('nbd.vhdx')
    proxy = Proxy()
    with Nbdkit(port=proxy.port,
                parameters=['reconnect-timeout=1']) as nbdkit:
        h = nbdkit.connect()
        proxy.cut()
        start = time.monotonic()
        try:
            h.pread(512, 0)
            raise AssertionError('that was read')
        except nbd.Error as error:
            assert error.errnum == errno.EIO, error
        assert 0.9 < time.monotonic() - start < PATIENCE_SEC
        # It goes on looking for the server.
        proxy.open()
        wait_for(lambda: 'connected again' in nbdkit.messages(),
                 'connection')
        assert h.pread(512, 0) == bytes(512)
        h.shutdown()
    proxy.cut()


@test
def another_disk_in_its_place_is_not_touched():
    new_image('nbd.vhdx')
    proxy = Proxy()
    with Nbdkit(port=proxy.port,
                parameters=['reconnect-timeout=1']) as nbdkit:
        h = nbdkit.connect()
        h.pwrite(b'a' * 512, 0)
        proxy.cut()
        image = new_image('nbd.vhdx')
        proxy.open()
        try:
            h.pwrite(b'b' * 512, 0)
            raise AssertionError('that was written')
        except nbd.Error as error:
            assert error.errnum == errno.EIO, error
        assert 'NT_STATUS_WRONG_VOLUME' in nbdkit.messages()
        h.shutdown()
    proxy.cut()
    assert contents(image) == bytes(SIZE)


def main():
    global nbd
    missing = None
    if not os.path.exists(PLUGIN):
        missing = 'the plugin was not built'
    elif shutil.which('nbdkit') is None:
        missing = 'no nbdkit'
    else:
        try:
            import nbd
        except ImportError:
            missing = 'no python3-libnbd'
    if missing:
        print('1..0 # SKIP ' + missing)
        return 0

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
        print('%s %d - %s%s' % (result, number,
                                function.__name__.replace('_', ' '), note),
              flush=True)
    return 1 if failed else 0


sys.exit(main())
