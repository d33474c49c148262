//! Requests that cannot be read as HTTP. They never reach the routes: hyper answers them itself, with a status and no body, and closes.
//! Here that answer is kept back, so that one that says why can go in its place.
//!
//! To read the heads ourselves would mean to follow the bodies, too, so as to know where the next head begins; and then there were two
//! opinions of that.

use super::answer::Fail;
use super::connections::IDLE;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest head of a request, in bytes.
pub(super) const HEAD_MAX: usize = 128 << 10;
/// The longest target of a request, in bytes: hyper's limit.
const TARGET_MAX: usize = 65_534;
/// The most headers of a request: hyper's limit.
const HEADERS_MAX: usize = 100;

/// A stream that takes hyper's own answers and does not send them.
pub(super) struct Muted<S> {
    stream: S,
    status: Option<u16>,
}

impl<S> Muted<S> {
    pub(super) fn new(stream: S) -> Self {
        Muted { stream, status: None }
    }

    /// The stream, and the status of the answer that was kept back.
    pub(super) fn into_parts(self) -> (S, Option<u16>) {
        (self.stream, self.status)
    }

    /// Takes hyper's own answer, if `bytes` begin with it. Returns its length.
    fn keep_back(&mut self, bytes: &[u8]) -> Option<usize> {
        let (status, length) = own_answer(bytes)?;
        self.status = Some(status);
        Some(length)
    }
}

/// The status and the length of the answer that hyper itself gives, if `bytes` begin with it. It hands over the whole head at once, and
/// nothing else looks like it: the answers of the routes have bodies, and no body has the end of a line of HTTP in it.
fn own_answer(bytes: &[u8]) -> Option<(u16, usize)> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    let status = [400, 414, 431].into_iter().find(|status: &u16| rest.starts_with(status.to_string().as_bytes()))?;
    let length = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let empty = b"\r\ncontent-length: 0\r\n";
    bytes[..length].windows(empty.len()).any(|line| line == empty).then_some((status, length))
}

/// What to answer when a connection ended with `error`: none if it did not end in the middle of a head. `status` is that of hyper's own
/// answer, if there is one, and `left` is what was not read as a request.
pub(super) fn reason(error: &hyper::Error, status: Option<u16>, left: &[u8]) -> Option<Fail> {
    let why = |status, why: String| Some(Fail::new(status, why));
    match status {
        Some(414) => why(414, format!("the target of the request is longer than {TARGET_MAX} bytes")),
        // hyper says the same of a length that is beyond its numbers. Only a head that could not be taken is still there.
        Some(431) if !is_head(left) => why(413, "the content-length is more than any body may have".into()),
        Some(431) => why(
            431,
            format!("the request's head is longer than {HEAD_MAX} bytes, or has more than {HEADERS_MAX} headers"),
        ),
        Some(status) => why(status, format!("this cannot be read as a request of HTTP/1.1: {error}")),
        None if error.is_parse() => why(400, format!("this cannot be read as a request of HTTP/1.1: {error}")),
        None if error.is_timeout() && !left.is_empty() => {
            why(408, format!("the request's head did not arrive within {IDLE:?}; the request was not carried out"))
        }
        None if error.is_incomplete_message() && !left.is_empty() => why(400, "the request's head broke off".into()),
        None => None,
    }
}

/// Whether `bytes` begin with a head, be it too long for its end to be there.
fn is_head(bytes: &[u8]) -> bool {
    let first = bytes.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let version = b" HTTP/1.";
    bytes.len() >= HEAD_MAX || first.is_some_and(|line| line.windows(version.len()).any(|part| part == version))
}

impl<S: AsyncRead + Unpin> AsyncRead for Muted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Muted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.keep_back(bytes) {
            Some(length) => Poll::Ready(Ok(length)),
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bytes.iter().find(|part| !part.is_empty());
        match first.and_then(|first| self.keep_back(first)) {
            Some(length) => Poll::Ready(Ok(length)),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const OWN: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: x\r\n\r\n";

    #[tokio::test]
    async fn only_the_librarys_own_answer_is_kept_back() {
        for other in [
            &b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{\"error\": \"\"}"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 12\r\n\r\n\r\ncontent-length: 0\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"{\"val\":\"HTTP/1.1 400 Bad Request\\r\\ncontent-length: 0\\r\\n\\r\\n\"}",
            &OWN[1..],
            b"",
        ] {
            let mut muted = Muted::new(Vec::new());
            muted.write_all(other).await.unwrap();
            assert_eq!(muted.into_parts(), (other.to_vec(), None));
        }
        let mut muted = Muted::new(Vec::new());
        muted.write_all(b"before").await.unwrap();
        muted.write_all(OWN).await.unwrap();
        assert_eq!(muted.into_parts(), (b"before".to_vec(), Some(431)));
        let mut muted = Muted::new(Vec::new());
        let parts = [IoSlice::new(b""), IoSlice::new(OWN), IoSlice::new(b"after")];
        assert_eq!(muted.write_vectored(&parts).await.unwrap(), OWN.len());
        muted.write_all(b"after").await.unwrap();
        assert_eq!(muted.into_parts(), (b"after".to_vec(), Some(431)));
    }
}
