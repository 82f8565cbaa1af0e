//! What stands between executor and server: links that cut, a tunnel to a server under its public name, and a gate that
//! answers in the server's place. Threads end with their connection, and all of them with the test's process.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// When a link cuts, by bytes of the server's answers.
#[derive(Clone, Copy)]
pub(super) enum Cut {
    EachConnectionAfter(usize),
    AllAfter(usize),
}

/// A port whose connections reach the server until they are cut.
pub(super) fn cutting(server: u16, cut: Cut) -> u16 {
    cutting_at(0, server, cut)
}

/// The same at a port that was chosen before.
pub(super) fn cutting_at(port: u16, server: u16, cut: Cut) -> u16 {
    let all = Arc::new(AtomicUsize::new(0));
    serve_at(port, move |client| {
        let (passed, most) = match cut {
            Cut::EachConnectionAfter(most) => (Arc::default(), most),
            Cut::AllAfter(most) => (all.clone(), most),
        };
        join(client, connect(server)?, &passed, most)
    })
}

/// An HTTP proxy that leads to this server, whichever host it is asked for.
pub(super) fn tunnel(server: u16) -> u16 {
    serve(move |mut client| {
        if head(&mut BufReader::new(client.try_clone()?))?.is_none() {
            return Ok(());
        }
        let Ok(server) = connect(server) else {
            return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        };
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        join(client, server, &AtomicUsize::new(0), usize::MAX)
    })
}

/// Passes requests without a body on, but for those that `answer` answers from their head.
pub(super) fn gate(server: u16, answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> u16 {
    serve(move |mut client| {
        let mut server = connect(server)?;
        let (answers, to_client) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || pass_on(answers, to_client, &AtomicUsize::new(0), usize::MAX));
        let mut requests = BufReader::new(client.try_clone()?);
        while let Some(head) = head(&mut requests)? {
            match answer(&head) {
                Some(answer) => client.write_all(answer.as_bytes())?,
                None => server.write_all(head.as_bytes())?,
            }
        }
        server.shutdown(Shutdown::Both)
    })
}

/// An answer with this status, such as `404 Not Found`.
pub(super) fn response(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn serve(each: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    serve_at(0, each)
}

fn serve_at(port: u16, each: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let each = Arc::new(each);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let each = each.clone();
            // An error means that one side is gone; the other one sees its connection end.
            thread::spawn(move || each(client).ok());
        }
    });
    port
}

fn connect(server: u16) -> io::Result<TcpStream> {
    TcpStream::connect(("127.0.0.1", server))
}

/// The head of a request, or nothing at the end of the connection.
fn head(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn join(client: TcpStream, server: TcpStream, passed: &AtomicUsize, most: usize) -> io::Result<()> {
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass_on(from_client, to_server, &AtomicUsize::new(0), usize::MAX));
    pass_on(server, client, passed, most);
    Ok(())
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, passed: &AtomicUsize, most: usize) {
    let mut buffer = vec![0; 16_384];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || passed.fetch_add(read, Ordering::Relaxed) + read > most || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // An error means that the other side has closed it already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
