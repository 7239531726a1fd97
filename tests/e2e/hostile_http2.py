"""A client that speaks HTTP/2 by hand, to do with it what no gRPC client does. Standard library only (RFC 9113, RFC 7541)."""

import socket
import ssl
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
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


def begin_messages(client, method, streams, size):
    """Sends on each of so many streams a message of `size` bytes but its last, as fast as the other side's windows allow. How many bytes of
    messages went out, and whether the connection was cut."""
    left = {}
    windows = {0: 65535}
    sent = 0
    received = b""
    client.settimeout(5)
    try:
        for stream in range(1, 2 * streams, 2):
            client.sendall(frame(HEADERS, headers(method), END_HEADERS, stream))
            left[stream] = b"\x00" + struct.pack(">I", size) + b"x" * (size - 1)
            windows[stream] = 65535
        while any(left.values()):
            ready = [stream for stream, rest in left.items() if rest and windows[stream] > 0 and windows[0] > 0]
            for stream in ready:
                piece = left[stream][:max(0, min(16384, windows[stream], windows[0]))]
                client.sendall(frame(DATA, piece, 0, stream))
                left[stream] = left[stream][len(piece):]
                sent += len(piece)
                windows[stream] -= len(piece)
                windows[0] -= len(piece)
            if not ready:
                came = client.recv(65536)
                if not came:
                    return sent, True
                received += came
            while len(received) >= 9 and len(received) >= 9 + int.from_bytes(received[:3], "big"):
                length, kind, stream = int.from_bytes(received[:3], "big"), received[3], int.from_bytes(received[5:9], "big")
                if kind == WINDOW_UPDATE:
                    windows[stream] = windows.get(stream, 65535) + int.from_bytes(received[9:13], "big")
                elif kind == SETTINGS and received[4] == 0:
                    client.sendall(frame(SETTINGS, b"", 1))
                elif kind == PING and received[4] == 0:
                    client.sendall(frame(PING, received[9:17], 1))
                elif kind == RESET:
                    left[stream] = b""
                received = received[9 + length:]
    except TimeoutError:
        return sent, False
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
