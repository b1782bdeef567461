"""Reads what a collector was sent with OpenTelemetry's own Python classes: a line is `signal base64`, its answer JSON."""

import base64
import json
import sys

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest}


def unknown(message):
    """Fields that the schema does not have, anywhere: proto3 keeps them apart and would not say so."""
    from google.protobuf.unknown_fields import UnknownFieldSet

    found = len(UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.message_type:
            many = value if hasattr(value, "append") or hasattr(value, "add") else [value]
            found += sum(unknown(one) for one in many)
    return found


for line in sys.stdin:
    signal, coded = line.split()
    message = KINDS[signal]()
    message.ParseFromString(base64.b64decode(coded))
    if unknown(message):
        sys.exit(f"{unknown(message)} fields that OTLP does not have: {message}")
    print(json.dumps(MessageToDict(message)))
