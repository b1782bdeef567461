#!/usr/bin/env python3
"""The two ends of deploy/egress/check: a shop that answers on every road (`serve`), and somebody who tries them (`try`).

Prints what was reached, one road a line; decides nothing."""
import http.server
import json
import socket
import sys
import threading
import urllib.request

ORDER = {"id": "A-17", "customer_ref": "ann", "status": "paid", "total": {"value": "45.00", "currency": "USD"}}


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(ORDER).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Four(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET


class Six(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def echo(family, at):
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.bind(at)
    while True:
        data, who = one.recvfrom(512)
        one.sendto(data, who)


def serve(four, six, ports):
    for family, host, server in ((socket.AF_INET, four, Four), (socket.AF_INET6, six, Six)):
        for port in ports:
            threading.Thread(target=server((host, port), Shop).serve_forever, daemon=True).start()
            threading.Thread(target=echo, args=(family, (host, port)), daemon=True).start()
    print("serving", flush=True)
    threading.Event().wait()


def tcp(host, port):
    with urllib.request.urlopen(f"http://{'[' + host + ']' if ':' in host else host}:{port}/orders/A-17", timeout=2) as answer:
        return answer.status == 200


def udp(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(1)
        one.connect((host, port))
        one.send(b"x")
        return one.recv(9) == b"x"


def attempt(hosts, ports):
    for host in hosts:
        for name, road in (("tcp", tcp), ("udp", udp)):
            for port in ports:
                try:
                    reached = road(host, port)
                except OSError:
                    reached = False
                print(f"{name} {'v6' if ':' in host else 'v4'} {port} {'reached' if reached else 'closed'}")


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    addresses = [one for one in rest if not one.isdigit()]
    numbers = [int(one) for one in rest if one.isdigit()]
    serve(*addresses, numbers) if what == "serve" else attempt(addresses, numbers)
