"""The runtime of a Strata transport plugin in Python: copy this file.

It speaks the protocol of transport.proto for you: the handshake, TLS, health,
credits, versions 1 and 2, and the end of the process. You write a Transport and
call serve with it; strata_udp.py is an example. It needs the Debian packages
python3-grpcio, python3-protobuf and python3-cryptography, and the generated
files transport_pb2.py and transport_pb2_grpc.py beside it.

Import it before anything that may print: from then on what is written to the
standard output goes to the node's log, as what is written to standard error.
"""

import os
import sys

HANDSHAKE = os.fdopen(os.dup(1), "w")  # the only thing that belongs on stdout
os.dup2(2, 1)

import base64
import collections
import datetime
import ipaddress
import json
import logging
import signal
import threading
import uuid
from concurrent import futures

import grpc

import transport_pb2 as pb
import transport_pb2_grpc as rpc

Envelope, Info, Peer, Stat = pb.Envelope, pb.Info, pb.Peer, pb.Stat

INTERNAL, INVALID, TOO_LARGE, EXPIRED, BUSY, UNAVAILABLE, UNSUPPORTED, CLOSED = range(8)
RELAYED, OUTLIVED, FAILED = 1, 2, 3  # outcomes of a receipt

MAX_BATCH = 256  # envelopes in a frame
MAX_BYTES = 1 << 20  # of the envelopes in a frame
MAX_FRAME = MAX_BYTES + (64 << 10)  # bytes of a whole frame
WINDOW = 1024  # envelopes that the node may have under way to us
MAX_QUEUE = 4096  # received envelopes that wait for credit; more are dropped
MAX_QUEUE_BYTES = 16 << 20
VERSIONS = (1, 2)

log = logging.getLogger("transport")


class Error(Exception):
    """An error that keeps its kind on the way to the node."""

    def __init__(self, code, reason="", field=""):
        super().__init__(reason)
        self.wire = pb.Error(code=code, field=field, reason=reason[:256])


def settings(config, **defaults):
    """The values of the settings in the order of their defaults, which also say
    the types. A key without a default is an error."""
    for key, value in config.items():
        if key not in defaults:
            raise Error(INVALID, f"is no known setting; known are {', '.join(defaults)}", key)
        if type(value) is not type(defaults[key]):
            raise Error(INVALID, f"is {type(value).__name__}, expected {type(defaults[key]).__name__}", key)
    return [config.get(key, default) for key, default in defaults.items()]


def address(text, field):
    """An address as "192.0.2.1:5" or "[2001:db8::1]:5" in the form of sockets."""
    try:
        host, _, port = text.rpartition(":")
        if not 0 <= int(port) < 1 << 16:
            raise ValueError
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)
    except (ValueError, AttributeError):
        raise Error(INVALID, f"{text!r:.60} is no IP address with a port", field) from None


class Transport:
    """What you write. Open comes first and once, close last; publish and
    subscribe come between them, each from a thread of its own. An exception that
    is no Error reaches the node as an internal one. If you define query, peers or
    stats as in transport.proto, the node may call them."""

    host = None  # a Host, set before open

    def open(self, config, folder):
        """Start with the settings, a dict, and return an Info."""
        raise NotImplementedError

    def subscribe(self, topics, everything):
        """Deliver from now on the envelopes of these topics, a set of bytes."""

    def publish(self, envelope):
        """Take charge of an envelope, or raise an Error. Do not wait."""
        raise NotImplementedError

    def close(self):
        """Free everything."""


class Host:
    """What the runtime offers to a Transport. Every method returns at once and
    may be called from any thread."""

    def __init__(self, version):
        self.version, self.dropped = version, 0
        self.done = threading.Event()  # the process is to end
        self._changed = threading.Condition()
        self._frames = collections.deque()  # bounded by the credits we gave
        self._queue, self._bytes, self._credit = collections.deque(), 0, 0

    def deliver(self, envelope):
        """Report an envelope from the network; says whether there was room."""
        with self._changed:
            if len(self._queue) >= MAX_QUEUE or self._bytes + len(envelope.data) > MAX_QUEUE_BYTES:
                self.dropped += 1
                return False
            self._queue.append(envelope)
            self._bytes += len(envelope.data)
            self._changed.notify()
            return True

    def receipt(self, id, outcome, reason=""):
        """Say what became of a published envelope, if Info.receipts."""
        if self.version >= 2:
            self._send(pb.PluginFrame(receipts={"receipts": [{"id": id, "outcome": outcome, "reason": reason[:256]}]}))

    def peers(self, count):
        """Say how many peers take envelopes from this node."""
        self._send(pb.PluginFrame(peers={"count": count}))

    def _send(self, frame):
        with self._changed:
            self._frames.append(frame)
            self._changed.notify()

    def _grant(self, envelopes):
        with self._changed:
            self._credit += envelopes
            self._changed.notify()

    def _end(self):
        self.done.set()
        with self._changed:
            self._changed.notify_all()

    def _next(self):
        """The next frame to write, or None at the end."""
        with self._changed:
            while not (self._frames or self._queue and self._credit or self.done.is_set()):
                self._changed.wait()
            if self.done.is_set():
                return None
            if self._frames:
                return self._frames.popleft()
            batch, size = [], 0
            while self._queue and len(batch) < min(MAX_BATCH, self._credit):
                if batch and size + len(self._queue[0].data) > MAX_BYTES:
                    break
                batch.append(self._queue.popleft())
                size += len(batch[-1].data)
            self._credit, self._bytes = self._credit - len(batch), self._bytes - size
            return pb.PluginFrame(received=pb.Batch(envelopes=batch))


def _error(err):
    if isinstance(err, Error):
        return err.wire
    log.error("%s: %s", type(err).__name__, err, exc_info=err)
    return pb.Error(code=INTERNAL, reason=f"{type(err).__name__}: {err}"[:256])


class _Service(rpc.TransportServicer):
    def __init__(self, transport):
        self.transport, self.host = transport, transport.host
        self.closing, self.closed = threading.Lock(), False

    def Open(self, request, context):
        try:
            config = json.loads(request.config or b"{}")
            if not isinstance(config, dict):
                raise Error(INVALID, "is no mapping", "config")
            info = self.transport.open(config, request.dir)
        except Exception as err:
            return pb.OpenReply(error=_error(err))
        if self.host.version >= 2:
            info.can_query, info.can_peers, info.can_stats = (
                hasattr(self.transport, name) for name in ("query", "peers", "stats"))
        else:
            for field in ("receipts", "privacy", "addresses"):
                info.ClearField(field)
        return pb.OpenReply(info=info)

    def Subscribe(self, request, context):
        raw = request.topics
        topics = {raw[i:i + 4] for i in range(0, len(raw), 4)}
        return self._call(pb.SubscribeReply, lambda: self.transport.subscribe(topics, request.all))

    def Pipe(self, frames, context):
        context.add_callback(self.host._end)
        self.host._send(pb.PluginFrame(credit={"envelopes": WINDOW}))
        threading.Thread(target=self._read, args=(frames,), daemon=True).start()
        while frame := self.host._next():
            yield frame

    def _read(self, frames):
        try:
            for frame in frames:
                if frame.HasField("credit"):
                    self.host._grant(frame.credit.envelopes)
                elif frame.HasField("publish"):
                    envelopes = frame.publish.envelopes
                    self.host._send(pb.PluginFrame(results={"results": [self._publish(e) for e in envelopes]}))
                    self.host._send(pb.PluginFrame(credit={"envelopes": len(envelopes)}))
        except grpc.RpcError:
            pass  # the node is gone, or has ended the pipe
        finally:
            self.host._end()

    def _publish(self, envelope):
        try:
            if self.closed:
                raise Error(CLOSED)
            self.transport.publish(envelope)
            return pb.Result(id=envelope.id)
        except Exception as err:
            return pb.Result(id=envelope.id, error=_error(err))

    def Query(self, request, context):
        return self._call(pb.QueryReply, lambda: self.transport.query(request))

    def Peers(self, request, context):
        return self._call(pb.PeersReply, lambda: pb.PeersReply(peers=self.transport.peers()))

    def Stats(self, request, context):
        return self._call(pb.StatsReply, lambda: pb.StatsReply(stats=self.transport.stats()))

    def Close(self, request, context):
        threading.Timer(1, self.host._end).start()  # unless the node ends the pipe before
        return self._call(pb.CloseReply, self.close)

    def close(self):
        with self.closing:
            if not self.closed:
                self.closed = True
                self.transport.close()

    def _call(self, reply, do):
        try:
            return do() or reply()
        except Exception as err:
            return reply(error=_error(err))


def _certificate():
    """A key and a certificate for this start, as PEM, and the latter as DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.utcnow(), datetime.timedelta(days=1)
    cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - day).not_valid_after(now + 10000 * day)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256()))
    pem = form.Encoding.PEM
    secret = key.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption())
    return secret, cert.public_bytes(pem), cert.public_bytes(form.Encoding.DER)


def _plugin_services():
    """Health and controller of go-plugin: two calls, their messages as bytes."""
    def handlers(service, **methods):
        return grpc.method_handlers_generic_handler(service, {
            name: grpc.unary_unary_rpc_method_handler(do) for name, do in methods.items()})

    def check(request, context):
        if request != b"\n\x06plugin":  # field 1, the name of the service
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b"\x08\x01"  # field 1, the status: SERVING

    return lambda shutdown: (handlers("grpc.health.v1.Health", Check=check),
                             handlers("plugin.GRPCController", Shutdown=shutdown))


class _JSONLines(logging.Formatter):
    def format(self, record):
        return json.dumps({"@level": record.levelname.lower(), "@message": super().format(record)})


def _end_with_parent(host):
    parent = os.getppid()
    while os.getppid() == parent and not host.done.wait(0.5):
        pass
    host._end()


def serve(new):
    """Run the plugin until the node is done with it: the whole of a main. new
    returns the Transport."""
    if os.environ.get("STRATA_TRANSPORT") != "v1":
        sys.exit(f"{sys.argv[0]} is a transport plugin of Strata: name it in a node's "
                 "configuration file, or try it with: strata plugin test")
    offered = os.environ.get("PLUGIN_PROTOCOL_VERSIONS", "").split(",")
    version = max((v for v in VERSIONS if str(v) in offered), default=0)
    if not version:
        sys.exit(f"the node speaks the versions {offered}, this plugin {VERSIONS}")
    handler = logging.StreamHandler()
    handler.setFormatter(_JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the node

    transport = new()
    transport.host = host = Host(version)
    threading.Thread(target=_end_with_parent, args=(host,), daemon=True).start()
    service = _Service(transport)
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[
        ("grpc.max_receive_message_length", MAX_FRAME), ("grpc.max_send_message_length", MAX_FRAME)])
    rpc.add_TransportServicer_to_server(service, server)

    def shutdown(request, context):
        host._end()
        return b""

    server.add_generic_rpc_handlers(_plugin_services()(shutdown))
    os.umask(0o077)
    path = os.path.join(os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or ".", f"py{uuid.uuid4().hex[:8]}")
    client, der = os.environ.get("PLUGIN_CLIENT_CERT"), b""
    if client:
        key, certificate, der = _certificate()
        server.add_secure_port("unix:" + path, grpc.ssl_server_credentials(
            [(key, certificate)], client.encode(), require_client_auth=True))
    else:
        server.add_insecure_port("unix:" + path)
    server.start()
    print(f"1|{version}|unix|{path}|grpc|{base64.b64encode(der).decode().rstrip('=')}", file=HANDSHAKE, flush=True)

    host.done.wait()
    server.stop(0.5).wait()
    try:
        service.close()
    finally:
        os._exit(0)  # whatever threads are left
