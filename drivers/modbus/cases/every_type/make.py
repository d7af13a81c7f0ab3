"""Makes the files of this case: python3 make.py

Every type in every order, encoded by Python's own struct, datetime and codecs and laid out by hand-written
rules, so that the driver is compared with a table it had no part in. The points lie one behind the other
over more than two reads of 125 registers.
"""

import datetime
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
ORDERS = {
    2: ["AB", "BA"],
    4: ["ABCD", "CDAB", "BADC", "DCBA"],
    8: ["ABCDEFGH", "GHEFCDAB", "BADCFEHG", "HGFEDCBA", "EFGHABCD", "CDABGHEF"],
}
ZONE = datetime.timezone(datetime.timedelta(hours=8))

points, registers, expected, writes, sent = [], [], {}, [], []


def ordered(plain, order):
    """The bytes of one value, most significant first, as they come in this order."""
    return bytes(plain["ABCDEFGH".index(letter)] for letter in order)


def in_order(plain, order):
    size = len(order)
    return b"".join(ordered(plain[at : at + size], order) for at in range(0, len(plain), size))


def add(kind, order, read, write, more="", wire=None):
    """A point with what it reads and what is written to it: (value, its bytes, most significant first)."""
    name = f"{kind}_{order}".translate({ord(c): "_" for c in "[]. "}).replace("__", "_")
    while name in expected:
        name += "_"
    lay = wire or (lambda plain: in_order(plain, order))
    at = len(registers)
    bytes_read, bytes_written = lay(read[1]), lay(write[1])
    assert len(bytes_read) == len(bytes_written) and len(bytes_read) % 2 == 0, name
    registers.extend(struct.unpack(f">{len(bytes_read) // 2}H", bytes_read))
    quoted = f', order = "{order}"' if order else ""
    points.append(f'{name} = {{ at = "holding:{at}", type = "{kind}"{quoted}{more}, write = true }}')
    expected[name] = read[0]
    writes.append(["d", name, write[0]])
    count = len(bytes_written) // 2
    if count == 1:
        sent.append(f"06{at:04x}" + bytes_written.hex())
    else:
        sent.append(f"10{at:04x}{count:04x}{count * 2:02x}" + bytes_written.hex())


def part(kind, order, register, value, new, mask, shifted):
    """A part of one register, which is written by function 22; the masks are of the register in order AB."""
    name = f"{kind}_{order}".translate({ord(c): "_" for c in "[]. "}).replace("__", "_")
    at = len(registers)
    swap = (lambda n: n) if order == "AB" else (lambda n: n >> 8 | (n & 0xFF) << 8)
    registers.append(swap(register))
    points.append(f'{name} = {{ at = "holding:{at}", type = "{kind}", order = "{order}", write = true }}')
    expected[name] = value
    writes.append(["d", name, new])
    sent.append(f"16{at:04x}{swap(~mask & 0xFFFF):04x}{swap(shifted):04x}")


def bcd(number, digits):
    return bytes.fromhex(str(number).rjust(digits, "0"))


NUMBERS = [
    ("u16", "H", 0xFFFE, 258),
    ("i16", "h", -2, 259),
    ("f16", "e", -0.1, 1234.0),
    ("u32", "I", 0xFFFEFDFC, 0x01020304),
    ("i32", "i", -70231, 0x01020305),
    ("f32", "f", 12.34, -1.5e-20),
    ("u64", "Q", 0xFFFEFDFCFBFAF9F8, 0x0102030405060708),
    ("i64", "q", -123456789012345, 0x0102030405060709),
    ("f64", "d", -98765.4321, 1e-300),
]
for kind, code, read, write in NUMBERS:
    for order in ORDERS[struct.calcsize(">" + code)]:
        plain = [(value, struct.pack(">" + code, value)) for value in (read, write)]
        add(kind, order, *plain)

for digits, read, write in [(4, 1234, 507), (8, 12345678, 9000001), (16, 9999888877776666, 5)]:
    for order in ORDERS[digits // 2]:
        add(f"bcd{digits}", order, (read, bcd(read, digits)), (write, bcd(write, digits)))

# So that the next one lies across the end of what one read can hold.
while len(registers) % 125 != 124:
    points.append(f'fill{len(registers):03} = {{ at = "holding:{len(registers)}", type = "u16" }}')
    expected[f"fill{len(registers):03}"] = len(registers)
    registers.append(len(registers))
points.append(f'across = {{ at = "holding:{len(registers)}", type = "bits[12..19] of u32", order = "CDAB" }}')
expected["across"] = 0x12345678 >> 12 & 0xFF
registers.extend([0x5678, 0x1234])
points.append(f'across64 = {{ at = "holding:{len(registers)}", type = "bits[30..33] of u64", order = "GHEFCDAB" }}')
expected["across64"] = 0x123456789ABCDEF0 >> 30 & 0xF
registers.extend([0xDEF0, 0x9ABC, 0x5678, 0x1234])

for order in ORDERS[2]:
    part("u8.high", order, 0xFE01, 254, 171, 0xFF00, 0xAB00)
    part("u8.low", order, 0xFE01, 1, 171, 0x00FF, 0x00AB)
    part("i8.high", order, 0xFE01, -2, -128, 0xFF00, 0x8000)
    part("i8.low", order, 0xFE81, -127, 127, 0x00FF, 0x007F)
    part("bits[5..10]", order, 0xB3C5, 0xB3C5 >> 5 & 0x3F, 42, 0x07E0, 42 << 5)
    part("bits[15]", order, 0xB3C5, 1, 0, 0x8000, 0)

for kind, code, read, write in [
    ("u16", "H", [1, 2, 65535], [3, 4, 5]),
    ("i32", "i", [-1, 65537, -65537], [7, -8, 9]),
    ("f32", "f", [0.5, -12.34, 2.0**40], [1.25, 0.0, -3.5]),
    ("f64", "d", [0.5, -12.34], [1.25, -3.5]),
    ("u64", "Q", [1, 2**64 - 1], [2**40, 3]),
]:
    for order in ORDERS[struct.calcsize(">" + code)]:
        plain = [(value, struct.pack(f">{len(value)}{code}", *value)) for value in (read, write)]
        add(f"{kind}[{len(read)}]", order, *plain)

for order in ORDERS[2] + ["CDAB"]:
    add("string[8]", order, ("EM24 X", b" EM24 X "), ("abc", b"abc\0\0\0\0\0"))
add("string[4]", ".A", ("Ab12", b"Ab12"), ("xyz", b"xyz\0"), wire=lambda plain: b"".join(b"\0" + bytes([b]) for b in plain))
add("string[4]", "A.", ("Ab12", b"Ab12"), ("xyz", b"xyz\0"), wire=lambda plain: b"".join(bytes([b]) + b"\0" for b in plain))
add("string[10]", "AB", ("Größe", "Größe".encode() + b"\0\0\0"), ("水温", "水温".encode() + b"\0\0\0\0"))
add("string[8]", "AB", ("水温计", "水温计".encode("gbk") + b"\0\0"), ("1号泵", "1号泵".encode("gbk") + b"\0\0\0"), ', encoding = "gbk"')
add("string[4]", "BA", ("  x ", b"  x "), (" y", b" y\0\0"), ', encoding = "ascii", trim = false')

READ = datetime.datetime(2024, 2, 29, 23, 59, 58, 987000, ZONE)
WRITE = datetime.datetime(2031, 12, 1, 0, 0, 5, 40000, ZONE)


def time(kind, order, lay, millis=False, utc=False):
    told = []
    for when in (READ, WRITE):
        shown = when.astimezone(datetime.timezone.utc) if utc else when
        text = shown.isoformat(timespec="milliseconds" if millis else "seconds").replace("+00:00", "Z")
        told.append((text, lay(when)))
    add(f"time[{kind}]", order, *told, "" if utc else ', zone = "+08:00"')


def six(when):
    return [when.year, when.month, when.day, when.hour, when.minute, when.second]


def short(when):
    return [when.year % 100] + six(when)[1:]


def cp56(when):
    week = when.isoweekday() << 5 | when.day
    millis = when.second * 1000 + when.microsecond // 1000
    # As on an IEC 60870-5 line: the least significant first; a register pair more than seven bytes.
    line = struct.pack("<H5B", millis, when.minute, when.hour, week, when.month, when.year % 100) + b"\0"
    return line[::-1]


def s7(when):
    millis = f"{when.microsecond // 1000:03}{when.isoweekday() % 7 + 1}"
    return b"".join(bcd(number, 2) for number in short(when)) + bytes.fromhex(millis)


for order in ORDERS[4]:
    time("unix32", order, lambda when: struct.pack(">I", int(when.timestamp())), utc=True)
for order in ORDERS[8][:4]:
    time("unix64", order, lambda when: struct.pack(">Q", int(when.timestamp())), utc=True)
    time("unix64ms", order, lambda when: struct.pack(">Q", round(when.timestamp() * 1000)), millis=True, utc=True)
    time("cp56", order, cp56, millis=True)
for order in ORDERS[2]:
    time("ymdhms", order, lambda when: struct.pack(">6H", *six(when)))
    time("bytes", order, lambda when: bytes(short(when)))
    time("bcd", order, lambda when: b"".join(bcd(number, 2) for number in short(when)))
    time("s7", order, s7, millis=True)

HEAD = """# Made by make.py beside this file.
[connection.hall]
driver = "modbus"
tcp = { host = "192.0.2.1" }

[model.m.points]
"""
TAIL = """
[device.d]
connection = "hall"
model = "m"
"""


def dump(name, what):
    (HERE / name).write_text(json.dumps(what, indent=1, ensure_ascii=False) + "\n")


(HERE / "settings.toml").write_text(HEAD + "\n".join(points) + "\n" + TAIL)
dump("registers.json", {"holding": {"0x0000": registers}})
dump("writes.json", writes)
outcomes = [{"outcome": "applied ", "sent": [request]} for request in sent]
dump("expected.json", {"problems": [], "devices": {"d": {"values": expected}}, "writes": outcomes})
print(len(points), "points in", len(registers), "registers")
