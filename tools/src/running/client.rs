//! The client of a control domain's API.

use std::net::Ipv4Addr;
use std::time::Duration;

use miette::miette;
use mote_api::PIECE;
use mote_api::model::{Action, Domain, Domains, Image, Images, Machine, Problem, Shutdown, Taken};
use serde::de::DeserializeOwned;
use ureq::http::{HeaderMap, Method, Request};
use ureq::{Agent, Error};

use super::State;
use crate::failure::{Failure, Result};

/// How long an answer may take: the machine is emulated, and may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// No answer is longer.
const LONGEST: u64 = 16 << 20;

/// Who talks to a machine's control domain.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    authorization: String,
}

/// A part of what a domain said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// How many bytes it had said before.
    pub from: u64,
    /// How many after.
    pub next: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// An answer that is no refusal.
struct Answer {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    /// A client of this machine. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// The machine has no network.
    pub fn new(state: &State) -> Result<Self> {
        let port = state.port.ok_or_else(|| {
            Failure::unable(miette!(
                help = "add a guest with mote,driver; to its configuration: through it the control domain is reached",
                "the machine {} ({}) has no network",
                state.pid,
                state.config
            ))
        })?;
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            // The server ends a connection on which nothing comes after 5 s.
            .max_idle_age(Duration::from_secs(3))
            // Whatever the environment says: it is on this machine.
            .proxy(None)
            .user_agent(concat!("mote/", env!("CARGO_PKG_VERSION")));
        let authorization = format!("Bearer {}", state.token.text());
        let base = format!("http://{}:{port}", Ipv4Addr::LOCALHOST);
        Ok(Self { agent: config.build().into(), base, authorization })
    }

    /// The machine.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub fn machine(&self) -> Result<Machine> {
        self.get("/machine")
    }

    /// What the hypervisor has said.
    ///
    /// # Errors
    ///
    /// The machine does not answer.
    pub fn log(&self) -> Result<Vec<u8>> {
        Ok(self.ask(Method::GET, "/dmesg", None, &[])?.body)
    }

    /// Everything that is measured, as Prometheus reads it.
    ///
    /// # Errors
    ///
    /// The machine does not answer.
    pub fn metrics(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.ask(Method::GET, "/metrics", None, &[])?.body).into_owned())
    }

    /// All domains.
    ///
    /// # Errors
    ///
    /// The machine does not answer.
    pub fn domains(&self) -> Result<Domains> {
        self.get("/domains")
    }

    /// A domain.
    ///
    /// # Errors
    ///
    /// There is none of this name or number.
    pub fn domain(&self, name: &str) -> Result<Domain> {
        self.get(&path(name, "")?)
    }

    /// Whether there is a domain of this name or number, and it has not shut down.
    ///
    /// # Errors
    ///
    /// The machine does not answer.
    pub fn is_up(&self, name: &str) -> Result<bool> {
        let domains = self.domains()?.domains;
        let found = domains.iter().find(|domain| domain.name == name || domain.id.to_string() == name);
        Ok(found.is_some_and(|domain| !domain.state.shutdown && !domain.state.dying))
    }

    /// Builds the domain of a compiled device tree. It stays paused.
    ///
    /// # Errors
    ///
    /// Why it cannot be built.
    pub fn create(&self, tree: &[u8]) -> Result<Domain> {
        read(&self.ask(Method::POST, "/domains?paused=true", None, tree)?.body)
    }

    /// Destroys a domain.
    ///
    /// # Errors
    ///
    /// Why it cannot be destroyed.
    pub fn destroy(&self, name: &str) -> Result<()> {
        self.ask(Method::DELETE, &path(name, "")?, None, &[]).map(drop)
    }

    /// Pauses a domain.
    ///
    /// # Errors
    ///
    /// Why it cannot be paused.
    pub fn pause(&self, name: &str) -> Result<Domain> {
        self.post(&path(name, "/pause")?, &[])
    }

    /// Lets a paused domain run.
    ///
    /// # Errors
    ///
    /// Why it cannot be unpaused.
    pub fn unpause(&self, name: &str) -> Result<Domain> {
        self.post(&path(name, "/unpause")?, &[])
    }

    /// Asks a domain to shut down.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked.
    pub fn shut_down(&self, name: &str, action: Action) -> Result<Domain> {
        let body = serde_json::to_vec(&Shutdown { action }).unwrap_or_default();
        self.post(&path(name, "/shutdown")?, &body)
    }

    /// Has the control domain or a driver domain fail and be built again.
    ///
    /// # Errors
    ///
    /// Why it cannot be.
    pub fn restart(&self, name: &str) -> Result<Domain> {
        self.post(&path(name, "/restart")?, &[])
    }

    /// What a domain has said from byte `from` on.
    ///
    /// # Errors
    ///
    /// It has no console.
    pub fn console(&self, name: &str, from: u64) -> Result<Console> {
        let answer = self.ask(Method::GET, &path(name, &format!("/console?from={from}"))?, None, &[])?;
        let number = |name: &str| answer.headers.get(name)?.to_str().ok()?.parse().ok();
        let (from, next) = (number("Mote-From"), number("Mote-Next"));
        match (from, next) {
            (Some(from), Some(next)) => Ok(Console { from, next, bytes: answer.body }),
            _ => Err(strange("it does not say where the console's bytes begin")),
        }
    }

    /// Types at a domain's console. The answer is how many bytes there was room for.
    ///
    /// # Errors
    ///
    /// It has no console.
    pub fn type_at(&self, name: &str, bytes: &[u8]) -> Result<usize> {
        let taken: Taken = self.post(&path(name, "/console")?, bytes)?;
        Ok(usize::try_from(taken.taken).unwrap_or(usize::MAX).min(bytes.len()))
    }

    /// All images.
    ///
    /// # Errors
    ///
    /// The machine does not answer.
    pub fn images(&self) -> Result<Vec<Image>> {
        Ok(self.get::<Images>("/images")?.images)
    }

    /// Sends an image, of which `sent` hears how much is there.
    ///
    /// # Errors
    ///
    /// There is no room for it.
    pub fn put_image(&self, name: &str, bytes: &[u8], mut sent: impl FnMut(usize)) -> Result<()> {
        let mut offset = 0;
        for piece in bytes.chunks(PIECE) {
            let end = offset + piece.len();
            let range = format!("bytes {offset}-{}/{}", end - 1, bytes.len());
            self.ask(Method::PUT, &format!("/images/{name}"), Some(&range), piece)?;
            sent(end);
            offset = end;
        }
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(&self.ask(Method::GET, path, None, &[])?.body)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T> {
        read(&self.ask(Method::POST, path, None, body)?.body)
    }

    fn ask(&self, method: Method, path: &str, range: Option<&str>, body: &[u8]) -> Result<Answer> {
        let mut request = Request::builder().uri(format!("{}{path}", self.base)).method(&method);
        request = request.header("Authorization", &self.authorization);
        if let Some(range) = range {
            request = request.header("Content-Range", range);
        }
        let sent = match method {
            Method::GET | Method::DELETE => request.body(()).map_err(Error::from).and_then(|it| self.agent.run(it)),
            _ => request.body(body).map_err(Error::from).and_then(|it| self.agent.run(it)),
        };
        let mut response = sent.map_err(silent)?;
        let body = response.body_mut().with_config().limit(LONGEST).read_to_vec().map_err(silent)?;
        match response.status().as_u16() {
            200..=299 => Ok(Answer { headers: response.headers().clone(), body }),
            status => Err(refused(status, &body)),
        }
    }
}

/// The path of a domain, and what is behind it. A name that no domain can have would be another path.
fn path(name: &str, rest: &str) -> Result<String> {
    if mote_builder::config::is_name(name) {
        return Ok(format!("/domains/{name}{rest}"));
    }
    let help = "`mote list` shows which there are";
    Err(Failure::misused(vec![miette!(help = help, "there is no domain `{}`", name.escape_default())]))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| strange(&error.to_string()))
}

/// The control domain refuses what it is asked for.
fn refused(status: u16, body: &[u8]) -> Failure {
    let Ok(Problem { error, hint }) = serde_json::from_slice(body) else {
        return strange(&format!("status {status} without a reason"));
    };
    let report = miette!(help = hint, "{error}");
    match status {
        400 | 404 | 409 | 413 | 422 => Failure::misused(vec![report]),
        _ => Failure::unable(report),
    }
}

/// No answer came.
fn silent(error: Error) -> Failure {
    let help = match &error {
        Error::Timeout(_) => "it may still be starting, or be stopped by a debugger: try again, and see its console",
        _ => "it may just be starting or ending: try again, and see its console",
    };
    Failure::unable(miette!(help = help, "the machine's control domain does not answer: {error}"))
}

/// An answer came that none of ours would give.
fn strange(what: &str) -> Failure {
    let help = "is the machine of another version than this tool? Start it anew";
    Failure::unable(miette!(
        help = help,
        "the machine's control domain answers what this tool does not understand: {what}"
    ))
}
