"""The proxies that Tollhouse is measured beside: each with one worker, keep-alive on both sides, no access log."""

import json

from . import need
from .process import Process, free_port
from .stand import Tollhouse

ISSUER = "https://id.bench.example"


def ours(name, program, upstream, scheme=""):
    process = Process(name, [need.example(program), "127.0.0.1:0", f"{scheme}{upstream}"])
    process.at = process.line().removeprefix("http://")
    return process


def pingora_proxy(upstream):
    port = free_port()
    process = Process("pingora ProxyHttp", [need.example("pingora_proxy"), f"127.0.0.1:{port}", upstream])
    process.wait_for(port)
    process.at = f"127.0.0.1:{port}"
    return process


def nginx(home, upstream):
    port = free_port()
    conf = home / "nginx.conf"
    conf.write_text(f"""
daemon off; master_process off; worker_processes 1; pid {home}/nginx.pid; error_log stderr error;
events {{ worker_connections 30000; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {home}; proxy_temp_path {home};
  fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};
  upstream up {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""")
    process = Process("nginx", [need.program("nginx", "nginx"), "-p", home, "-c", conf], log=home / "nginx.log")
    process.wait_for(port)
    process.at = f"127.0.0.1:{port}"
    return process


def haproxy(home, upstream):
    port = free_port()
    conf = home / "haproxy.cfg"
    conf.write_text(f"""
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  http-reuse always
  option http-keep-alive
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:{port}
  default_backend out
backend out
  server up {upstream}
""")
    process = Process("HAProxy", [need.program("haproxy", "haproxy"), "-db", "-f", conf], log=home / "haproxy.log")
    process.wait_for(port)
    process.at = f"127.0.0.1:{port}"
    return process


def router():
    return {"name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}


def filters(keys):
    """What is comparable: the token verified (verified ones remembered), a rule over its claims and the path, a rate."""
    kind = "type.googleapis.com/envoy.extensions.filters.http."
    provider = {
        "issuer": ISSUER, "audiences": ["tollhouse"], "local_jwks": {"inline_string": keys}, "payload_in_metadata": "token",
        "jwt_cache_config": {"jwt_cache_size": 2000},
    }
    jwt = {"@type": kind + "jwt_authn.v3.JwtAuthentication", "providers": {"bench": provider},
           "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}]}
    agent = {"metadata": {"filter": "envoy.filters.http.jwt_authn",
                          "path": [{"key": "token"}, {"key": "act"}, {"key": "sub"}],
                          "value": {"string_match": {"exact": "bench"}}}}
    asked = {"and_rules": {"rules": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                                     {"url_path": {"path": {"prefix": "/v1/charges/"}}}]}}
    public = {"and_rules": {"rules": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}},
                                      {"url_path": {"path": {"prefix": "/shop/products/"}}}]}}
    rbac = {"@type": kind + "rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"reads": {"permissions": [asked, public], "principals": [agent]}}}}
    rate = {"@type": kind + "local_ratelimit.v3.LocalRateLimit", "stat_prefix": "rate",
            "token_bucket": {"max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"},
            "filter_enabled": {"default_value": {"numerator": 100}}, "filter_enforced": {"default_value": {"numerator": 100}}}
    return [{"name": "envoy.filters.http.jwt_authn", "typed_config": jwt},
            {"name": "envoy.filters.http.rbac", "typed_config": rbac},
            {"name": "envoy.filters.http.local_ratelimit", "typed_config": rate}]


def envoy(home, upstream, keys=None):
    port = free_port()
    host, to = upstream.split(":")
    name = "Envoy with filters" if keys else "Envoy"
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in", "codec_type": "HTTP1", "generate_request_id": False,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]},
        "http_filters": [*(filters(keys) if keys else []), router()],
    }
    at = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    config = {"static_resources": {
        "listeners": [{"name": "in", "address": at(port), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": [{"name": "up", "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
            "cluster_name": "up", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                "socket_address": {"address": host, "port_value": int(to)}}}}]}]}}],
    }}
    conf = home / f"envoy-{'filters' if keys else 'bare'}.json"
    conf.write_text(json.dumps(config))
    words = [need.envoy(), "-c", conf, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    process = Process(name, words, log=home / f"{conf.stem}.log")
    process.wait_for(port)
    process.at = f"127.0.0.1:{port}"
    return process


def all_of(home, upstream, only=None):
    """Every peer, Tollhouse last, each in a state in which it serves. `home/keys` has the issuer's key."""
    keys = (home / "keys/jwks.json").read_text()
    makers = {
        "pingora ProxyHttp": lambda: pingora_proxy(upstream),
        "plain pattern": lambda: ours("plain pattern", "plain", upstream),
        "our base": lambda: ours("our base", "bare", upstream, "http://"),
        "nginx": lambda: nginx(home, upstream),
        "HAProxy": lambda: haproxy(home, upstream),
        "Envoy": lambda: envoy(home, upstream),
        "Envoy with filters": lambda: envoy(home, upstream, keys),
        "Tollhouse": lambda: Tollhouse(home / "tollhouse", upstream, name="Tollhouse"),
    }
    return [make() for name, make in makers.items() if only is None or name in only]
