//! TLS towards agents: who is answered, by which certificate, and that a connection is the same thing underneath.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tollhouse::call::Chunk;
use tollhouse::proxy::{Bounds, Drained, Pem, Tls};
use zeroize::Zeroizing;

use super::agent::{House, PATIENCE, quick, text};
use super::serving::Streamed;
use crate::support::authority::Authority;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn pem((chain, key): (String, String), clients: Option<&Authority>) -> Pem {
    Pem {
        chain: chain.into_bytes(),
        key: Zeroizing::new(key.into_bytes()),
        clients: clients.map(|one| one.pem.clone().into_bytes()),
    }
}

/// A client that trusts `authority`, shows `own`, and offers `protocol`.
async fn connect(
    house: &House,
    authority: &Authority,
    own: Option<(String, String)>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(house.address()).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(GET).await?;
    let mut read = vec![0; 4096];
    let count = timeout(PATIENCE, stream.read(&mut read)).await.unwrap()?;
    Ok(String::from_utf8_lossy(&read[..count]).into_owned())
}

fn house(tls: &Arc<Tls>) -> House {
    House::open_with(Some(Arc::clone(tls)), quick(), |_| async { text(200, "well") })
}

#[tokio::test]
async fn an_agent_is_answered_over_tls_and_nobody_without() {
    let authority = Authority::new();
    let tls = Arc::new(Tls::new(&pem(authority.certificate(), None)).unwrap());
    let house = house(&tls);
    let mut stream = connect(&house, &authority, None, b"http/1.1").await.unwrap();
    for _ in 0..2 {
        assert!(ask(&mut stream).await.unwrap().ends_with("well"));
    }
    assert!(connect(&house, &Authority::new(), None, b"http/1.1").await.is_err(), "not trusted");
    // In the clear nothing is asked, and nothing answered.
    let mut clear = house.connect().await;
    clear.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, clear.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_err() || !answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(house.handled(), 2);
    // Who begins a handshake and does not go on is let go.
    let mut slow = house.connect().await;
    slow.write_all(&[0x16, 3, 1]).await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, slow.read_to_end(&mut rest)).await.expect("it is closed").unwrap_or_default();
}

#[tokio::test]
async fn http2_is_agreed_on_and_spoken() {
    let authority = Authority::new();
    let tls = Arc::new(Tls::new(&pem(authority.certificate(), None)).unwrap());
    let house = house(&tls);
    let stream = connect(&house, &authority, None, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    let request = http::Request::get("https://x/").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(timeout(PATIENCE, answer).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_agent_without_the_certificate_that_is_asked_for_is_not_heard() {
    let (authority, agents) = (Authority::new(), Authority::new());
    let tls = Arc::new(Tls::new(&pem(authority.certificate(), Some(&agents))).unwrap());
    let house = house(&tls);
    let own = agents.certificate();
    let mut known = connect(&house, &authority, Some(own), b"http/1.1").await.unwrap();
    assert!(ask(&mut known).await.unwrap().ends_with("well"));
    for other in [None, Some(authority.certificate())] {
        // In TLS 1.3 a client hears of it with its first read.
        let asked = async {
            let mut stream = connect(&house, &authority, other, b"http/1.1").await?;
            ask(&mut stream).await
        };
        let answer = asked.await;
        assert!(answer.as_ref().map_or(true, String::is_empty), "{answer:?}");
    }
    assert_eq!(house.handled(), 1);
}

#[tokio::test]
async fn what_is_renewed_counts_from_the_next_handshake_on() {
    let authority = Authority::new();
    let tls = Arc::new(Tls::new(&pem(authority.certificate(), None)).unwrap());
    let house = house(&tls);
    let mut before = connect(&house, &authority, None, b"http/1.1").await.unwrap();
    let shown = |stream: &TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone().into_owned()
    };
    let first = shown(&before);
    // A certificate without its key changes nothing.
    let (chain, _) = authority.certificate();
    let (_, key) = authority.certificate();
    for wrong in [(chain.clone(), key), (chain, String::new()), (String::new(), String::new())] {
        let why = tls.renew(&pem(wrong, None)).unwrap_err();
        assert!(why.starts_with("certificate") || why.starts_with("key"), "{why}");
    }
    let again = connect(&house, &authority, None, b"http/1.1").await.unwrap();
    assert_eq!(shown(&again), first);
    tls.renew(&pem(authority.certificate(), None)).unwrap();
    let after = connect(&house, &authority, None, b"http/1.1").await.unwrap();
    assert_ne!(shown(&after), first);
    assert!(ask(&mut before).await.unwrap().ends_with("well"), "who is connected stays");
}

#[tokio::test]
async fn a_stop_waits_for_no_handshake() {
    let tls = Arc::new(Tls::new(&pem(Authority::new().certificate(), None)).unwrap());
    let bounds = Bounds { head: PATIENCE, ..quick() };
    let house = House::open_with(Some(tls), bounds, |_| async { text(200, "well") });
    // One that says nothing, one that began.
    let quiet = house.connect().await;
    let mut begun = house.connect().await;
    begun.write_all(&[0x16, 3, 1]).await.unwrap();
    // Both are accepted by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = std::time::Instant::now();
    assert_eq!(house.server.stop(Duration::from_secs(2)).await, Drained::All);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    drop((quiet, begun));
}

#[tokio::test]
async fn an_agent_that_leaves_a_stream_is_seen_to_be_gone() {
    let authority = Authority::new();
    let tls = Arc::new(Tls::new(&pem(authority.certificate(), None)).unwrap());
    let (sender, receiver) = mpsc::channel(1);
    let receiver = Arc::new(parking_lot::Mutex::new(Some(receiver)));
    let house = House::open_with(Some(tls), quick(), move |_| {
        let receiver = receiver.lock().take().unwrap();
        async move { text(200, "").streamed(receiver) }
    });
    let mut stream = connect(&house, &authority, None, b"http/1.1").await.unwrap();
    sender.send(Chunk::Bytes(Bytes::from_static(b"abc"))).await.unwrap();
    assert!(ask(&mut stream).await.unwrap().contains("200"));
    // What it sends meanwhile is no reason to stop.
    stream.write_all(GET).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!sender.is_closed());
    // It says goodbye and goes, while nothing is sent to it.
    stream.shutdown().await.unwrap();
    drop(stream);
    timeout(PATIENCE, sender.closed()).await.expect("its stream is let go");
}
