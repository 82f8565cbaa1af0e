//! Connections without TLS: everything may be sent on them but a password as it is, which whoever listens could use. A server,
//! or somebody who says he is one, may ask for it like that; then nothing is answered.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What is said when a password is asked for as it is.
pub(super) const CLEAR: &str =
    "the server wants the password in clear, and without TLS everybody on the way could read it: give --ca, or let it ask by scram-sha-256";

/// Tag and length of a message of the server, and the kind of one about authentication.
const HEAD: usize = 9;

/// A connection, and what the server says on it until it has let us in.
pub(super) struct Plain {
    stream: TcpStream,
    heard: Heard,
}

/// How far the server's messages were followed.
#[derive(Debug, Default)]
struct Heard {
    head: Vec<u8>,
    /// Bytes of the current message that do not matter.
    skip: u64,
    /// Whether authentication is over.
    done: bool,
}

impl Plain {
    /// Connects.
    pub(super) async fn connect(host: &str, port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(30)))?;
        socket.set_tcp_user_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, heard: Heard::default() })
    }
}

impl Heard {
    /// Follows what the server says; whether that may be given on.
    fn hear(&mut self, mut bytes: &[u8]) -> bool {
        while !self.done && !bytes.is_empty() {
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((byte, rest)) = bytes.split_first() else { return true };
            self.head.push(*byte);
            bytes = rest;
            if self.head.len() < if self.head[0] == b'R' { HEAD } else { 5 } {
                continue;
            }
            let number = |at: usize| self.head.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes);
            // The length counts itself, and not the tag.
            let taken = self.head.len() as u64 - 1;
            self.skip = u64::from(number(1)).saturating_sub(taken);
            if self.head[0] == b'R' {
                match number(5) {
                    0 => self.done = true,
                    3 => return false,
                    _ => {}
                }
            }
            self.head.clear();
        }
        true
    }
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) && !self.heard.hear(&buffer.filled()[before..]) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, CLEAR)));
        }
        polled
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Heard;

    /// However it comes.
    fn passes(parts: &[&[u8]]) -> bool {
        let all = parts.concat();
        let whole = Heard::default().hear(&all);
        for size in 1..all.len() {
            let mut heard = Heard::default();
            assert_eq!(all.chunks(size).all(|chunk| heard.hear(chunk)), whole, "by {size}");
        }
        whole
    }

    #[test]
    fn only_asking_for_a_password_in_clear_is_not_given_on() {
        let (clear, md5, sasl, well) = (
            &b"R\0\0\0\x08\0\0\0\x03"[..],
            &b"R\0\0\0\x0c\0\0\0\x05salt"[..],
            &b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"[..],
            &b"R\0\0\0\x08\0\0\0\0"[..],
        );
        let notice = &b"N\0\0\0\x0eR\0\0\0\x08\0\0\0\x03\0"[..];
        assert!(!passes(&[clear]));
        assert!(!passes(&[notice, clear]));
        assert!(!passes(&[md5, clear]));
        assert!(!passes(&[sasl, clear]));
        for fine in [&[well][..], &[md5, well], &[sasl, well], &[notice, sasl, well, notice], &[b"E\0\0\0\x05\0"], &[b""]] {
            assert!(passes(fine), "{fine:?}");
        }
        // What comes after is rows.
        assert!(passes(&[well, clear]));
    }
}
