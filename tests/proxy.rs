//! The two ends of the wire, over real sockets: what an agent may send, what an upstream may do.
//! Raw bytes on both sides, so that nothing mends them on the way.

mod agent;
mod framing;
mod http2;
mod raw;
mod serving;
mod tls;
mod upstream;
mod upstream_http2;
