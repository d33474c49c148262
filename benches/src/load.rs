//! The load generator: clients that each send a request once the one before is answered, for a given time. It is the same behind every door.

use crate::cluster::Cluster;
use crate::door::{Caller, Door, Operation, callers, least};
use crate::process::{Server, THREADS, machine_cpu, own_cpu};
use anyhow::{Context, Result, anyhow, bail, ensure};
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout, timeout_at};

/// How long one request may take.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What is asked of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) door: Door,
    pub(crate) operation: Operation,
    pub(crate) clients: usize,
    /// Threads of the generator.
    pub(crate) threads: usize,
    /// Connections of gRPC in each thread.
    pub(crate) channels: usize,
    /// Keys are chosen at random below this.
    pub(crate) keys: u64,
    /// The value that is written.
    pub(crate) val: Arc<str>,
    /// How long it runs before it is measured, and for how long it is.
    pub(crate) warm: Duration,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Latencies in microseconds.
    pub(crate) latencies: Histogram<u64>,
    /// For how long was measured.
    pub(crate) seconds: f64,
    /// Processor time in that time, in seconds: of the generator, of the leader, of the other nodes, and of all else on this machine.
    pub(crate) cpu: [f64; 4],
    /// The same of the threads that our nodes have: of the leader, and of the other nodes.
    pub(crate) threads: [[f64; THREADS.len()]; 2],
}

/// Processor time used until some moment: as in [`Measured`].
struct Used {
    cpu: [Duration; 4],
    threads: [[Duration; THREADS.len()]; 2],
}

/// From when to when a client's requests count.
#[derive(Clone, Copy, Debug)]
struct Window {
    begin: Instant,
    end: Instant,
}

impl Load {
    /// Puts the load on node `leader` of `cluster`.
    pub(crate) async fn run(&self, cluster: &Cluster, leader: usize) -> Result<Measured> {
        let (ready, mut readies) = mpsc::channel(self.threads);
        let (start, started) = watch::channel(None);
        let (done, mut results) = mpsc::channel(self.threads);
        for number in 0..self.threads {
            let clients = self.clients / self.threads + usize::from(number < self.clients % self.threads);
            let (load, address) = (self.clone(), cluster.address(leader).to_owned());
            let (ready, started, done) = (ready.clone(), started.clone(), done.clone());
            let work = move || {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(load.work(number, clients, &address, ready, started))
            };
            thread::spawn(move || done.blocking_send(work()));
        }
        drop((ready, done));
        for _ in 0..self.threads {
            if timeout(REQUEST_TIME, readies.recv()).await.context("connecting takes too long")?.is_none() {
                break;
            }
        }
        let begin = Instant::now() + self.warm;
        let end = begin + self.time;
        let _ = start.send(Some(Window { begin, end }));
        sleep_until(begin.into()).await;
        let before = Used::until_now(cluster.servers(), leader)?;
        sleep_until(end.into()).await;
        let after = Used::until_now(cluster.servers(), leader)?;
        let mut latencies = histogram()?;
        for _ in 0..self.threads {
            let result = timeout(2 * REQUEST_TIME, results.recv()).await.context("the load does not end")?;
            latencies.add(result.ok_or_else(|| anyhow!("a thread of the load panicked"))??)?;
        }
        let threads = [0, 1].map(|who| since(after.threads[who], before.threads[who]));
        Ok(Measured { latencies, seconds: self.time.as_secs_f64(), cpu: since(after.cpu, before.cpu), threads })
    }

    /// What one thread does.
    async fn work(
        self,
        number: usize,
        clients: usize,
        address: &str,
        ready: mpsc::Sender<()>,
        mut started: watch::Receiver<Option<Window>>,
    ) -> Result<Histogram<u64>> {
        let callers = callers(self.door, address, clients, self.channels).await?;
        let _ = ready.send(()).await;
        let window = started.wait_for(Option::is_some).await?.ok_or_else(|| anyhow!("there is no window"))?;
        let mut tasks = JoinSet::new();
        for (place, caller) in callers.into_iter().enumerate() {
            tasks.spawn(self.clone().client(caller, Dice::of(number as u64, place as u64), window));
        }
        let mut all = histogram()?;
        while let Some(ended) = tasks.join_next().await {
            all.add(ended??)?;
        }
        Ok(all)
    }

    async fn client(self, mut caller: Caller, mut dice: Dice, window: Window) -> Result<Histogram<u64>> {
        let mut latencies = histogram()?;
        let end = (window.end + REQUEST_TIME).into();
        let least = least(self.operation, self.keys, self.val.len());
        loop {
            let begin = Instant::now();
            if begin >= window.end {
                return Ok(latencies);
            }
            let call = caller.call(self.operation, dice.below(self.keys), &self.val);
            let told = timeout_at(end, call).await.context("a request takes too long")??;
            ensure!(told >= least, "an answer of {told} bytes, and what was asked for has at least {least}");
            let now = Instant::now();
            if begin >= window.begin && now < window.end {
                let time = u64::try_from((now - begin).as_micros())?;
                latencies.record(time.clamp(1, LATENCY_MAX_US))?;
            }
        }
    }
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?)
}

impl Used {
    fn until_now(servers: &[Server], leader: usize) -> Result<Used> {
        let mut used = Used { cpu: Default::default(), threads: Default::default() };
        used.cpu[0] = own_cpu()?;
        for (index, server) in servers.iter().enumerate() {
            let who = usize::from(index != leader);
            used.cpu[1 + who] += server.cpu()?;
            let threads = used.threads[who].iter_mut().zip(server.cpu_of_threads()?);
            threads.for_each(|(sum, one)| *sum += one);
        }
        used.cpu[3] = machine_cpu()?.saturating_sub(used.cpu.iter().sum());
        Ok(used)
    }
}

/// What was used between two moments, in seconds.
fn since<const N: usize>(after: [Duration; N], before: [Duration; N]) -> [f64; N] {
    std::array::from_fn(|at| after[at].saturating_sub(before[at]).as_secs_f64())
}

/// Writes keys 0 to `keys`, each once, by `clients` at a time: one by one, or by [`Operation::Bulk`] many.
pub(crate) async fn fill(
    door: Door,
    address: &str,
    operation: Operation,
    clients: usize,
    keys: u64,
    val: &Arc<str>,
) -> Result<()> {
    let step = if operation == Operation::Bulk { crate::door::BULK } else { 1 };
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for mut caller in callers(door, address, clients, 4).await? {
        let (next, val) = (next.clone(), val.clone());
        tasks.spawn(async move {
            loop {
                let key = next.fetch_add(step, Ordering::Relaxed);
                if key >= keys {
                    return anyhow::Ok(());
                }
                timeout(REQUEST_TIME, caller.call(operation, key, &val))
                    .await
                    .context("a request takes too long")??;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// A value of `bytes` letters and digits, none of which any encoding changes in length.
pub(crate) fn value(bytes: usize) -> Result<Arc<str>> {
    if bytes == 0 {
        bail!("an empty value would delete the key");
    }
    let mut dice = Dice::of(bytes as u64, 0);
    let letter = |_| char::from(b"abcdefghijklmnopqrstuvwxyz012345"[dice.below(32) as usize]);
    Ok((0..bytes).map(letter).collect::<String>().into())
}

/// Numbers that look random and are the same in every run (xorshift64).
struct Dice(u64);

impl Dice {
    fn of(thread: u64, place: u64) -> Dice {
        Dice((thread << 32 | place).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % end
    }
}
