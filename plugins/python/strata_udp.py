#!/usr/bin/python3
"""A Strata transport in Python: envelopes flood the nodes of a LAN over UDP.

A node sends every envelope it gets to all its peers, again and again at growing
intervals until its time to live is over, and forgets it then. Copies are told
by their hash. There is no encryption and no authentication of peers: those
above need none, but everybody on the way sees the topics.
"""

import strata_transport as strata  # first: it takes stdout away

import hashlib
import heapq
import ipaddress
import selectors
import socket
import struct
import threading
import time

HEAD = struct.Struct(">4s4sqI")  # magic, topic, sent, TTL; the data follows
MAGIC = b"SPY1"
MAX_DATA = 60_000  # bytes; with the head it fits into a datagram
MAX_TTL = 3600  # seconds
MAX_AHEAD = 20  # seconds that a sender's clock may be in front of ours
MAX_PEERS = 64
MAX_HELD = 4096  # envelopes held; what comes beyond is busy, or sent on once
MAX_HELD_BYTES = 32 << 20
FIRST_INTERVAL, MAX_INTERVAL = 1.0, 60.0  # seconds between two sends of one


class UDP(strata.Transport):
    def __init__(self):
        self.lock = threading.Lock()
        self.socket, self.peers_set, self.topics, self.everything = None, [], set(), False
        self.seen = {}  # hash: when its envelope expires, in the order of arrival
        self.due, self.bytes = [], 0  # heap of (when, hash, interval, expiry, datagram)
        self.count = dict.fromkeys(("sent", "received", "repeated", "refused"), 0)

    def open(self, config, folder):
        for key in config:
            if key not in ("listen", "peers"):
                raise strata.Error(strata.INVALID, "is no known setting; known are listen, peers", key)
        listen, peers = config.get("listen", "0.0.0.0:40400"), config.get("peers", [])
        if not isinstance(peers, list) or len(peers) > MAX_PEERS:
            raise strata.Error(strata.INVALID, f"is no list of at most {MAX_PEERS} addresses", "peers")
        address = parse(listen, "listen", 0)
        self.peers_set = [parse(peer, f"peers[{i}]", 1) for i, peer in enumerate(peers)]
        self.socket = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.setblocking(False)
        try:
            self.socket.bind(address)
        except OSError as err:
            raise strata.Error(strata.UNAVAILABLE, f"{listen}: {err.strerror}", "listen")
        self.running, (self.alarm, self.bell) = True, socket.socketpair()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.host.peers(len(self.peers_set))
        return strata.Info(name="python-udp", version="1", max_data=MAX_DATA, max_ttl=MAX_TTL,
                           latency_ms=1000, storage=1)

    def subscribe(self, topics, everything):
        self.topics, self.everything = topics, everything

    def publish(self, envelope):
        if len(envelope.data) > MAX_DATA:
            raise strata.Error(strata.TOO_LARGE, f"has more than {MAX_DATA} bytes", "data")
        expiry = envelope.sent + envelope.ttl
        if expiry <= time.time():
            raise strata.Error(strata.EXPIRED)
        datagram = HEAD.pack(MAGIC, envelope.topic, envelope.sent, envelope.ttl) + envelope.data
        with self.lock:
            if len(self.due) >= MAX_HELD or self.bytes + len(datagram) > MAX_HELD_BYTES:
                raise strata.Error(strata.BUSY)
            self.spread(datagram, expiry)

    def spread(self, datagram, expiry, origin=None):
        """Send a datagram unless it was seen, and again later; say if it is new."""
        name = hashlib.sha256(datagram).digest()[:16]
        if name in self.seen or len(self.seen) >= 4 * MAX_HELD:
            self.count["repeated"] += 1
            return False
        self.seen[name] = expiry
        self.send(datagram, origin)
        if len(self.due) < MAX_HELD and self.bytes + len(datagram) <= MAX_HELD_BYTES:
            self.bytes += len(datagram)
            heapq.heappush(self.due, (time.time() + FIRST_INTERVAL, name, FIRST_INTERVAL, expiry, datagram))
            if self.due[0][1] == name:
                self.bell.send(b".")  # the sleeper would sleep too long
        return True

    def send(self, datagram, origin=None):
        for peer in self.peers_set:
            if peer != origin:
                try:
                    self.socket.sendto(datagram, peer)
                    self.count["sent"] += 1
                except OSError:
                    pass  # lost, as any datagram may be; it is sent again

    def run(self):
        with selectors.DefaultSelector() as wait:
            wait.register(self.socket, selectors.EVENT_READ)
            wait.register(self.alarm, selectors.EVENT_READ)
            while self.running:
                sleep = max(0, self.due[0][0] - time.time()) if self.due else MAX_INTERVAL
                for key, _ in wait.select(sleep):
                    self.alarm.recv(4096) if key.fileobj is self.alarm else self.receive()
                with self.lock:
                    self.resend(time.time())

    def receive(self):
        try:
            datagram, origin = self.socket.recvfrom(1 << 16)
        except OSError:
            return  # a peer that does not listen; it may later
        magic, topic, sent, ttl = HEAD.unpack_from(datagram.ljust(HEAD.size, b"\0"))
        now, data = time.time(), datagram[HEAD.size:]
        if (magic != MAGIC or not 0 < len(data) <= MAX_DATA or not 0 < ttl <= MAX_TTL
                or not now - ttl < sent < now + MAX_AHEAD):
            self.count["refused"] += 1
            return
        with self.lock:
            new = self.spread(datagram, sent + ttl, origin[:2])
        if new and (self.everything or topic in self.topics):
            self.count["received"] += 1
            self.host.deliver(strata.Envelope(topic=topic, data=data, sent=sent, ttl=ttl))

    def resend(self, now):
        """Send what is due, and forget what nobody carries any more."""
        while self.due and self.due[0][0] <= now:
            _, name, interval, expiry, datagram = heapq.heappop(self.due)
            if now < expiry:
                self.send(datagram)
                interval = min(2 * interval, MAX_INTERVAL)
                heapq.heappush(self.due, (min(now + interval, expiry), name, interval, expiry, datagram))
            else:
                self.bytes -= len(datagram)
                self.seen.pop(name, None)

    def stats(self):
        return [strata.Stat(name=name + "_total", value=value) for name, value in self.count.items()]

    def close(self):
        self.running = False
        if self.socket:
            self.bell.send(b".")
            self.thread.join()
            self.socket.close()


def parse(text, field, least):
    """An address "1.2.3.4:5" or "[::1]:5" as sockets want it."""
    try:
        host, _, port = text.rpartition(":")
        host = str(ipaddress.ip_address(host.strip("[]")))
        if not least <= int(port) < 1 << 16:
            raise ValueError
        return host, int(port)
    except (ValueError, AttributeError):
        raise strata.Error(strata.INVALID, "is no IP address with a port, as 192.0.2.1:40400", field)


if __name__ == "__main__":
    strata.serve(UDP)
