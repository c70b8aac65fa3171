#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""
record.py FILE.pcap COMMAND...: run COMMAND with a SERVER_PORT that leads to
the real one, and record what goes over it.

A capture of the network would need privileges, could miss packets and would
have to be waited for. This relays the bytes and writes them as what tshark
can read: one packet for each piece that came, with headers made up for it.
The port of the server is the real one there.
"""

import os
import socket
import struct
import subprocess
import sys
import threading
import time

SERVER = ('127.0.0.1', int(os.environ.get('SERVER_PORT', 445)))
LINKTYPE_RAW = 101
FIN, SYN, PUSH, ACK = 0x01, 0x02, 0x08, 0x10
# What fits into an IPv4 packet, with room for the headers.
CHUNK = 60000


class Recording:
    def __init__(self, path):
        self.lock = threading.Lock()
        self.file = open(path, 'wb')
        self.file.write(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0,
                                    65535, LINKTYPE_RAW))

    def packet(self, source, target, sequence, acknowledged, flags, data=b''):
        address = socket.inet_aton(SERVER[0])
        tcp = struct.pack('>HHIIBBHHH', source, target,
                          sequence & 0xffffffff, acknowledged & 0xffffffff,
                          5 << 4, flags, 65535, 0, 0) + data
        ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(tcp), 0, 0, 64,
                         socket.IPPROTO_TCP, 0, address, address)
        now = time.time()
        self.file.write(struct.pack('<IIII', int(now), int(now % 1 * 1e6),
                                    len(ip + tcp), len(ip + tcp)) + ip + tcp)


class Relay(threading.Thread):
    """One connection, in both directions."""

    def __init__(self, recording, client):
        super().__init__()
        self.recording = recording
        self.client = client
        self.server = socket.create_connection(SERVER)
        self.ports = (client.getpeername()[1], SERVER[1])
        self.sent = [1, 1]

    def packet(self, side, flags, data=b''):
        self.recording.packet(self.ports[side], self.ports[1 - side],
                              self.sent[side], self.sent[1 - side], flags,
                              data)
        self.sent[side] += len(data)

    def pump(self, side, source, target):
        while True:
            try:
                data = source.recv(CHUNK)
            except ConnectionResetError:
                data = b''
            # Recorded before it goes on: the answer must not come first.
            with self.recording.lock:
                self.packet(side, PUSH | ACK if data else FIN | ACK, data)
            try:
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
            except OSError:
                return

    def run(self):
        with self.recording.lock:
            self.sent = [0, 0]
            self.packet(0, SYN)
            self.sent = [1, 0]
            self.packet(1, SYN | ACK)
            self.sent = [1, 1]
            self.packet(0, ACK)
        other = threading.Thread(target=self.pump,
                                 args=(1, self.server, self.client))
        other.start()
        self.pump(0, self.client, self.server)
        other.join()
        self.client.close()
        self.server.close()


def main(path, command):
    recording = Recording(path)
    relays = []
    with socket.socket() as listener:
        listener.bind((SERVER[0], 0))
        listener.listen()

        def accept():
            while True:
                client, _ = listener.accept()
                relays.append(Relay(recording, client))
                relays[-1].start()

        threading.Thread(target=accept, daemon=True).start()
        environment = dict(os.environ)
        environment['SERVER_PORT'] = str(listener.getsockname()[1])
        status = subprocess.call(command, env=environment)
    for relay in relays:
        relay.join()
    recording.file.close()
    return status


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__.strip())
    sys.exit(main(sys.argv[1], sys.argv[2:]))
