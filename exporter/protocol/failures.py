"""Why an upstream failed."""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """Why an upstream failed; the values are results of probes."""

    CONNECTION = "connect_error"
    PROTOCOL = "protocol_error"
    TIMEOUT = "timeout"
    EXIT = "process_exit"


class UpstreamError(Exception):
    """The upstream could not be reached, or was lost before it had replied."""

    def __init__(self, text: str, fault: Fault = Fault.CONNECTION) -> None:
        super().__init__(text)
        self.fault = fault
