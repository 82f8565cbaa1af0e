//! A real handshake by the generated CA, and a renewal while a connection is open.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use axum_server::Handle;
use backproof_webhook::{
    admit::{Admission, Judged},
    certificate::{Material, Serving},
    judge::Allowed,
    metrics::Metrics,
    server::{self, Limits},
};
use jiff::Timestamp;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;

use crate::memory::{Memory, review, world};

pub(crate) const NAME: &str = "backproof-webhook.backproof-system.svc";

pub(crate) struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Connection {
    pub(crate) fn open(port: u16, bundle: &str) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut session = ClientConnection::new(Arc::new(config), ServerName::try_from(NAME).unwrap()).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Self(BufReader::new(StreamOwned::new(session, stream))))
    }

    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.0.get_ref().conn.peer_certificates().unwrap()[0].to_vec()
    }

    pub(crate) fn stream(&mut self) -> &mut StreamOwned<ClientConnection, TcpStream> {
        self.0.get_mut()
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let stream = self.0.get_mut();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

pub(crate) fn serve(serving: Arc<Serving>, port: u16, limits: Limits) -> Handle<std::net::SocketAddr> {
    let memory = Memory::knowing(world());
    let router = server::router(Admission::new(memory.clone(), memory, Allowed::default()), Metrics::default(), limits);
    let handle = Handle::new();
    let server = server::bind(([127, 0, 0, 1], port).into(), server::tls(serving).unwrap(), limits).handle(handle.clone());
    tokio::spawn(server.serve(router.into_make_service()));
    handle
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let names = [NAME.to_owned()];
    let first = Material::new(&names, Timestamp::now(), None).unwrap();
    let second = Material::new(&names, Timestamp::now(), Some(&first)).unwrap();
    let serving = Arc::new(Serving::default());
    let port = backproof_testing::free_port().unwrap();
    let handle = serve(Arc::clone(&serving), port, Limits::default());
    handle.listening().await.unwrap();
    let bundle = first.bundle.clone();
    assert!(tokio::task::spawn_blocking(move || Connection::open(port, &bundle)).await.unwrap().is_err(), "nothing to serve yet");

    serving.serve(&first).unwrap();
    let (old_bundle, new_bundle) = (first.bundle.clone(), second.bundle.clone());
    let client = tokio::task::spawn_blocking(move || {
        let review = review("CREATE", &world()["session"], None);
        let allowed = |answer: Value| answer["response"]["allowed"] == true;
        let mut before = Connection::open(port, &old_bundle).unwrap();
        assert!(allowed(before.post(&Judged::Session.path(), &review)));
        // A replica that still serves the old certificate is trusted by the bundle after the rotation.
        assert!(Connection::open(port, &new_bundle).is_ok());

        serving.serve(&second).unwrap();
        let mut after = Connection::open(port, &new_bundle).unwrap();
        assert_ne!(before.certificate(), after.certificate());
        assert!(allowed(after.post(&Judged::Session.path(), &review)));
        // The connection from before goes on.
        assert!(allowed(before.post(&Judged::Session.path(), &review)));
        // Who trusts only the CA from before does not trust the new certificate.
        assert!(Connection::open(port, &old_bundle).is_err());
    });
    client.await.unwrap();
    handle.shutdown();
}
