"""Modbus TCP devices for the end-to-end cases: pymodbus serves them, a test steers them.

Always true: one JSON line in on stdin is one JSON line out on stdout; the process ends when stdin
ends, so it never outlives its test; a counter rises by one at each read that covers it and the
answer carries the new value, so what a gateway reports can be counted: a gap is a loss, a repeat is
a double, and the register itself holds the last value anybody read.

    in   {"do": "get", "address": 0, "count": 2}       out  {"ok": true, "values": [7, 0]}
    in   {"do": "delay", "seconds": 0.4}               out  {"ok": true}
    in   {"do": "silent", "on": true, "unit": 2}       out  {"ok": true}
    first line out, before anything is asked:               {"ok": true, "port": 40123, "pymodbus": "3.16.1"}

Without --units there is one device, unit 0, which answers for every unit id; with it one device per
unit id, all behind the one port.
"""

import argparse
import asyncio
import json
import sys
import time

import pymodbus
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

READS = (1, 2, 3, 4)
REGISTERS = 400


class Device:
    """The registers, and how the device misbehaves at the moment."""

    def __init__(self, counters):
        self.counters = counters
        self.first = [0] * REGISTERS
        self.registers = None
        self.delay = 0.0
        self.silent = False
        self.refuse_reads = []
        self.refuse_writes = []
        self.forget_writes = []
        self.to_forget = None
        self.reads = 0
        self.covering = 0
        self.last_read = None
        self.widest = 0.0
        self.writes = []
        self.connections = 0

    async def action(self, function, _start, address, count, registers, values):
        """pymodbus calls this for every request before it answers from `registers`."""
        if self.registers is not registers:
            # The first request since `listen`: what was set until then goes where pymodbus looks.
            registers[:REGISTERS] = self.values()
            self.registers = registers
        if values is None and function not in READS:
            return None  # the read-back pymodbus makes to build the answer of a write
        self.forget()
        if self.silent:
            # With ignore_missing_devices this is the one public way to give no answer at all.
            raise NoSuchIdException("silent")
        if self.delay:
            await asyncio.sleep(self.delay)
        if values is not None:
            return self.write(address, values)
        return self.read(address, count)

    def write(self, address, values):
        if touches(self.refuse_writes, address, len(values)):
            return ExcCodes.DEVICE_FAILURE
        self.writes.append({"address": address, "values": [int(value) for value in values]})
        if touches(self.forget_writes, address, len(values)):
            # Confirmed on the wire and not kept: what a read-back is there to find out. pymodbus
            # builds the confirmation from the registers, so they are put back when it is out.
            self.to_forget = (address, self.registers[address : address + len(values)])
        return None

    def forget(self):
        if self.to_forget is not None:
            address, before = self.to_forget
            self.registers[address : address + len(before)] = before
            self.to_forget = None

    def read(self, address, count):
        self.reads += 1
        if touches(self.refuse_reads, address, count):
            return ExcCodes.ILLEGAL_ADDRESS
        covered = [c for c in self.counters if address <= c < address + count]
        if covered:
            self.covering += 1
            self.widest, self.last_read = self.gap(), time.monotonic()
        for register in covered:
            self.registers[register] = (self.registers[register] + 1) % 65536
        return None

    def values(self):
        self.forget()
        return self.first if self.registers is None else self.registers

    def gap(self):
        """The longest time between two reads since `watch`, the one that is not over yet included."""
        if self.last_read is None:
            return 0.0
        return max(self.widest, time.monotonic() - self.last_read)

    def watch(self):
        self.widest = 0.0
        self.last_read = time.monotonic()

    def connected(self, up):
        if up:
            self.connections += 1


def touches(ranges, address, count):
    return any(address < end and start < address + count for start, end in ranges)


class Rig:
    """The server, which can leave the port and come back to it."""

    def __init__(self, devices, port):
        self.devices = devices
        self.port = port
        self.server = None

    async def listen(self):
        self.server = ModbusTcpServer(
            [self.simulated(unit, device) for unit, device in self.devices.items()],
            address=("127.0.0.1", self.port),
            ignore_missing_devices=True,
            trace_connect=self.connected,
        )
        await self.server.serve_forever(background=True)
        self.port = self.server.transport.sockets[0].getsockname()[1]

    @staticmethod
    def simulated(unit, device):
        # A fresh SimDevice copies its registers, so what the old one holds is carried over.
        values = list(device.values())
        device.first, device.registers = values, None
        return SimDevice(
            id=unit,
            simdata=[SimData(0, values=values, datatype=DataType.REGISTERS)],
            action=device.action,
        )

    def connected(self, up):
        for device in self.devices.values():
            device.connected(up)

    async def answer(self, order):
        device, do = self.devices[order.get("unit", 0)], order["do"]
        if do == "get":
            start = order["address"]
            return {"values": device.values()[start : start + order["count"]]}
        if do == "set":
            start, values = order["address"], order["values"]
            device.values()[start : start + len(values)] = values
        elif do == "delay":
            device.delay = order["seconds"]
        elif do == "silent":
            device.silent = order["on"]
        elif do == "refuse_reads":
            device.refuse_reads = [tuple(pair) for pair in order["ranges"]]
        elif do == "refuse_writes":
            device.refuse_writes = [tuple(pair) for pair in order["ranges"]]
        elif do == "forget_writes":
            device.forget_writes = [tuple(pair) for pair in order["ranges"]]
        elif do == "watch":
            device.watch()
        elif do == "stats":
            return {
                "reads": device.reads,
                "covering": device.covering,
                "gap": device.gap(),
                "connections": device.connections,
                "writes": device.writes,
            }
        elif do == "leave":
            await self.server.shutdown()
            self.server = None
        elif do == "listen":
            await self.listen()
        else:
            raise ValueError(f"unknown order {do!r}")
        return {}


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--counters", type=int, nargs="*", default=[0])
    parser.add_argument("--units", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    rig = Rig({unit: Device(options.counters) for unit in options.units}, options.port)
    await rig.listen()
    say({"ok": True, "port": rig.port, "pymodbus": pymodbus.__version__})

    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while line := await lines.readline():
        try:
            say({"ok": True, **await rig.answer(json.loads(line))})
        except Exception as error:  # the test reads it and fails with it
            say({"ok": False, "error": f"{type(error).__name__}: {error}"})


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
