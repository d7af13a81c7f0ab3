"""The session with the gateway: settings, samples, commands, the schedule.

Always true: devices are read and written by one thread, one after the other; batches that the gateway
has not acknowledged are kept, up to a limit, and sent again; a command is executed once and never
after its deadline.
"""

import collections
import json
import math
import os
import pathlib
import queue
import threading
import time

import contract
from sagoo_driver import Bad, Problem, Refused, Table, Unreachable, log

# Batches kept for a gateway that does not acknowledge; the oldest is dropped and counted.
KEPT_BATCHES = 4096
# Commands whose result is remembered, so that a repeated one is not executed twice.
KEPT_RESULTS = 1000
# A device that does not answer is left alone, twice as long every time.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 600


def boot_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


# ---- settings ------------------------------------------------------------------------------


def devices_of(driver, configuration):
    """What can run, and every mistake."""
    connections = {c.name: json.loads(c.settings or "{}") for c in configuration.connections}
    models = {m.name: json.loads(m.settings or "{}") for m in configuration.models}
    devices, problems = [], []
    for given in configuration.devices:
        table = Table(given.name, json.loads(given.settings or "{}"), given.connection,
                      connections.get(given.connection, {}), models.get(given.model.split("@")[0], {}))
        try:
            devices.append(driver.device(table))
        except Problem as problem:
            problems.append(contract.Problem(path=problem.path, message=problem.message, hint=problem.hint))
    return devices, problems


def check(driver, configuration):
    """Everything there is to say about a configuration; touches no device."""
    devices, problems = devices_of(driver, configuration)
    plans = [contract.DevicePlan(device=d.name, requests=[
        contract.PlannedRequest(poll="all", period_ms=int(d.period_s * 1000), wanted=len(d.points))])
        for d in devices]
    ports = [driver.ports(json.loads(c.settings or "{}")) for c in configuration.connections]
    rights = None
    if all(p is not None for p in ports):
        rights = contract.Rights(connect_tcp=sorted({port for p in ports for port in p}))
    return contract.CheckResponse(problems=problems, plans=plans, rights=rights)


# ---- samples -------------------------------------------------------------------------------


def packed(number, boot, values):
    """One reading of a device: point number -> value, as DeviceSamples."""
    out = contract.DeviceSamples(device=number, boot_ns=boot, count=len(values), points=list(values))
    kinds, qualities = bytearray(), bytearray()
    for value in values.values():
        if isinstance(value, float) and not math.isfinite(value):
            value = Bad("not a number")
        if isinstance(value, Bad) or value is None:
            kinds.append(contract.NONE)
            qualities.append(contract.BAD)
            out.reasons.append(value.reason if isinstance(value, Bad) else "no value")
            continue
        qualities.append(contract.GOOD)
        if isinstance(value, bool):
            kinds.append(contract.BOOL)
            out.bools.append(value)
        elif isinstance(value, int):
            kinds.append(contract.UINT if value >= 1 << 63 else contract.INT)
            (out.uints if value >= 1 << 63 else out.ints).append(value)
        elif isinstance(value, float):
            kinds.append(contract.DOUBLE)
            out.doubles.append(value)
        elif isinstance(value, (bytes, bytearray)):
            kinds.append(contract.BYTES)
            out.blobs.append(bytes(value))
        elif isinstance(value, str):
            kinds.append(contract.TEXT)
            out.texts.append(value)
        else:
            kinds.append(contract.JSON)
            out.jsons.append(json.dumps(value))
    out.kinds, out.qualities = bytes(kinds), bytes(qualities)
    return out


def from_wire(value):
    kind = value.WhichOneof("value")
    return json.loads(value.json) if kind == "json" else getattr(value, kind) if kind else None


def to_wire(value):
    if isinstance(value, bool):
        return contract.Value(boolean=value)
    if isinstance(value, int):
        return contract.Value(uint=value) if value >= 1 << 63 else contract.Value(int=value)
    for kind, name in ((float, "double"), (str, "text"), (bytes, "blob")):
        if isinstance(value, kind):
            return contract.Value(**{name: value})
    return contract.Value(json=json.dumps(value))


# ---- the session ---------------------------------------------------------------------------


class Session:
    """One stream of a gateway. A new one takes the place of the one before."""

    def __init__(self):
        self.out = queue.Queue(256)
        self.ended = threading.Event()

    def send(self, **message):
        while not self.ended.is_set():
            try:
                return self.out.put(contract.DriverMessage(**message), timeout=1)
            except queue.Full:
                pass  # the gateway reads slowly; what is not acknowledged is kept

    def end(self):
        self.ended.set()


class Runner(threading.Thread):
    """The one thread that touches devices."""

    def __init__(self, driver):
        super().__init__(daemon=True)
        self.driver, self.instance = driver, os.urandom(16)
        self.work = queue.Queue(256)
        self.devices, self.held, self.generation = {}, set(), 0
        self.numbers = {}  # a device keeps its number as long as this process lives
        self.session, self.configured = None, False
        self.unacked, self.last_seq = collections.OrderedDict(), 0
        self.results = collections.OrderedDict()
        self.polls = self.samples = self.dropped = 0
        self.busy_since = None

    def run(self):
        try:
            while True:
                try:
                    work, argument = self.work.get(timeout=self.until_due())
                    work(argument)
                except queue.Empty:
                    self.poll_one()
        except BaseException as error:  # what is left cannot be trusted
            log("error", "driver broke", error=repr(error))
            os._exit(101)

    def running(self):
        return [d for d in self.devices.values() if d.connection not in self.held]

    def until_due(self):
        due = min((d.due for d in self.running()), default=time.monotonic() + 1)
        return max(due - time.monotonic(), 0)

    def poll_one(self):
        due = [d for d in self.running() if d.due <= time.monotonic()]
        if due:
            device = min(due, key=lambda d: d.due)
            # a period that was missed is not made up for
            device.due = max(device.due + device.period_s, time.monotonic())
            self.poll(device)

    def poll(self, device):
        """Reads a device and sends what came."""
        boot = boot_ns()
        self.busy_since = time.monotonic()
        try:
            values = self.driver.read(device)
            device.pause_s, device.reason = 0, ""
        except Unreachable as error:
            device.pause_s = min(max(device.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            device.due, device.reason = time.monotonic() + device.pause_s, str(error)
            values = {point: Bad(str(error)) for point in device.points}
        self.busy_since = None
        self.polls += 1
        values = {point: values[point] for point in device.points if point in values}
        device.read += len(values)
        self.samples += len(values)
        self.last_seq += 1
        self.unacked[self.last_seq] = (device.name, boot, values)
        if len(self.unacked) > KEPT_BATCHES:
            _, (name, _, lost) = self.unacked.popitem(last=False)
            self.lose(name, len(lost))
        if self.configured:
            self.send_batch(self.last_seq)
        return values

    def lose(self, name, count):
        self.dropped += count
        if name in self.devices:
            self.devices[name].dropped += count

    def send_batch(self, seq):
        """A batch in the numbers that hold now; empty when its device is not configured any more."""
        name, boot, values = self.unacked[seq]
        batch = contract.Batch(seq=seq, generation=self.generation)
        device = self.devices.get(name)
        if device:
            known = {device.points.index(p): v for p, v in values.items() if p in device.points}
            batch.devices.append(packed(self.numbers[name], boot, known))
        else:
            self.lose(name, len(values))
        self.session.send(batch=batch)

    # what the gateway asks for, in the order it came

    def open(self, session):
        if self.session:
            self.session.end()
        self.session, self.configured = session, False
        boot_id = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        session.send(hello=contract.Hello(instance=self.instance, boot_id=boot_id))

    def configure(self, message):
        devices, problems = devices_of(self.driver, message.configuration)
        before, self.devices = self.devices, {}
        for device in devices:
            self.numbers.setdefault(device.name, len(self.numbers))
            old = before.get(device.name)
            # what did not change notices nothing
            self.devices[device.name] = old if old and old.table == device.table else device
        self.held, self.generation = set(message.hold), message.generation
        for connection in self.held | {d.connection for d in before.values()} - {d.connection for d in devices}:
            self.driver.close(connection)
        numbers = [contract.DeviceNumbers(number=self.numbers[d.name], device=d.name, points=d.points,
                                          writable=[p in d.writable for p in d.points])
                   for d in self.devices.values()]
        self.session.send(configured=contract.Configured(
            generation=message.generation, problems=problems, devices=numbers))
        if not self.configured:
            self.configured = True
            for seq in list(self.unacked):
                self.send_batch(seq)

    def ack(self, message):
        while self.unacked and next(iter(self.unacked)) <= message.seq:
            self.unacked.popitem(last=False)

    def command(self, message):
        result = self.results.get(message.id)
        if result is None:
            result = self.execute(message)
            self.results[message.id] = result
            if len(self.results) > KEPT_RESULTS:
                self.results.popitem(last=False)
        self.session.send(command_result=result)

    def execute(self, message):
        def answer(status, text="", points=()):
            return contract.CommandResult(id=message.id, status=status, message=text, points=list(points))

        device = self.devices.get(message.device)
        if device is None or device.connection in self.held:
            return answer(contract.REFUSED, f"no device {message.device!r} is here")
        action = message.WhichOneof("action")
        if action == "read":
            return self.read_now(message, device, answer)
        if action != "write":
            return answer(contract.REFUSED, "this driver has no functions")
        results = [self.write_one(message, device, value) for value in message.write.values]
        worst = max((r.status for r in results), default=contract.APPLIED)
        return answer(worst, next((r.message for r in results if r.status == worst), ""), results)

    def write_one(self, message, device, given):
        def result(status, text="", value=None):
            value = None if value is None else to_wire(value)
            return contract.PointResult(point=given.point, status=status, message=text, value=value)

        if boot_ns() > message.deadline_boot_ns:
            return result(contract.EXPIRED, "the deadline has passed")
        if given.point not in device.writable:
            return result(contract.REFUSED, f"{given.point!r} cannot be written")
        try:
            wanted = from_wire(given.value)
            now = self.driver.write(device, given.point, wanted)
            return result(contract.APPLIED if now in (None, wanted) else contract.DIFFERS, "", now)
        except Refused as error:
            return result(contract.REFUSED, str(error))
        except Unreachable as error:
            return result(contract.UNKNOWN, str(error))

    def read_now(self, message, device, answer):
        if boot_ns() > message.deadline_boot_ns:
            return answer(contract.EXPIRED, "the deadline has passed")
        values = self.poll(device)
        results = []
        for point in list(message.read.points) or device.points:
            value = values.get(point, Bad(f"there is no point {point!r}"))
            bad = isinstance(value, Bad)
            results.append(contract.PointResult(
                point=point, status=contract.REFUSED if bad else contract.APPLIED,
                message=value.reason if bad else "", value=None if bad else to_wire(value),
                quality=contract.BAD if bad else contract.GOOD))
        worst = max((r.status for r in results), default=contract.APPLIED)
        return answer(worst, next((r.message for r in results if r.status == worst), ""), results)

    def release(self, message):
        names = list(message.connections) or sorted({d.connection for d in self.devices.values()})
        self.held.update(names)
        for name in names:
            self.driver.close(name)
        self.session.send(released=contract.Released(connections=names))

    def stop(self, _message):
        self.release(contract.Release())
        self.session.out.put(None)

    def heartbeat(self):
        """How things are; said by another thread, so that a slow device is no silence."""
        since, devices = self.busy_since, list(self.devices.values())
        states = [contract.DeviceState(device=self.numbers[d.name], online=not d.reason, reason=d.reason,
                                       read=d.read, dropped=d.dropped) for d in devices]
        overdue = 0 if since is None else int((time.monotonic() - since) * 1000)
        return contract.Heartbeat(polls=self.polls, samples=self.samples, dropped=self.dropped,
                                  unacked=len(self.unacked), devices=states, overdue_ms=overdue)
