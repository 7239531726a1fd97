"""A client that speaks HTTP/2 by hand, to do with it what no gRPC client does. Standard library only (RFC 9113, RFC 7541)."""

import socket
import ssl
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_HEADERS = 4


def frame(kind, payload, flags=0, stream=0):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(method):
    """The header block of a call, without compression."""
    fields = ((":method", "POST"), (":scheme", "https"), (":path", method), (":authority", "attacker"),
              ("content-type", "application/grpc"), ("te", "trailers"))
    return b"".join(b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields)


def connect(port, tls=None, timeout=20):
    """A connection with its preface sent; `tls` are the paths of the CA, a certificate and its key, or None for none at all."""
    client = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    if tls is None:
        return client
    context = ssl.create_default_context(cafile=tls[0])
    context.load_cert_chain(tls[1], tls[2])
    context.set_alpn_protocols(["h2"])
    client = context.wrap_socket(client, server_hostname="127.0.0.1")
    client.sendall(PREFACE + frame(SETTINGS, b""))
    return client


def push(client, pieces):
    """Sends the pieces until all are sent or the other side has had enough. How many bytes went out, and whether it was cut off."""
    sent = 0
    try:
        for piece in pieces:
            client.sendall(piece)
            sent += len(piece)
    except OSError:
        return sent, True
    return sent, is_cut(client)


def is_cut(client):
    """Whether the other side ends the connection before the client's time is over; what it says before is read and dropped."""
    try:
        while client.recv(65536):
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True
