"""Modbus devices for the end-to-end cases: pymodbus serves them, a test steers them.

Always true: one JSON line in on stdin is one JSON line out on stdout; the process ends when stdin
ends, so it never outlives its test; a counter rises by one at each read that covers it and the
answer carries the new value, so what a gateway reports can be counted: a gap is a loss, a repeat is
a double, and the register itself holds the last value anybody read.

    in   {"do": "get", "address": 0, "count": 2}       out  {"ok": true, "values": [7, 0]}
    in   {"do": "delay", "seconds": 0.4}               out  {"ok": true}
    in   {"do": "silent", "on": true, "unit": 2}       out  {"ok": true}
    in   {"do": "refuse_reads", "ranges": [[3, 5]], "code": 2}
    first line out, before anything is asked:               {"ok": true, "port": 40123, "pymodbus": "3.16.1"}

Without --units there is one device, unit 0, which answers for every unit id; with it one device per
unit id, all behind the one port. --over says what carries them (tcp, udp, tls, serial) and --framer
in which frames. Registers in --holes are `invalid` in pymodbus' own sense: exception 2.
"""

import argparse
import asyncio
import json
import ssl
import sys
import time

import pymodbus
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import NoSuchIdException
from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice

READS = (1, 2, 3, 4)
REGISTERS = 600


class Device:
    """The registers, and how the device misbehaves at the moment."""

    def __init__(self, counters, holes):
        self.counters = counters
        self.holes = holes
        self.first = [0] * REGISTERS
        self.registers = None
        self.delay = 0.0
        self.silent = False
        self.refuse_reads = []
        self.refusal = ExcCodes.ILLEGAL_ADDRESS
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
            return ExcCodes.ILLEGAL_VALUE
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
            return self.refusal
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

    def __init__(self, devices, options):
        self.devices = devices
        self.options = options
        self.port = options.port
        self.server = None
        self.refused = 0

    async def listen(self):
        devices = [self.simulated(unit, device) for unit, device in self.devices.items()]
        identity = ModbusDeviceIdentification(
            info_name={"VendorName": "Peer", "ProductCode": "PY-1", "MajorMinorRevision": "3.16"}
        )
        usual = {
            "framer": self.options.framer,
            "identity": identity,
            "ignore_missing_devices": True,
            "broadcast_enable": self.options.broadcast,
            "trace_connect": self.connected,
            "trace_pdu": self.passed,
        }
        over = self.options.over
        if over == "serial":
            port, baud = self.options.serial, self.options.baud
            self.server = ModbusSerialServer(devices, port=port, baudrate=baud, **usual)
        elif over == "tls":
            at = ("127.0.0.1", self.port)
            self.server = ModbusTlsServer(devices, address=at, sslctx=self.tls(), **usual)
        else:
            kind = ModbusUdpServer if over == "udp" else ModbusTcpServer
            self.server = kind(devices, address=("127.0.0.1", self.port), **usual)
        await self.server.serve_forever(background=True)
        if over == "udp":
            self.port = self.server.transport.get_extra_info("sockname")[1]
        elif over != "serial":
            self.port = self.server.transport.sockets[0].getsockname()[1]

    def tls(self):
        """Whoever connects has to show a certificate of our authority, as Modbus/TCP Security says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.options.certificate, self.options.key)
        context.load_verify_locations(self.options.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    @staticmethod
    def simulated(unit, device):
        # A fresh SimDevice copies its registers, so what the old one holds is carried over.
        values = list(device.values())
        device.first, device.registers = values, None
        blocks, start = [], 0
        for first, end in sorted(device.holes) + [(REGISTERS, REGISTERS)]:
            if start < first:
                held = values[start:first]
                blocks.append(SimData(start, values=held, datatype=DataType.REGISTERS))
            if first < end:
                blocks.append(SimData(first, count=end - first, datatype=DataType.INVALID))
            start = end
        return SimDevice(id=unit, simdata=blocks, action=device.action)

    def connected(self, up):
        for device in self.devices.values():
            device.connected(up)

    def passed(self, sending, pdu):
        if sending and pdu.isError():
            self.refused += 1
        return pdu

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
            device.refusal = ExcCodes(order.get("code", 2))
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
                "refused": self.refused,
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
    parser.add_argument("--holes", type=json.loads, default=[])
    parser.add_argument("--over", choices=["tcp", "udp", "tls", "serial"], default="tcp")
    parser.add_argument("--framer", choices=["socket", "tls", "rtu", "ascii"], default="socket")
    parser.add_argument("--broadcast", action="store_true")
    parser.add_argument("--serial")
    parser.add_argument("--baud", type=int)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--ca")
    options = parser.parse_args()
    holes = [tuple(pair) for pair in options.holes]
    devices = {unit: Device(options.counters, holes) for unit in options.units}
    rig = Rig(devices, options)
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
