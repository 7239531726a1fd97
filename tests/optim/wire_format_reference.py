"""An independent reader and writer of payloads, from docs/reference/wire_format.md alone.

Checks the document's example, and that it writes the same bytes as optim/payload.cc for a few hundred made-up updates: both hash what
they wrote, and payload_test.cc expects the same hash.
"""

import hashlib
import struct

MAX_QUOTIENT = 15
EXAMPLE = "010000003f4e7c360300000000"
VECTORS_SHA256 = "40b0ff9b51bff01fec237652a1dbea6d26357189aaafcd2522ca90b25dea8e07"


class BitWriter:
    def __init__(self):
        self.bits = []

    def put(self, value, count):
        self.bits += [(value >> i) & 1 for i in range(count)]

    def bytes(self):
        bits = self.bits + [0] * (-len(self.bits) % 8)
        return bytes(sum(bit << i for i, bit in enumerate(bits[b : b + 8])) for b in range(0, len(bits), 8))


class BitReader:
    def __init__(self, data):
        self.bits = [(byte >> i) & 1 for byte in data for i in range(8)]
        self.position = 0

    def take(self, count):
        if self.position + count > len(self.bits):
            raise ValueError("truncated")
        value = sum(bit << i for i, bit in enumerate(self.bits[self.position : self.position + count]))
        self.position += count
        return value


def gap_code(places, entries):
    """A, b and Q of the document: possible gaps, bits of a remainder, full buckets."""
    possible = places - entries + 1
    if entries == 1:
        return possible, 0, 0
    shift = 0
    while entries << (shift + 1) <= possible:
        shift += 1
    return possible, shift, min((possible - 1) >> shift, MAX_QUOTIENT)


def put_gap(writer, gap, places, entries):
    possible, shift, buckets = gap_code(places, entries)
    quotient = gap >> shift
    if quotient < buckets:
        for _ in range(quotient):
            writer.put(1, 1)
        writer.put(0, 1)
        writer.put(gap & ((1 << shift) - 1), shift)
        return
    for _ in range(buckets):
        writer.put(1, 1)
    rest = possible - (buckets << shift)
    value = gap - (buckets << shift)
    width = rest.bit_length() - 1
    shorter = (2 << width) - rest
    if value < shorter:
        writer.put(value, width)
    else:
        writer.put((value + shorter) >> 1, width)
        writer.put((value + shorter) & 1, 1)


def take_gap(reader, places, entries):
    possible, shift, buckets = gap_code(places, entries)
    quotient = 0
    while quotient < buckets and reader.take(1):
        quotient += 1
    if quotient < buckets:
        return (quotient << shift) + reader.take(shift)
    rest = possible - (buckets << shift)
    width = rest.bit_length() - 1
    shorter = (2 << width) - rest
    value = reader.take(width)
    if value >= shorter:
        value = 2 * value + reader.take(1) - shorter
    return (buckets << shift) + value


def put_value(writer, value, bits):
    if bits == 32:
        writer.put(value & 0xFFFFFFFF, 32)
        return
    writer.put(1 if value < 0 else 0, 1)
    writer.put(abs(value) if bits == 24 else abs(value) - 1, bits - 1)


def take_value(reader, bits):
    if bits == 32:
        value = reader.take(32)
        return value - (1 << 32) if value >> 31 else value
    negative = reader.take(1)
    magnitude = reader.take(bits - 1) + (0 if bits == 24 else 1)
    if magnitude == 0:
        raise ValueError("a value is zero")
    return -magnitude if negative else magnitude


def encode(segments, value_bits, update):
    """segments: (chunk_count, chunk_length, max_kept); update: by segment (scale, [chunk: [(index, value)]])."""
    writer = BitWriter()
    writer.put(1, 8)
    for (_, length, max_kept), (scale, chunks) in zip(segments, update):
        kept = min(max_kept, length)
        writer.put(struct.unpack("<I", struct.pack("<f", scale))[0], 32)
        if not any(chunks):
            continue
        full = all(len(chunk) == kept for chunk in chunks)
        writer.put(1 if full else 0, 1)
        if not full:
            for chunk in chunks:
                writer.put(len(chunk), kept.bit_length())
        for chunk in chunks:
            place = 0
            for number, (index, _) in enumerate(chunk):
                put_gap(writer, index - place, length - place, len(chunk) - number)
                place = index + 1
            for _, value in chunk:
                put_value(writer, value, value_bits)
    return writer.bytes()


def decode(segments, value_bits, data):
    reader = BitReader(data)
    if reader.take(8) != 1:
        raise ValueError("unknown version")
    update = []
    for count, length, max_kept in segments:
        kept = min(max_kept, length)
        scale = struct.unpack("<f", struct.pack("<I", reader.take(32)))[0]
        chunks = [[] for _ in range(count)]
        if scale > 0:
            counts = [kept] * count if reader.take(1) else [reader.take(kept.bit_length()) for _ in range(count)]
            for chunk, entries in zip(chunks, counts):
                place = 0
                indices = []
                for number in range(entries):
                    place += take_gap(reader, length - place, entries - number)
                    indices.append(place)
                    place += 1
                chunk += [(index, take_value(reader, value_bits)) for index in indices]
        update.append((scale, chunks))
    return update


class Numbers:
    """Knuth's 64-bit linear congruential generator, as in payload_test.cc."""

    def __init__(self, seed):
        self.state = seed

    def draw(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        return (self.state >> 33) % bound


def vector(seed):
    numbers = Numbers(seed)
    value_bits = (1, 2, 4, 8, 24)[seed % 5]
    largest = (1 << 23) - 1 if value_bits == 24 else 1 << (value_bits - 1)
    segments, update = [], []
    for _ in range(1 + numbers.draw(3)):
        count = numbers.draw(4)
        length = 1 + numbers.draw(4096 if numbers.draw(2) else 16)
        max_kept = numbers.draw(min(length + 2, 80))
        kept = min(max_kept, length)
        full = numbers.draw(2) == 1
        chunks = []
        for _ in range(count):
            needed = kept if full else numbers.draw(kept + 1)
            chunk = []
            for place in range(length):
                if numbers.draw(length - place) < needed:
                    magnitude = 1 + numbers.draw(largest)
                    chunk.append((place, -magnitude if numbers.draw(2) else magnitude))
                    needed -= 1
            chunks.append(chunk)
        segments.append((count, length, max_kept))
        update.append((1.5 if any(chunks) else 0.0, chunks))
    return segments, value_bits, update


def main():
    example = [(0.5, [[(1, 1), (4, -2), (15, 2)], [(9, -1)]]), (0.0, [[]])]
    shape = [(2, 16, 3), (1, 8, 2)]
    assert encode(shape, 2, example).hex() == EXAMPLE, encode(shape, 2, example).hex()
    assert decode(shape, 2, bytes.fromhex(EXAMPLE)) == example

    digest = hashlib.sha256()
    for seed in range(200):
        segments, value_bits, update = vector(seed)
        data = encode(segments, value_bits, update)
        assert decode(segments, value_bits, data) == update, seed
        digest.update(data)
    assert digest.hexdigest() == VECTORS_SHA256, digest.hexdigest()
    print("the document's payloads are those of the program")


if __name__ == "__main__":
    main()
