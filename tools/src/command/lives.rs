//! `destroy`, `pause`, `unpause`, `restart` and `shutdown`: what is done to domains, one after the other.

use std::thread;
use std::time::Duration;

use mote_api::model::{Action, Domain};

use super::say_json;
use crate::cli::DomainsArgs;
use crate::failure::{Result, Status};
use crate::running::{self, Client};

/// How often a domain that is to end is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Destroys domains.
///
/// # Errors
///
/// The first one that cannot be; those before it are gone.
pub fn destroy(domains: &DomainsArgs) -> Result<Status> {
    each(domains, |client, name| {
        let domain = client.domain(name)?;
        client.destroy(name).map(|()| domain)
    })
}

/// Pauses domains.
///
/// # Errors
///
/// The first one that cannot be.
pub fn pause(domains: &DomainsArgs) -> Result<Status> {
    each(domains, Client::pause)
}

/// Lets paused domains run.
///
/// # Errors
///
/// The first one that cannot.
pub fn unpause(domains: &DomainsArgs) -> Result<Status> {
    each(domains, Client::unpause)
}

/// Has the control domain or driver domains fail and be built again.
///
/// # Errors
///
/// The first one that cannot be.
pub fn restart(domains: &DomainsArgs) -> Result<Status> {
    each(domains, Client::restart)
}

/// Asks domains to shut down or to start anew, and waits for that if it is wished.
///
/// # Errors
///
/// The first one that cannot be asked.
pub fn shut_down(domains: &DomainsArgs, reboot: bool, wait: bool) -> Result<Status> {
    let action = if reboot { Action::Reboot } else { Action::Poweroff };
    let mut asked = Vec::new();
    let status = each(domains, |client, name| {
        let domain = client.shut_down(name, action)?;
        asked.push((client.clone(), domain.id.to_string()));
        Ok(domain)
    })?;
    for (client, id) in asked.iter().filter(|_| wait) {
        // Who does not answer any more has ended with the last of its domains.
        while client.is_up(id).unwrap_or(false) {
            thread::sleep(LOOK);
        }
    }
    Ok(status)
}

/// Does something to each domain. As xl's, these commands say nothing if it works.
fn each(arguments: &DomainsArgs, mut act: impl FnMut(&Client, &str) -> Result<Domain>) -> Result<Status> {
    let client = running::connect(arguments.target.machine.as_deref())?;
    let done = arguments.domains.iter().map(|name| act(&client, name)).collect::<Result<Vec<_>>>()?;
    if arguments.target.json {
        say_json(&done);
    }
    Ok(Status::Clean)
}
