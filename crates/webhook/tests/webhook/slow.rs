//! Clients that take their time are cut off, and hold up nobody.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use backproof_webhook::{
    admit::Judged,
    certificate::{Material, Serving},
    server::Limits,
};
use jiff::Timestamp;

use crate::{
    memory::{review, world},
    tls::{Connection, NAME, serve},
};

const PATIENCE: Duration = Duration::from_millis(500);
/// Against hanging only.
const LONGEST: Duration = Duration::from_secs(30);

/// Reads until the server has closed the connection; an error tells that it was reset, which is as good.
fn closed(mut stream: impl std::io::Read) -> Result<Vec<u8>> {
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Ok(_) => Ok(read),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            Err(anyhow::anyhow!("the connection is still open"))
        }
        Err(_) => Ok(read),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_and_others_are_answered() -> Result<()> {
    let material = Material::new(&[NAME.to_owned()], Timestamp::now(), None)?;
    let serving = Arc::new(Serving::default());
    serving.serve(&material)?;
    let port = backproof_testing::free_port()?;
    let limits = Limits { connection: PATIENCE, request: PATIENCE, ..Limits::default() };
    let handle = serve(serving, port, limits);
    handle.listening().await.context("it does not listen")?;
    let clients = tokio::task::spawn_blocking(move || -> Result<()> {
        let silent = TcpStream::connect(("127.0.0.1", port))?;
        silent.set_read_timeout(Some(LONGEST))?;
        let mut half_a_hello = TcpStream::connect(("127.0.0.1", port))?;
        half_a_hello.set_read_timeout(Some(LONGEST))?;
        half_a_hello.write_all(&[0x16, 0x03, 0x01, 0x02])?;
        let mut no_request = Connection::open(port, &material.bundle)?;
        let mut half_a_head = Connection::open(port, &material.bundle)?;
        half_a_head.stream().write_all(b"POST / HTTP/1.1\r\nhost: a\r\nx-")?;
        let mut half_a_body = Connection::open(port, &material.bundle)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{{",
            Judged::Session.path()
        );
        half_a_body.stream().write_all(head.as_bytes())?;
        // Somebody in a hurry is answered meanwhile.
        let answer = Connection::open(port, &material.bundle)?.post(&Judged::Session.path(), &review("CREATE", &world()["session"], None));
        ensure!(answer["response"]["allowed"] == true, "{answer}");
        closed(silent).context("says nothing")?;
        closed(half_a_hello).context("half a hello")?;
        closed(no_request.stream()).context("no request")?;
        closed(half_a_head.stream()).context("half a head")?;
        let mut status = [0; 12];
        half_a_body.stream().read_exact(&mut status)?;
        ensure!(&status == b"HTTP/1.1 408", "{:?}", String::from_utf8_lossy(&status));
        Ok(())
    });
    clients.await??;
    handle.shutdown();
    Ok(())
}
