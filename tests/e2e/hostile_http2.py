"""A client that speaks HTTP/2 by hand, to do with it what no gRPC client does. Standard library only (RFC 9113, RFC 7541)."""

import socket
import ssl
import struct
import urllib.parse

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind, payload, flags=0, stream=0):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def headers(method, *more):
    """The header block of a call, without compression; `more` are pairs of a name and a value."""
    fields = ((":method", "POST"), (":scheme", "https"), (":path", method), (":authority", "attacker"),
              ("content-type", "application/grpc"), ("te", "trailers"), *more)
    return b"".join(b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode() for name, value in fields)


def connect(port, tls=None, timeout=20):
    """A connection with its preface sent; `tls` are the paths of the CA and, if the client has one, a certificate and its key; or
    None for no TLS at all."""
    client = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    if tls is None:
        return client
    context = ssl.create_default_context(cafile=tls[0])
    if len(tls) > 1:
        context.load_cert_chain(*tls[1:])
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


def message(payload, compressed=0):
    """One message of a call."""
    return struct.pack(">BI", compressed, len(payload)) + payload


def call(client, method, body=b"", *more):
    """Makes a call over a connection on which nothing was called before. The status that the server ends it with, and its message; None and
    the error of the connection if that ends first."""
    try:
        client.sendall(frame(HEADERS, headers(method, *more), END_HEADERS, 1) + frame(DATA, body, END_STREAM, 1))
        return _status(client)
    except OSError as error:
        return None, str(error)


def _status(client):
    received = b""
    table = []
    while True:
        came = client.recv(65536)
        if not came:
            return None, "the connection was closed"
        received += came
        while len(received) >= 9 and len(received) >= 9 + int.from_bytes(received[:3], "big"):
            length, kind, flags = int.from_bytes(received[:3], "big"), received[3], received[4]
            payload, received = received[9:9 + length], received[9 + length:]
            if kind == HEADERS:
                fields = dict(_fields(payload, table))
                if "grpc-status" in fields:
                    return int(fields["grpc-status"]), urllib.parse.unquote(fields.get("grpc-message", ""))
            elif kind == RESET:
                return None, f"the stream was reset: {int.from_bytes(payload, 'big')}"
            elif kind == SETTINGS and not flags:
                client.sendall(frame(SETTINGS, b"", 1))
            elif kind == PING and not flags:
                client.sendall(frame(PING, payload, 1))


_STATIC = 61  # entries of HPACK's own table, of which a status is none


def _fields(block, table):
    """The fields of a header block as gRPC writes it: never with Huffman's code, names of the static table left out."""
    place = 0

    def number(bits):
        nonlocal place
        value = block[place] & ((1 << bits) - 1)
        place += 1
        if value == (1 << bits) - 1:
            shift = 0
            while True:
                byte = block[place]
                place += 1
                value += (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
        return value

    def text():
        nonlocal place
        if block[place] & 128:
            raise ValueError("Huffman's code is not read here")
        length = number(7)
        place += length
        return block[place - length:place].decode()

    def entry(index):
        return ("", "") if index <= _STATIC else table[index - _STATIC - 1]

    while place < len(block):
        first = block[place]
        if first & 128:
            yield entry(number(7))
        elif first & 0xe0 == 0x20:
            number(5)  # the table's size
        else:
            index = number(6 if first & 64 else 4)
            field = (entry(index)[0] if index else text(), text())
            if first & 64:
                table.insert(0, field)
            yield field
