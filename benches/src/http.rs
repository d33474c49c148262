//! A client of HTTP/1.1 that keeps its connection and does little for each request: it writes prepared bytes, and reads status and body.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READ_BYTES: usize = 16 << 10;
const HEADERS_MAX: usize = 32;
/// The longest answer: a listing of all keys is shorter.
const ANSWER_MAX: usize = 256 << 20;

/// A connection that is kept for one request after the other.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What was read of the present answer.
    answer: Vec<u8>,
    /// The body of an answer that came in chunks.
    body: Vec<u8>,
}

/// How the end of a body is told.
enum Length {
    Bytes(usize),
    Chunked,
}

/// A request as bytes.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Connection {
    /// Connects to `address`, as `HOST:PORT`.
    pub(crate) async fn open(address: &str) -> Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, answer: Vec::with_capacity(READ_BYTES), body: Vec::new() })
    }

    /// Sends `request`; returns status and body of its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let (status, begin, length) = loop {
            self.read().await?;
            if let Some(head) = head(&self.answer)? {
                break head;
            }
        };
        match length {
            Length::Bytes(length) => {
                while self.answer.len() < begin + length {
                    self.read().await?;
                }
                Ok((status, &self.answer[begin..begin + length]))
            }
            Length::Chunked => {
                self.read_chunks(begin).await?;
                Ok((status, &self.body))
            }
        }
    }

    async fn read_chunks(&mut self, mut at: usize) -> Result<()> {
        self.body.clear();
        loop {
            match httparse::parse_chunk_size(&self.answer[at..]) {
                Ok(httparse::Status::Complete((line, size))) => {
                    let (begin, size) = (at + line, usize::try_from(size)?);
                    if size > ANSWER_MAX {
                        bail!("a chunk of {size} bytes");
                    }
                    // A line's end follows each chunk, the last one, which is empty, included.
                    let end = begin + size + 2;
                    while self.answer.len() < end {
                        self.read().await?;
                    }
                    self.body.extend_from_slice(&self.answer[begin..begin + size]);
                    at = end;
                    if size == 0 {
                        return Ok(());
                    }
                }
                Ok(httparse::Status::Partial) => self.read().await?,
                Err(error) => bail!("an answer with a wrong chunk: {error}"),
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        if self.answer.len() > ANSWER_MAX {
            bail!("an answer of more than {ANSWER_MAX} bytes");
        }
        self.answer.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.answer).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }
}

/// Status, where the body begins and how its end is told, once the head is there.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, Length)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(begin) = response.parse(bytes)? else { return Ok(None) };
    let mut length = Length::Bytes(0);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Length::Bytes(std::str::from_utf8(header.value)?.trim().parse()?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            length = Length::Chunked;
        }
    }
    Ok(Some((response.code.context("an answer without a status")?, begin, length)))
}
