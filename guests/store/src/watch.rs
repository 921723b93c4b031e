//! Watches, and what makes them fire.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::error::Error;
use crate::path::Path;
use crate::permissions::Permissions;
use crate::session::Name;
use crate::trie::Trie;

/// A node that has changed.
#[derive(Debug)]
pub(crate) struct Change {
    pub path: Path,
    /// Whether watches on what is above fire as well: not so for a node that went with one above it.
    pub subtree: bool,
    /// Permissions that it had, and those of its parent: who could see the node may know that it changed.
    pub before: Option<Permissions>,
    pub parent: Option<Permissions>,
}

/// A client's wish to know of changes at a path and below.
#[derive(Debug)]
pub(crate) struct Watch {
    pub client: Name,
    pub token: Box<[u8]>,
    /// Whether the client named the path relative to its home.
    pub relative: bool,
}

/// What a watch needs besides path and token, in bytes, roughly.
const OVERHEAD: usize = 128;

/// Bytes that a watch is charged with.
pub(crate) fn cost(path: &Path, token: &[u8]) -> usize {
    OVERHEAD + path.as_str().len() + token.len()
}

/// The watches on a path.
type Watched = (Path, Vec<Watch>);

/// All watches by path.
// Private: where a path is, there is a watch on it.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    by_path: Trie<Watched>,
    /// Domains whose watches changed since these were last written down, if they are.
    pub changed: Option<BTreeSet<u16>>,
}

impl Watches {
    /// # Errors
    /// [`Error::Exists`] if the client has a watch with this path and token.
    pub fn add(&mut self, path: &Path, watch: Watch) -> Result<(), Error> {
        if self.contains(path, watch.client, &watch.token) {
            return Err(Error::Exists);
        }
        self.note(watch.client);
        match self.by_path.get_mut(path.names()).and_then(Trie::value_mut) {
            Some((_, watches)) => watches.push(watch),
            None => drop(self.by_path.put(path.names(), (path.clone(), Vec::from([watch])))),
        }
        Ok(())
    }

    pub fn contains(&self, path: &Path, client: Name, token: &[u8]) -> bool {
        let same = |watch: &Watch| watch.client == client && *watch.token == *token;
        self.at(path).is_some_and(|(_, watches)| watches.iter().any(same))
    }

    /// # Errors
    /// [`Error::Missing`] if there is no such watch.
    pub fn remove(&mut self, path: &Path, client: Name, token: &[u8]) -> Result<(), Error> {
        let (_, watches) = self.by_path.get_mut(path.names()).and_then(Trie::value_mut).ok_or(Error::Missing)?;
        let same = |watch: &Watch| watch.client == client && *watch.token == *token;
        let index = watches.iter().position(same).ok_or(Error::Missing)?;
        watches.remove(index);
        if watches.is_empty() {
            self.by_path.take(path.names());
        }
        self.note(client);
        Ok(())
    }

    /// Removes all watches of a client. Returns the bytes they were charged with, and how many they were.
    pub fn remove_all(&mut self, client: Name) -> (usize, usize) {
        self.note(client);
        let all: Vec<_> = self.of(client).map(|(path, watch)| (path.clone(), watch.token.clone())).collect();
        let bytes = all.iter().map(|(path, token)| cost(path, token)).sum();
        for (path, token) in &all {
            // Just found.
            let _ = self.remove(path, client, token);
        }
        (bytes, all.len())
    }

    /// The watches of a client, each with its path.
    pub fn of(&self, client: Name) -> impl Iterator<Item = (&Path, &Watch)> {
        let all = self.by_path.values().flat_map(|(path, watches)| watches.iter().map(move |watch| (path, watch)));
        all.filter(move |(_, watch)| watch.client == client)
    }

    fn note(&mut self, client: Name) {
        if let (Some(changed), Name::Domain(domain)) = (&mut self.changed, client) {
            changed.insert(domain);
        }
    }

    /// The watches on what is above a path, from the root on.
    pub fn above<'a>(&'a self, path: &Path) -> Vec<(&'a Path, &'a [Watch])> {
        let levels = path.names().count();
        let places = self.by_path.way(path.names()).take(levels);
        places.filter_map(Trie::value).map(|(path, all)| (path, &**all)).collect()
    }

    /// The watches on a path itself.
    pub fn at<'a>(&'a self, path: &Path) -> Option<(&'a Path, &'a [Watch])> {
        self.by_path.get(path.names())?.value().map(|(path, all)| (path, &**all))
    }

    /// The paths with watches on them that are a path or below it, from the top down.
    pub fn within(&self, path: &Path) -> impl Iterator<Item = &Path> {
        self.by_path.get(path.names()).into_iter().flat_map(Trie::values).map(|(path, _)| path)
    }

    /// Whether there are watches on a path or below it.
    pub fn any_within(&self, path: &Path) -> bool {
        self.by_path.get(path.names()).is_some()
    }
}
