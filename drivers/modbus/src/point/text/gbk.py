"""Makes gbk.bin beside this file: python3 gbk.py"""

import pathlib


def code(first, second):
    try:
        return ord(bytes([first, second]).decode("gbk"))
    except UnicodeDecodeError:
        return 0


table = b"".join(
    code(first, second).to_bytes(2, "big") for first in range(0x81, 0xFF) for second in range(0x40, 0xFF)
)
pathlib.Path(__file__).with_name("gbk.bin").write_bytes(table)
print(len(table), "bytes,", sum(table[at : at + 2] != b"\0\0" for at in range(0, len(table), 2)), "characters")
