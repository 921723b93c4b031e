//! A bounded load on a web server: so many requests from so many clients at once, and how long each waited.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;

/// How long an answer may take: the machine behind it is emulated.
const PATIENCE: Duration = Duration::from_secs(20);
/// No answer is longer.
const LONGEST: u64 = 16 << 20;

/// What is asked for, and how often.
#[derive(Clone, Debug)]
pub struct Load {
    /// The page, at one or more addresses. Clients are spread over these.
    pub urls: Vec<String>,
    /// How many requests in all.
    pub requests: u64,
    /// How many clients ask at the same time, each as soon as it has its answer.
    pub clients: usize,
    /// Whether a client keeps its connection for its next request.
    pub keep_alive: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How long each answered request waited for the last byte of its answer, shortest first.
    pub latencies: Vec<Duration>,
    /// How many requests had no answer, or one that is no success; and why the first had none.
    pub failed: u64,
    /// Why the first of these failed.
    pub trouble: Option<String>,
    /// Bytes of all answers' bodies.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub elapsed: Duration,
}

impl Load {
    /// Asks, until all requests are answered or have failed. `progress` hears how many are.
    #[must_use]
    pub fn run(&self, progress: impl Fn(u64) + Sync) -> Outcome {
        let (taken, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let began = Instant::now();
        let client = |url: &str| {
            let (agent, mut outcome) = (self.agent(), Outcome::default());
            while taken.fetch_add(1, Ordering::Relaxed) < self.requests {
                outcome.note(&self.ask(&agent, url));
                progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            }
            outcome
        };
        let outcomes: Vec<Outcome> = thread::scope(|scope| {
            let client = &client;
            let urls = self.urls.iter().cycle().take(self.clients);
            let clients: Vec<_> = urls.map(|url| scope.spawn(move || client(url))).collect();
            clients.into_iter().filter_map(|client| client.join().ok()).collect()
        });
        Outcome::of_all(outcomes, began.elapsed())
    }

    /// Asks once at each address: whether there are answers.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.urls.iter().all(|url| self.ask(&self.agent(), url).is_ok())
    }

    fn agent(&self) -> Agent {
        let config = Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0).proxy(None);
        let kept = usize::from(self.keep_alive);
        config.max_idle_connections(kept).user_agent(concat!("mote/", env!("CARGO_PKG_VERSION"))).build().into()
    }

    /// How long one answer took, and how many bytes it has.
    fn ask(&self, agent: &Agent, url: &str) -> Result<(Duration, u64), ureq::Error> {
        let began = Instant::now();
        let request = agent.get(url);
        let request = if self.keep_alive { request } else { request.header("Connection", "close") };
        let body = request.call()?.into_body().into_with_config().limit(LONGEST).read_to_vec()?;
        Ok((began.elapsed(), body.len() as u64))
    }
}

impl Outcome {
    fn note(&mut self, answer: &Result<(Duration, u64), ureq::Error>) {
        match answer {
            Ok((latency, bytes)) => {
                self.latencies.push(*latency);
                self.bytes += bytes;
            }
            Err(error) => {
                self.failed += 1;
                self.trouble.get_or_insert_with(|| error.to_string());
            }
        }
    }

    /// That of loads that came one after the other.
    #[must_use]
    pub fn of_rounds(outcomes: Vec<Self>) -> Self {
        let elapsed = outcomes.iter().map(|outcome| outcome.elapsed).sum();
        Self::of_all(outcomes, elapsed)
    }

    fn of_all(outcomes: Vec<Self>, elapsed: Duration) -> Self {
        let mut all = Self { elapsed, ..Self::default() };
        for outcome in outcomes {
            all.latencies.extend(outcome.latencies);
            all.failed += outcome.failed;
            all.bytes += outcome.bytes;
            all.trouble = all.trouble.or(outcome.trouble);
        }
        all.latencies.sort_unstable();
        all
    }

    /// What `per_mille` of the answered requests did not wait longer than.
    #[must_use]
    pub fn percentile(&self, per_mille: usize) -> Option<Duration> {
        percentile(&self.latencies, per_mille)
    }

    /// Answers per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// What `per_mille` of all, which are `sorted`, are not greater than.
pub(crate) fn percentile<T: Copy>(sorted: &[T], per_mille: usize) -> Option<T> {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    /// A server that answers so many connections with this, and is gone.
    fn server(connections: usize, answer: &'static str) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        thread::spawn(move || {
            for stream in listener.incoming().take(connections) {
                let mut stream = stream.expect("a client");
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        format!("http://{}:{port}/", Ipv4Addr::LOCALHOST)
    }

    const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

    #[test]
    fn every_request_is_counted_once() {
        let urls = vec![server(20, PAGE)];
        let load = Load { urls, requests: 20, clients: 3, keep_alive: false };
        let outcome = load.run(|_| ());
        assert_eq!((outcome.latencies.len(), outcome.failed, outcome.bytes), (20, 0, 100), "{:?}", outcome.trouble);
        assert!(outcome.latencies.is_sorted() && outcome.rate() > 0.0);
    }

    #[test]
    fn every_address_has_to_answer_and_each_client_has_one() {
        let urls = vec![server(2, PAGE), server(1, PAGE), server(0, PAGE)];
        let mut load = Load { urls, requests: 1, clients: 1, keep_alive: false };
        assert_eq!(load.run(|_| ()).latencies.len(), 1);
        assert!(!load.is_answered());
        load.urls.truncate(1);
        assert!(!load.is_answered(), "it was asked twice before");
    }

    #[test]
    fn a_refusal_and_a_server_that_is_gone_are_failures() {
        let refusal = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let load = Load { urls: vec![server(1, refusal)], requests: 3, clients: 1, keep_alive: false };
        let outcome = load.run(|_| ());
        assert_eq!((outcome.latencies.len(), outcome.failed), (0, 3));
        assert!(outcome.trouble.is_some_and(|trouble| trouble.contains("503")));
        assert!(!load.is_answered());
    }

    #[test]
    fn rounds_add_up() {
        let round = |ms| Outcome {
            latencies: vec![Duration::from_millis(ms)],
            bytes: 5,
            elapsed: Duration::from_secs(1),
            ..Outcome::default()
        };
        let outcome = Outcome::of_rounds(vec![round(2), round(1)]);
        assert_eq!((outcome.bytes, outcome.elapsed.as_secs(), outcome.rate()), (10, 2, 1.0));
        assert!(outcome.latencies.is_sorted());
    }

    #[test]
    fn percentiles_are_ranks() {
        let latencies = (1..=200).map(Duration::from_millis).collect();
        let outcome = Outcome { latencies, ..Outcome::default() };
        for (per_mille, milliseconds) in [(0, 1), (500, 100), (990, 198), (999, 200), (1000, 200)] {
            assert_eq!(outcome.percentile(per_mille), Some(Duration::from_millis(milliseconds)));
        }
        assert_eq!(Outcome::default().percentile(500), None);
    }
}
