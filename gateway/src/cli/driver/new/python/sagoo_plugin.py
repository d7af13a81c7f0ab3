"""The driver as a plugin of go-plugin: the one line on stdout, the socket, the certificate, the services.

Always true: a gateway that is gone takes the driver with it.
"""

import base64
import concurrent.futures
import datetime
import os
import queue
import signal
import sys
import tempfile
import threading
import time

import grpc

import contract
from sagoo_session import Runner, Session, check

HEARTBEAT_S = 2
MOST_MESSAGE_BYTES = 32 << 20


class Plugin:
    """go-plugin's side of the driver: services, socket, certificate, the one line on stdout."""

    def __init__(self, driver):
        self.driver, self.runner, self.over = driver, Runner(driver), threading.Event()

    def session(self, messages, context):
        session = Session()
        self.runner.work.put((self.runner.open, session))
        context.add_callback(session.end)

        def hear():
            try:
                for message in messages:
                    kind = message.WhichOneof("message")
                    if kind in ("configure", "ack", "command", "release", "stop") and not session.ended.is_set():
                        self.runner.work.put((getattr(self.runner, kind), getattr(message, kind)))
            except grpc.RpcError:
                pass  # the gateway is gone; its successor opens a session of its own

        threading.Thread(target=hear, daemon=True).start()
        next_beat = time.monotonic()
        while not session.ended.is_set():
            if time.monotonic() >= next_beat and self.runner.configured:
                next_beat = time.monotonic() + HEARTBEAT_S
                yield contract.DriverMessage(heartbeat=self.runner.heartbeat())
            try:
                message = session.out.get(timeout=0.2)
            except queue.Empty:
                continue
            if message is None:
                return
            yield message

    def services(self):
        d, c = self.driver, contract
        described = c.DescribeResponse(name=d.name, version=d.version, title=d.title,
                                       config_schema=d.schema, abilities=list(d.abilities))
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        raw = bytes  # messages of others, too small to be worth their classes
        yield "sagoo.driver.v1.Driver", {
            "Describe": unary(lambda _r, _c: described, c.DescribeRequest.FromString,
                              c.DescribeResponse.SerializeToString),
            "Check": unary(lambda r, _c: check(d, r.configuration), c.CheckRequest.FromString,
                           c.CheckResponse.SerializeToString),
            "Session": stream(self.session, c.HostMessage.FromString, c.DriverMessage.SerializeToString),
        }
        yield "grpc.health.v1.Health", {"Check": unary(lambda _r, _c: b"\x08\x01", raw, raw)}  # SERVING
        yield "plugin.GRPCController", {"Shutdown": unary(self.shutdown, raw, raw)}

    def shutdown(self, _request, _context):
        self.over.set()
        return b""

    def serve(self):
        if os.environ.get("SAGOO_EDGE_PLUGIN") != "sagoo_edge_driver":
            sys.exit("This binary is a plugin. It is a driver of Sagoo Edge: install its package, and "
                     "sagoo-edge starts it.")
        if "1" not in os.environ.get("PLUGIN_PROTOCOL_VERSIONS", "1").split(","):
            sys.exit("the gateway does not speak version 1 of the contract; update the driver")
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which tells us
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8), options=[
            ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES)])
        for name, methods in self.services():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        folder = os.environ.get("PLUGIN_UNIX_SOCKET_DIR") or tempfile.gettempdir()
        path = os.path.join(folder, f"plugin{os.getpid()}")
        host, certificate = os.environ.get("PLUGIN_CLIENT_CERT"), ""
        if host:
            key, pem, der = own_certificate()
            server.add_secure_port("unix:" + path, grpc.ssl_server_credentials(
                [(key, pem)], root_certificates=host.encode(), require_client_auth=True))
            certificate = base64.b64encode(der).decode().rstrip("=")
        else:
            server.add_insecure_port("unix:" + path)
        parent = os.getppid()
        server.start()
        self.runner.start()
        sys.stdout.write(f"1|1|unix|{path}|grpc|{certificate}\n")
        sys.stdout.flush()
        while not self.over.wait(0.5) and os.getppid() == parent:
            pass
        server.stop(1).wait(1)
        try:
            os.unlink(path)
        except OSError:
            pass
        os._exit(0)


def own_certificate():
    """A key and a certificate for this process alone, as go-plugin's AutoMTLS has them."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(datetime.datetime(2000, 1, 1))  # clocks of boxes are wrong
    builder = builder.not_valid_after(datetime.datetime(2100, 1, 1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    return private, certificate.public_bytes(pem), certificate.public_bytes(der)
