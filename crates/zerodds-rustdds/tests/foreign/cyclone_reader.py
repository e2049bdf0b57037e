"""A Cyclone DDS reader that checks what it takes.

Arguments: domain, topic. Says "=> heard" at the first sample that only settles (writer 0), "=> <number>" for every
other one, which must be intact and follow the one before; ends with its input.
"""
import sys
import threading
import time
from dataclasses import dataclass

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.annotations import final
from cyclonedds.idl.types import sequence, uint8, uint32
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration


@final
@dataclass
class Chunk(IdlStruct, typename="Chunk"):
    writer: uint32
    number: uint32
    data: sequence[uint8]
    last: bool


def say(line):
    print(f"=> {line}", flush=True)


def is_intact(chunk):
    # Octet `at` is `31 * at + number`, modulo 256.
    turn = bytes((31 * at + chunk.number) % 256 for at in range(256))
    length = len(chunk.data)
    return chunk.last and bytes(chunk.data) == (turn * (length // 256 + 1))[:length]


def read(domain, topic, over):
    participant = DomainParticipant(domain)
    qos = Qos(Policy.Reliability.Reliable(duration(seconds=10)), Policy.History.KeepAll)
    reader = DataReader(participant, Topic(participant, topic, Chunk), qos=qos)
    say("ready")
    heard, following = False, None
    while not over.is_set():
        for chunk in reader.take(N=100):
            if not isinstance(chunk, Chunk):
                continue  # that the writer is gone
            assert is_intact(chunk), f"{chunk.number} is corrupt"
            if chunk.writer == 0:
                if not heard:
                    say("heard")
                heard = True
                continue
            assert following in (None, chunk.number), f"{chunk.number} instead of {following}"
            following = chunk.number + 1
            say(chunk.number)
        time.sleep(0.0005)


def watch_input(over):
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    over = threading.Event()
    threading.Thread(target=watch_input, args=(over,), daemon=True).start()
    read(int(sys.argv[1]), sys.argv[2], over)
