//! Requests as they come in messages (`docs/misc/xenstore.txt`): one short function for each.

use alloc::format;
use alloc::vec::Vec;

use mote_protocols::xs_wire::{Header, PAYLOAD_MAX, kind};

use crate::error::Error;
use crate::path::Path;
use crate::permissions::{Permissions, domain_number};
use crate::server::{Effect, Server};
use crate::session::Name;
use crate::transaction::Transaction;

type Answer = Result<Vec<u8>, Error>;

const HELP: &str = "check\nhelp\nquota\n";

impl Server {
    /// The payload of the answer to a request.
    pub(crate) fn dispatch(&mut self, client: Name, header: Header, payload: &[u8]) -> Answer {
        if is_privileged(header.kind) && !client.privileged() {
            return Err(Error::Denied);
        }
        match header.kind {
            // Watches are never part of a transaction.
            kind::WATCH => pair(payload).and_then(|(path, token)| self.watch(client, path, token)).map(done),
            kind::UNWATCH => pair(payload).and_then(|(path, token)| self.unwatch(client, path, token)).map(done),
            _ if header.transaction != 0 => self.within(client, header, payload),
            kind::TRANSACTION_START => self.start_transaction(client).map(|number| format!("{number}\0").into()),
            kind::TRANSACTION_END => ending(payload).and(Err(Error::Missing)),
            _ => self.request(client, None, header.kind, payload),
        }
    }

    fn within(&mut self, client: Name, header: Header, payload: &[u8]) -> Answer {
        let number = header.transaction;
        let mut transaction = self.take_transaction(client, number).ok_or(Error::Missing)?;
        if header.kind == kind::TRANSACTION_END
            && let Ok(commit) = ending(payload)
        {
            return self.end_transaction(client, transaction, commit).map(done);
        }
        let answer = match header.kind {
            kind::TRANSACTION_START => Err(Error::Busy),
            kind::TRANSACTION_END => Err(Error::Invalid),
            kind::RESET_WATCHES => {
                self.put_transaction(client, number, transaction);
                self.forget(client);
                return Ok(done(()));
            }
            _ => self.request(client, Some(&mut transaction), header.kind, payload),
        };
        self.put_transaction(client, number, transaction);
        answer
    }

    fn request(&mut self, client: Name, transaction: Option<&mut Transaction>, kind: u32, payload: &[u8]) -> Answer {
        match kind {
            kind::DIRECTORY
            | kind::DIRECTORY_PART
            | kind::READ
            | kind::WRITE
            | kind::MKDIR
            | kind::RM
            | kind::GET_PERMS
            | kind::SET_PERMS => self.node_request(client, transaction, kind, payload),
            kind::RESET_WATCHES => {
                self.forget(client);
                Ok(done(()))
            }
            kind::GET_DOMAIN_PATH => {
                domain_number(single(payload)?).map(|domain| format!("{}\0", Path::home(domain)).into())
            }
            kind::IS_DOMAIN_INTRODUCED => self.is_introduced(payload),
            kind::INTRODUCE => self.introduction(payload),
            kind::RELEASE => self.released(payload),
            kind::RESUME => {
                let domain = self.introduced(single(payload)?)?;
                self.domains.entry(domain).or_default().shut_down = false;
                Ok(done(()))
            }
            kind::SET_TARGET => self.set_target(payload),
            kind::CONTROL => self.control(payload),
            _ => Err(Error::Unknown),
        }
    }

    fn node_request(
        &mut self,
        client: Name,
        transaction: Option<&mut Transaction>,
        kind: u32,
        payload: &[u8],
    ) -> Answer {
        let name = match kind {
            kind::WRITE | kind::DIRECTORY_PART | kind::SET_PERMS => strings(payload).next().ok_or(Error::Invalid)?,
            _ => single(payload)?,
        };
        let special = matches!(kind, kind::GET_PERMS | kind::SET_PERMS);
        let path = Path::parse(name, client.domain(), special)?;
        let rest = payload.get(name.len() + 1..).unwrap_or_default();
        self.with(client, transaction, |view| match kind {
            kind::DIRECTORY => view.directory(&path, PAYLOAD_MAX),
            kind::READ => view.read(&path),
            kind::WRITE => view.write(&path, rest.to_vec()).map(done),
            kind::MKDIR => view.mkdir(&path).map(done),
            kind::RM => view.remove(&path).map(done),
            kind::GET_PERMS => view.permissions(&path).map(|permissions| permissions.encode()),
            kind::SET_PERMS => view.set_permissions(&path, &Permissions::parse(strings(rest))?).map(done),
            _ => {
                let offset = number(single(rest)?)?;
                // Room for the generation and for the empty name at the end.
                let part = view.directory_part(&path, offset, PAYLOAD_MAX - 22)?;
                let mut answer = format!("{}\0", part.generation).into_bytes();
                answer.extend(part.names);
                answer.extend(part.last.then_some(0));
                Ok(answer)
            }
        })
    }

    fn is_introduced(&self, payload: &[u8]) -> Answer {
        let domain = domain_number(single(payload)?)?;
        let introduced = domain == 0 || self.domains.get(&domain).is_some_and(|known| known.introduced);
        Ok(if introduced { b"T\0" } else { b"F\0" }.to_vec())
    }

    fn introduction(&mut self, payload: &[u8]) -> Answer {
        let mut words = strings(payload);
        let mut word = || words.next().ok_or(Error::Invalid);
        let (domain, frame, port) = (domain_number(word()?)?, number(word()?)? as u64, number(word()?)?);
        let port = u32::try_from(port).ok().filter(|port| *port != 0).ok_or(Error::Invalid)?;
        if domain == 0 {
            return Err(Error::Invalid);
        }
        self.introduce(domain);
        self.effect(Effect::Introduce { domain, frame, port });
        Ok(done(()))
    }

    fn released(&mut self, payload: &[u8]) -> Answer {
        let domain = self.introduced(single(payload)?)?;
        self.release(domain);
        self.effect(Effect::Release { domain });
        Ok(done(()))
    }

    fn set_target(&mut self, payload: &[u8]) -> Answer {
        let (domain, target) = pair(payload)?;
        let (domain, target) = (self.introduced(domain)?, self.introduced(target)?);
        self.domains.entry(domain).or_default().target = Some(target);
        Ok(done(()))
    }

    /// The domain with this number, if it is a client and not domain 0.
    fn introduced(&self, text: &[u8]) -> Result<u16, Error> {
        let domain = domain_number(text)?;
        if domain == 0 {
            return Err(Error::Invalid);
        }
        let introduced = self.domains.get(&domain).is_some_and(|known| known.introduced);
        introduced.then_some(domain).ok_or(Error::Missing)
    }

    fn control(&self, payload: &[u8]) -> Answer {
        match strings(payload).next() {
            Some(b"check") => Ok(done(())),
            Some(b"help") => Ok([HELP.as_bytes(), &[0]].concat()),
            Some(b"quota") => {
                let (limits, total, nodes) = (self.ledger.limits(), self.total(), self.tree.len());
                Ok(format!("{limits:#?}\n{total} bytes in use, {nodes} nodes\n\0").into())
            }
            _ => Err(Error::Invalid),
        }
    }
}

const fn is_privileged(kind: u32) -> bool {
    matches!(
        kind,
        kind::CONTROL | kind::INTRODUCE | kind::RELEASE | kind::RESUME | kind::SET_TARGET | kind::IS_DOMAIN_INTRODUCED
    )
}

fn done((): ()) -> Vec<u8> {
    b"OK\0".to_vec()
}

/// The strings that end with a NUL; what follows the last is no string.
fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    payload.split_inclusive(|byte| *byte == 0).filter_map(|string| string.strip_suffix(&[0]))
}

/// The only string in a payload.
fn single(payload: &[u8]) -> Result<&[u8], Error> {
    let (end, string) = payload.split_last().ok_or(Error::Invalid)?;
    if *end != 0 || string.contains(&0) { Err(Error::Invalid) } else { Ok(string) }
}

/// The only two strings in a payload.
fn pair(payload: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut all = strings(payload);
    match (all.next(), all.next(), all.next()) {
        (Some(first), Some(second), None) => Ok((first, second)),
        _ => Err(Error::Invalid),
    }
}

/// Whether the end of a transaction is a commit.
fn ending(payload: &[u8]) -> Result<bool, Error> {
    match single(payload)? {
        b"T" => Ok(true),
        b"F" => Ok(false),
        _ => Err(Error::Invalid),
    }
}

fn number(text: &[u8]) -> Result<usize, Error> {
    let text = core::str::from_utf8(text).map_err(|_| Error::Invalid)?;
    text.parse().map_err(|_| Error::Invalid)
}
