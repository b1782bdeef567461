"""A TCP proxy before localstripe that loses answers on demand.

usage: faults.py PORT VENDOR_PORT CONTROL_PORT
A POST to the control port arms a fault for the next POST that passes: `/drop-answer` lets the vendor
apply it and then closes the connection without an answer.
"""

import http.server
import socket
import sys
import threading

port, vendor_port, control_port = map(int, sys.argv[1:4])
armed = []
lock = threading.Lock()


class Control(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        with lock:
            armed.append(self.path.strip("/"))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def pump(source, sink, first=b""):
    data = first
    try:
        while True:
            if data:
                sink.sendall(data)
            data = source.recv(65536)
            if not data:
                break
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(agent):
    vendor = socket.create_connection(("::1", vendor_port))
    try:
        first = agent.recv(65536)
    except OSError:
        first = b""
    with lock:
        drop = first.startswith(b"POST") and "drop-answer" in armed
        if drop:
            armed.remove("drop-answer")
    if drop:
        vendor.sendall(first)
        head, _, body = first.partition(b"\r\n\r\n")
        length = [l for l in head.lower().split(b"\r\n") if l.startswith(b"content-length:")]
        missing = int(length[0].split(b":")[1]) - len(body) if length else 0
        while missing > 0:
            more = agent.recv(65536)
            vendor.sendall(more)
            missing -= len(more)
        vendor.recv(65536)  # it is applied
        agent.close()
        vendor.close()
        return
    threading.Thread(target=pump, args=(vendor, agent), daemon=True).start()
    pump(agent, vendor, first)


control = http.server.ThreadingHTTPServer(("127.0.0.1", control_port), Control)
threading.Thread(target=control.serve_forever, daemon=True).start()
door = socket.create_server(("127.0.0.1", port), backlog=256)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
