//! The connections of clients: how many there may be, how long they may be silent, and how they end.

use super::answer::{Fail, Reply};
use super::unparsed::{self, HEAD_MAX, Muted};
use crate::notices;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Parts};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};
use warp::http::{Request, StatusCode, Uri};
use warp::{Filter, Rejection};

/// A connection on which no request begins for so long is closed; so is one whose headers take so long.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// A client that takes nothing of its answer for so long is given up.
const STALLED: Duration = Duration::from_secs(30);
/// Connections over the limit that are told so at a time; what is over that is closed without a word.
const TURNED_AWAY_MAX: usize = 64;
/// How long the last answer on a connection may take, if it is not to a request.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The pause after a connection cannot be taken: as a rule there are no more file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is true; then takes no more, and ends when what is open is finished.
pub(super) async fn serve(
    routes: impl Filter<Extract = (Reply,), Error = Rejection> + Clone + Send + Sync + Unpin + 'static,
    listener: TcpListener,
    connections_max: usize,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            () = stopped(&mut stop) => break,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                notices::warn("cannot take a client's connection", "accept", error);
                sleep(PAUSE).await;
                continue;
            }
        };
        if let Ok(place) = places.clone().try_acquire_owned() {
            let (routes, stop) = (routes.clone(), stop.clone());
            tokio::spawn(async move {
                let _place = place;
                metrics::gauge!("paxos_http_connections").increment(1);
                one(routes, stream, stop).await;
                metrics::gauge!("paxos_http_connections").decrement(1);
            });
        } else {
            metrics::counter!("paxos_http_connections_refused_total").increment(1);
            if let Ok(place) = turned_away.clone().try_acquire_owned() {
                tokio::spawn(async move {
                    let _place = place;
                    let why = format!(
                        "the node has {connections_max} connections, as many as it takes; the request was not carried out"
                    );
                    let _ = timeout(LAST_WORDS, part(stream, &Fail::new(503, why))).await;
                });
            }
        }
    }
    drop(listener);
    let all = u32::try_from(connections_max).expect("the configuration bounds it");
    let _ = places.acquire_many(all).await;
}

/// Resolves when the node is to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves one connection to its end.
async fn one(
    routes: impl Filter<Extract = (Reply,), Error = Rejection> + Clone + Send + Sync + Unpin + 'static,
    stream: TcpStream,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Muted::new(Patient { stream, stalled: None }));
    let service = TowerToHyperService::new(warp::service(routes));
    // Boxed, so that the stream can be taken back at the end.
    let service = service_fn(move |mut request: Request<Incoming>| {
        // A `CONNECT` names no path, and warp cannot do without.
        if request.uri().path_and_query().is_none() {
            *request.uri_mut() = Uri::from_static("/");
        }
        Box::pin(service.call(request))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_header_size(HEAD_MAX)
        // Who sends no more may still read: the answer to what was carried out is owed to it. Whoever is gone looks the same, and keeps its
        // place until its request is answered, which is no later than its deadline.
        .half_close(true)
        .serve_connection(stream, service);
    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
        () = stopped(&mut stop) => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    let Parts { io, read_buf, .. } = connection.into_parts();
    let (mut stream, status) = io.into_inner().into_parts();
    let Err(error) = ended else {
        let _ = stream.shutdown().await;
        return;
    };
    tracing::debug!(%error, "a client's connection broke off");
    if let Some(fail) = unparsed::reason(&error, status, &read_buf) {
        metrics::counter!("paxos_http_requests_total", "kind" => "other", "outcome" => "malformed").increment(1);
        let _ = timeout(LAST_WORDS, part(stream, &fail)).await;
    }
}

/// Answers with `fail`, whatever is asked, and closes.
async fn part(mut stream: impl AsyncRead + AsyncWrite + Unpin, fail: &Fail) -> io::Result<()> {
    let body = fail.body();
    let status = StatusCode::from_u16(fail.status).expect("a status");
    let mut bytes = Vec::new();
    let length = body.len();
    write!(
        bytes,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    )?;
    bytes.extend_from_slice(&body);
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    // What the client still sends is read, since closing upon it would take the answer back.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// A stream that fails when the other side takes nothing for [`STALLED`].
struct Patient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, polled)
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
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
