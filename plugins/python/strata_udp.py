#!/usr/bin/python3
"""A Strata transport in Python: envelopes flood the nodes of a LAN over UDP.

It speaks with plugins/udp, whose README has the wire format: a node sends what
is new to it to all its peers, and again, at growing intervals, to those that
have not said that they have it, until its time to live is over.
"""

import strata_transport as strata  # first: it takes stdout away

import contextlib
import hashlib
import select
import socket
import struct
import threading
import time
from types import SimpleNamespace

HEAD = struct.Struct(">B4sqI")  # kind, topic, sent, TTL; the data follows
DATA, HAVE = b"\1", b"\2"  # kinds: an envelope, and the key of one that has arrived
MAX_DATA = 60_000  # bytes: a datagram carries 65507 at most
MAX_TTL = 600  # seconds, so that memory is not filled for longer
MAX_AHEAD = 20  # seconds that a sender's clock may be in front of ours
MAX_PEERS = 64
MAX_HELD, MAX_BYTES = 1 << 13, 32 << 20  # held; what comes from outside may fill half
TICK = 0.05  # seconds between looks at what is due
FIRST_WAIT, LAST_WAIT = 0.2, 4.0  # seconds between two sends, doubled each time


class UDP(strata.Transport):
    def __init__(self):
        self.lock = threading.Lock()  # guards held and size
        self.held, self.size = {}, 0  # packets by their key, and their bytes
        self.topics, self.everything, self.thread = set(), False, None
        self.closed = threading.Event()
        self.count = dict.fromkeys(("sent", "received", "refused"), 0)

    def open(self, config, folder):
        listen, peers = strata.settings(config, listen="0.0.0.0:40400", peers=[])
        if len(peers) > MAX_PEERS:
            raise strata.Error(strata.INVALID, f"has more than {MAX_PEERS} addresses", "peers")
        self.others = [strata.address(peer, "peers") for peer in peers]
        host, port = strata.address(listen, "listen")
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.setblocking(False)
        try:
            self.socket.bind((host, port))
        except OSError as err:
            raise strata.Error(strata.INVALID, err.strerror, "listen")
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        self.host.peers(len(self.others))
        return strata.Info(name="python-udp", version="1.0.0", max_data=MAX_DATA, max_ttl=MAX_TTL,
                           latency_ms=1000, receiver=2, storage=1)

    def subscribe(self, topics, everything):
        self.topics, self.everything = topics, everything
        with self.lock:
            for held in self.held.values():
                self.tell(held)

    def publish(self, e):
        if e.sent + e.ttl <= time.time():
            raise strata.Error(strata.EXPIRED)
        if not self.hold(HEAD.pack(DATA[0], e.topic, e.sent, e.ttl) + e.data, e, MAX_HELD, MAX_BYTES, told=True):
            raise strata.Error(strata.BUSY)

    def hold(self, packet, e, room, size, told, origin=None):
        """Send a packet on, now and later. Returns its key; None if there is no room."""
        name = hashlib.sha256(packet[1:]).digest()  # of all but the kind
        with self.lock:
            if name in self.held:
                return name
            if len(self.held) >= room or self.size + len(packet) > size:
                return None
            self.held[name] = held = SimpleNamespace(
                packet=packet, envelope=e, told=told, missing=set(self.others) - {origin}, wait=FIRST_WAIT)
            self.size += len(packet)
            self.send(held, time.time())
            self.tell(held)
        return name

    def tell(self, held):
        if not held.told and (self.everything or held.envelope.topic in self.topics):
            held.told = self.host.deliver(held.envelope)
            self.count["received"] += held.told

    def send(self, held, now):
        for peer in held.missing:
            self.write(held.packet, peer)
        held.again, held.wait = now + held.wait, min(2 * held.wait, LAST_WAIT)

    def write(self, packet, peer):
        with contextlib.suppress(OSError):  # lost, as any datagram may be; it is sent again
            self.socket.sendto(packet, peer)
            self.count["sent"] += 1

    def run(self):
        due = 0
        with self.socket:
            while not self.closed.is_set():
                if select.select([self.socket], [], [], TICK)[0]:
                    self.receive()
                if (now := time.time()) >= due:
                    self.repeat(now)
                    due = now + TICK

    def receive(self):
        try:
            packet, origin = self.socket.recvfrom(1 << 16)
        except OSError:
            return  # a peer that does not listen; it may later
        origin = origin[:2]
        if packet[:1] == HAVE:
            with self.lock:
                if held := self.held.get(packet[1:]):
                    held.missing.discard(origin)
            return
        kind, topic, sent, ttl = HEAD.unpack_from(packet.ljust(HEAD.size, b"\0"))
        e, now = strata.Envelope(topic=topic, data=packet[HEAD.size:], sent=sent, ttl=ttl), time.time()
        if kind != DATA[0] or not 0 < len(e.data) <= MAX_DATA or not 0 < ttl <= MAX_TTL or not now - ttl < sent <= now + MAX_AHEAD:
            self.count["refused"] += 1
        elif name := self.hold(packet, e, MAX_HELD // 2, MAX_BYTES // 2, told=False, origin=origin):
            self.write(HAVE + name, origin)

    def repeat(self, now):
        """Send again what is due, and forget what has expired."""
        with self.lock:
            for name, held in list(self.held.items()):
                if held.envelope.sent + held.envelope.ttl <= now:
                    del self.held[name]
                    self.size -= len(held.packet)
                elif held.again <= now:
                    self.send(held, now)
                    self.tell(held)

    def stats(self):
        return [strata.Stat(name=name + "_total", value=value) for name, value in self.count.items()]

    def close(self):
        self.closed.set()
        if self.thread:
            self.thread.join()


if __name__ == "__main__":
    strata.serve(UDP)
