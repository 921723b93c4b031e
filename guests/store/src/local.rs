//! Clients that are parts of the server's own program: no ring, no messages, no quotas.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::error::Error;
use crate::path::Path;
use crate::permissions::Permissions;
use crate::server::Server;
use crate::session::{Message, Name};
use crate::view::Leaf;

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The path that changed, as the watch named its own: in full or relative.
    pub path: String,
    /// The watch's token.
    pub token: Vec<u8>,
}

/// A part of the program, while it does something. It acts for domain 0; each request is an atom, because the server does
/// nothing else meanwhile, so it needs no transactions.
pub struct Local<'a> {
    server: &'a mut Server,
    client: Name,
}

impl<'a> Local<'a> {
    pub(crate) const fn new(server: &'a mut Server, client: Name) -> Self {
        Self { server, client }
    }

    fn path(&self, name: &str, special: bool) -> Result<Path, Error> {
        Path::parse(name.as_bytes(), self.client.domain(), special)
    }

    /// A node's value.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Invalid`].
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(path, false)?;
        self.server.with(self.client, None, |view| view.read(&path))
    }

    /// The names of a node's children.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Invalid`].
    pub fn directory(&mut self, path: &str) -> Result<Vec<String>, Error> {
        let path = self.path(path, false)?;
        let names = self.server.with(self.client, None, |view| view.directory(&path, usize::MAX))?;
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Sets a node's value; makes the node and those above it if need be.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no path.
    pub fn write(&mut self, path: &str, value: impl fmt::Display) -> Result<(), Error> {
        let path = self.path(path, false)?;
        let value = alloc::format!("{value}").into_bytes();
        self.server.with(self.client, None, |view| view.write(&path, value))
    }

    /// Makes a node if there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no path.
    pub fn mkdir(&mut self, path: &str) -> Result<(), Error> {
        let path = self.path(path, false)?;
        self.server.with(self.client, None, |view| view.mkdir(&path))
    }

    /// Makes a node with these permissions, or gives them to the one that is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no path, [`Error::Missing`] if there is no such domain as the owner.
    pub fn make(&mut self, path: &str, permissions: &Permissions) -> Result<(), Error> {
        let path = self.path(path, false)?;
        self.server.with(self.client, None, |view| view.make(&path, permissions))
    }

    /// Makes a node with these permissions, in place of what is there with all below it, and below it these nodes with those on the way to
    /// them.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no path among them, [`Error::Missing`] if there is no such domain as the owner.
    pub fn plant(&mut self, path: &str, permissions: &Permissions, leaves: &[Leaf<'_>]) -> Result<(), Error> {
        let path = self.path(path, false)?;
        self.server.with(self.client, None, |view| view.plant(&path, permissions, leaves))
    }

    /// Whether there is a node.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.server.peek(path).is_some()
    }

    /// Removes a node and all below it. It is no error if there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no path or the root.
    pub fn remove(&mut self, path: &str) -> Result<(), Error> {
        let path = self.path(path, false)?;
        match self.server.with(self.client, None, |view| view.remove(&path)) {
            Err(Error::Missing) => Ok(()),
            result => result,
        }
    }

    /// Sets a node's permissions.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such node, or no such domain as the owner.
    pub fn set_permissions(&mut self, path: &str, permissions: &Permissions) -> Result<(), Error> {
        let path = self.path(path, true)?;
        self.server.with(self.client, None, |view| view.set_permissions(&path, permissions))
    }

    /// Asks for events: one at once, and one whenever something at `path` or below changes.
    ///
    /// # Errors
    /// [`Error::Exists`] or [`Error::Invalid`].
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.server.watch(self.client, path.as_bytes(), token.as_bytes())
    }

    /// Asks for no more events.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Invalid`].
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), Error> {
        self.server.unwatch(self.client, path.as_bytes(), token.as_bytes())
    }

    /// Takes the next event.
    pub fn event(&mut self) -> Option<Event> {
        match self.server.take(self.client)? {
            Message::Event { path, token } => Some(Event { path: path.into(), token: token.into() }),
            Message::Reply(..) => None,
        }
    }
}
