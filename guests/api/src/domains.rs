//! What is asked of domains.

use alloc::format;
use alloc::string::String;

use mote_webserver::{Body, Response};

use crate::definition;
use crate::json;
use crate::model::{Domain, Shutdown, Taken};
use crate::problem::Problem;
use crate::route::{Answer, Call};

/// Bytes that can be typed at once.
pub const MAX_INPUT: usize = 4096;

impl Call<'_> {
    /// The domain that the path names by name or number.
    fn domain(&self) -> Result<Domain, Problem> {
        let number = self.parameter.parse().ok().filter(|id| self.toolstack.numbers().contains(id));
        let id = self.toolstack.find(self.parameter).or(number);
        id.and_then(|id| self.toolstack.domain(id)).ok_or_else(|| {
            let error = format!("there is no domain `{}`", printable(self.parameter));
            Problem::new(404, error, "GET /domains (`mote list`) says which there are")
        })
    }

    /// The same, if it is not the one that answers.
    fn guest(&self) -> Result<Domain, Problem> {
        let domain = self.domain()?;
        if domain.id == 0 {
            let hint = "it ends when the last other domain has ended";
            return Err(Problem::new(409, "the control domain cannot do this to itself", hint));
        }
        Ok(domain)
    }

    /// The value of a parameter in the query.
    fn query(&self, name: &str) -> Option<&str> {
        let parameters = self.request.query()?.split('&');
        parameters
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// How a domain is now, after something was done to it.
    fn now(&self, status: u16, id: u16) -> Answer {
        let domain = self.toolstack.domain(id);
        let gone = || Problem::new(409, "the domain has ended meanwhile", "`mote dmesg` may say why");
        Ok(json::response(status, &domain.ok_or_else(gone)?))
    }
}

/// What may be shown of a name that a client sent.
pub(crate) fn printable(name: &str) -> String {
    name.chars().take(64).filter(|c| c.is_ascii_graphic() && *c != '`').collect()
}

pub(crate) fn list(call: Call<'_>) -> Answer {
    let machine = call.toolstack.machine();
    // Domain by domain, so that only the text of all is in memory at once.
    let (time, cpus, memory) = (machine.time_ns, machine.cpus, machine.memory_kib);
    let mut text = format!(r#"{{"time_ns":{time},"cpus":{cpus},"memory_kib":{memory},"domains":["#).into_bytes();
    let mut separator: &[u8] = b"";
    for domain in call.toolstack.numbers().into_iter().filter_map(|id| call.toolstack.domain(id)) {
        text.extend(separator);
        text.extend(json::bytes(&domain));
        separator = b",";
    }
    text.extend(b"]}");
    Ok(Response::json(200, text))
}

pub(crate) fn info(call: Call<'_>) -> Answer {
    Ok(json::response(200, &call.domain()?))
}

pub(crate) fn create(call: Call<'_>) -> Answer {
    let stays_paused = match call.query("paused") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::new(400, "paused is neither true nor false", "write ?paused=true")),
    };
    let (definition, modules) = definition::read(call.request.body, call.toolstack)?;
    let id = call.toolstack.create(definition, modules)?;
    if !stays_paused && let Err(refusal) = call.toolstack.unpause(id) {
        // What cannot run is not left behind; that it could not be is what the client hears of.
        let _ = call.toolstack.destroy(id);
        return Err(refusal.into());
    }
    Ok(call.now(201, id)?.with("Location", format!("/domains/{id}")))
}

pub(crate) fn destroy(call: Call<'_>) -> Answer {
    let domain = call.guest()?;
    call.toolstack.destroy(domain.id)?;
    Ok(Response::empty(204))
}

pub(crate) fn pause(call: Call<'_>) -> Answer {
    let domain = call.guest()?;
    if domain.state.paused {
        let error = format!("{} is paused", domain.name);
        return Err(Problem::new(409, error, "nothing to do; unpause lets it run"));
    }
    call.toolstack.pause(domain.id)?;
    call.now(200, domain.id)
}

pub(crate) fn unpause(call: Call<'_>) -> Answer {
    let domain = call.guest()?;
    if !domain.state.paused {
        return Err(Problem::new(409, format!("{} is not paused", domain.name), "nothing to do"));
    }
    call.toolstack.unpause(domain.id)?;
    call.now(200, domain.id)
}

pub(crate) fn shut_down(call: Call<'_>) -> Answer {
    let domain = call.guest()?;
    let body = call.request.body;
    let Shutdown { action } = match body {
        [] => Shutdown::default(),
        body => json::read(body, r#"send {"action":"poweroff"} or {"action":"reboot"}, or nothing"#)?,
    };
    if domain.state.shutdown || domain.state.dying {
        return Err(Problem::new(409, format!("{} has shut down", domain.name), "destroy removes what is left of it"));
    }
    call.toolstack.shut_down(domain.id, action)?;
    // It ends when it likes.
    Ok(json::response(202, &domain))
}

pub(crate) fn restart(call: Call<'_>) -> Answer {
    let domain = call.domain()?;
    call.toolstack.restart(domain.id)?;
    // It may be that the answer comes first.
    Ok(json::response(202, &domain))
}

pub(crate) fn console(call: Call<'_>) -> Answer {
    let domain = call.domain()?;
    let from = match call.query("from").map(str::parse) {
        None => None,
        Some(Ok(from)) => Some(from),
        Some(Err(_)) => {
            let hint = "write ?from=N, with the number that the header Mote-Next had";
            return Err(Problem::new(400, "from is not a number of bytes", hint));
        }
    };
    let said = call.toolstack.console(domain.id, from)?;
    let (from, next) = (said.from, said.from.saturating_add(said.bytes.len() as u64));
    let response = Response::new(200, "application/octet-stream", Body::Made(said.bytes.into_owned()));
    Ok(response.with("Mote-From", format!("{from}")).with("Mote-Next", format!("{next}")))
}

pub(crate) fn type_at(call: Call<'_>) -> Answer {
    let domain = call.domain()?;
    let bytes = call.request.body;
    if bytes.len() > MAX_INPUT {
        let error = format!("{} bytes are more than can be typed at once", bytes.len());
        return Err(Problem::new(413, error, format!("send at most {MAX_INPUT}")));
    }
    let taken = call.toolstack.type_at(domain.id, bytes)? as u64;
    Ok(json::response(200, &Taken { taken }))
}
