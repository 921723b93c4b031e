//! A machine's state file: who knows it may do everything to the machine, so it is for its user alone.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, WrapErr, miette};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use crate::workspace;

/// Shown to whoever looks for a machine when there is none.
const START: &str = "start one with `cargo run` or `cargo run -- run CONFIG.dts`, in another terminal";

/// What must be known of a running machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The process that runs it.
    pub pid: u32,
    /// What its configuration is called.
    pub config: String,
    /// The port on loopback that leads to the control domain; none if the machine has no network.
    pub port: Option<u16>,
    /// What the control domain asks for.
    pub token: Token,
    /// What else leads to domains.
    pub services: Vec<Service>,
}

/// A port on loopback that leads to a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The domain's name.
    pub domain: String,
    /// The port on loopback.
    pub host: u16,
    /// The domain's own.
    pub guest: u16,
}

/// 32 random bytes in hexadecimal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token(String);

impl Token {
    /// One that nobody knows yet.
    ///
    /// # Errors
    ///
    /// The system gives no random numbers.
    pub fn fresh() -> Result<Self> {
        let mut bytes = [0; 32];
        let given = getrandom(&mut bytes[..], GetRandomFlags::empty());
        let given = given.into_diagnostic().wrap_err("the system gives no random numbers")?;
        if given != bytes.len() {
            return Err(Failure::unable(miette!("the system gives too few random numbers")));
        }
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Its characters.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A machine's state file, which is there for as long as this is.
#[derive(Debug)]
pub struct Announced {
    path: PathBuf,
    // Locked: by that others see that whoever wrote it is still there, even if it could not clean up.
    _file: File,
}

impl Drop for Announced {
    fn drop(&mut self) {
        // What remains is found to be stale by its lock.
        let _ = fs::remove_file(&self.path);
    }
}

impl State {
    /// Writes the file by which others find the machine.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn announce(&self) -> Result<Announced> {
        self.announce_in(&directory())
    }

    /// Writes it into `directory`.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn announce_in(&self, directory: &Path) -> Result<Announced> {
        let path = directory.join(format!("{}.json", self.pid));
        let write = || {
            fs::create_dir_all(directory)?;
            // Only its owner may read a temporary file. It gets its name when it is whole and locked.
            let mut file = tempfile::Builder::new().prefix(".new").tempfile_in(directory)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.as_file().lock()?;
            Ok(file.persist(&path)?)
        };
        let file = write().map_err(|error: std::io::Error| {
            Failure::unable(miette!("cannot write the machine's state file {}: {error}", path.display()))
        })?;
        Ok(Announced { path, _file: file })
    }

    /// The one machine that runs, or the one whose configuration or process is called `name`.
    ///
    /// # Errors
    ///
    /// There is none, or there are several.
    pub fn find(name: Option<&str>) -> Result<Self> {
        Self::choose(Self::all_in(&directory()), name)
    }

    /// All machines that run, by the files in `directory`. Those of machines that are gone are removed.
    #[must_use]
    pub fn all_in(directory: &Path) -> Vec<Self> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        let mut found: Vec<_> = files.filter_map(|path| read(&path)).collect();
        found.sort_by_key(|state| state.pid);
        found
    }

    fn choose(mut machines: Vec<Self>, name: Option<&str>) -> Result<Self> {
        let list = machines.iter().map(|state| format!("{} ({})", state.pid, state.config)).collect::<Vec<_>>();
        if let Some(name) = name {
            machines.retain(|state| state.config == name || state.pid.to_string() == name);
        }
        match (machines.len(), name) {
            (1, _) => Ok(machines.swap_remove(0)),
            (0, _) if list.is_empty() => Err(Failure::unable(miette!(help = START, "no machine runs"))),
            (0, name) => Err(Failure::misused(vec![miette!(
                help = format!("machines that run: {}", list.join(", ")),
                "no machine `{}` runs",
                name.unwrap_or_default()
            )])),
            (count, _) => Err(Failure::misused(vec![miette!(
                help = format!("say which, with --machine and its number: {}", list.join(", ")),
                "{count} machines run"
            )])),
        }
    }
}

/// Where the files are: in the user's own directory for such things, or in the checkout.
fn directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(own) if Path::new(&own).is_absolute() => PathBuf::from(own).join("mote"),
        _ => workspace::artefacts().join("machines"),
    }
}

/// The state of a machine that runs still.
fn read(path: &Path) -> Option<State> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        // Somebody holds it.
        Err(TryLockError::WouldBlock) => {}
        Ok(()) => {
            // It will be tried again by the next one.
            let _ = fs::remove_file(path);
            return None;
        }
        Err(TryLockError::Error(_)) => return None,
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::failure::Status;

    fn state(pid: u32, config: &str) -> State {
        let token = Token::fresh().expect("random numbers");
        State { pid, config: config.into(), port: Some(1), token, services: Vec::new() }
    }

    #[test]
    fn a_machine_is_found_while_it_runs_and_by_its_user_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("mote");
        let state = state(17, "demo");
        let announced = state.announce_in(&place).expect("written");
        assert_eq!(State::all_in(&place), [state]);
        let mode = fs::metadata(place.join("17.json")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(announced);
        assert_eq!(State::all_in(&place), []);
        assert_eq!(fs::read_dir(&place).expect("a directory").count(), 0);
    }

    #[test]
    fn what_a_killed_machine_left_is_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let stale = directory.path().join("18.json");
        fs::write(&stale, serde_json::to_vec(&state(18, "demo")).expect("JSON")).expect("written");
        fs::write(directory.path().join("notes.txt"), "").expect("written");
        assert_eq!(State::all_in(directory.path()), []);
        assert!(!stale.exists() && directory.path().join("notes.txt").exists());
    }

    #[test]
    fn of_several_machines_one_must_be_named() {
        let two = || vec![state(1, "demo"), state(2, "bench")];
        assert_eq!(State::choose(two(), Some("bench")).map(|state| state.pid).ok(), Some(2));
        assert_eq!(State::choose(two(), Some("1")).map(|state| state.pid).ok(), Some(1));
        for (machines, name, status, words) in [
            (Vec::new(), None, Status::Unable, "no machine runs"),
            (Vec::new(), Some("demo"), Status::Unable, "no machine runs"),
            (two(), None, Status::Misused, "2 machines run"),
            (two(), Some("other"), Status::Misused, "no machine `other` runs"),
        ] {
            let failure = State::choose(machines, name).expect_err("not one");
            assert_eq!(failure.status(), status);
            assert!(failure.to_string().contains(words) && failure.to_string().contains("help: "), "{failure}");
        }
    }

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let [one, other] = [(); 2].map(|()| Token::fresh().expect("random numbers"));
        assert!(one.text().len() == 64 && one != other);
        assert_eq!(format!("{one:?}"), "Token(…)");
    }
}
