//! Names of nodes.

use alloc::format;
use alloc::rc::Rc;
use core::fmt;

use mote_protocols::xs_wire::{ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX};

use crate::error::Error;

/// A node's full path, `/` or `/name/name`, or the name of one of the two special nodes, `@name`.
// Private: the text is always well formed, so that cutting it at its last slash leaves a path; there the name begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    text: Rc<str>,
    name: usize,
}

/// The names in a path, from the root on. Special nodes are behind one that no node can have.
#[derive(Clone, Debug)]
pub(crate) struct Names<'a> {
    is_special: bool,
    rest: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// Those in a path, or in a part of it that begins with a name.
    pub fn of(text: &'a str) -> Self {
        let rest = text.strip_prefix('/').unwrap_or(text);
        Self { is_special: text.starts_with('@'), rest: Some(rest).filter(|rest| !rest.is_empty()) }
    }
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        if core::mem::take(&mut self.is_special) {
            return Some("");
        }
        let rest = self.rest.take()?;
        let Some(end) = rest.bytes().position(|byte| byte == b'/') else { return Some(rest) };
        self.rest = rest.get(end + 1..);
        rest.get(..end)
    }
}

impl Path {
    fn new(text: Rc<str>) -> Self {
        let name = text.bytes().rposition(|byte| byte == b'/').map_or(0, |slash| slash + 1);
        Self { text, name }
    }

    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self::new("/".into())
    }

    /// What a client means by `name`; if it does not begin at the root, it begins at domain `home`'s node. A name with
    /// `@` in front is one only if `special` is set.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no path or too long.
    pub fn parse(name: &[u8], home: u16, special: bool) -> Result<Self, Error> {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'@');
        let mut last = 0;
        // A name between two slashes has to be one.
        let mut fits = |byte: u8| valid(byte) && (core::mem::replace(&mut last, byte), byte) != (b'/', b'/');
        if name.is_empty() || !name.iter().all(|byte| fits(*byte)) || (name.len() > 1 && last == b'/') {
            return Err(Error::Invalid);
        }
        // It is ASCII.
        let name = str::from_utf8(name).map_err(|_| Error::Invalid)?;
        if name.starts_with('@') && !special {
            return Err(Error::Invalid);
        }
        let full: Rc<str> = if is_relative(name) { format!("{}/{name}", Self::home(home)).into() } else { name.into() };
        if full.len() > ABSOLUTE_PATH_MAX || own_length(&full) > RELATIVE_PATH_MAX {
            return Err(Error::Invalid);
        }
        Ok(Self::new(full))
    }

    /// Where the nodes of `domain` are.
    #[must_use]
    pub fn home(domain: u16) -> Self {
        Self::new(format!("/local/domain/{domain}").into())
    }

    /// The special node `name`, which begins with `@`.
    #[must_use]
    pub(crate) fn special(name: &'static str) -> Self {
        Self::new(name.into())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names that lead to it.
    pub(crate) fn names(&self) -> Names<'_> {
        Names::of(&self.text)
    }

    /// The text of the path above; the root is above itself and above special nodes.
    #[must_use]
    pub(crate) fn above(&self) -> &str {
        // The slash in front of the name goes, unless it is all there is.
        self.text.get(..self.name.saturating_sub(1)).filter(|above| !above.is_empty()).unwrap_or("/")
    }

    /// The same as a path.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self::new(self.above().into())
    }

    /// The last name in it: what the parent calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.get(self.name..).unwrap_or_default()
    }

    /// The node with this name below this one.
    #[must_use]
    pub(crate) fn below(&self, name: &str) -> Self {
        // Special nodes are below what has no name.
        let slash = if self.is_root() || self.text.is_empty() { "" } else { "/" };
        let start = if name.is_empty() { "" } else { &self.text };
        Self::new([start, slash, name].concat().into())
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.text == "/"
    }

    /// As a client sees it who named it relative to its home, or in full.
    #[must_use]
    pub(crate) fn seen_from(&self, home: Option<u16>) -> &str {
        let relative = || {
            let (domain, rest) = self.text.strip_prefix(HOMES)?.split_once('/')?;
            (domain.parse() == Ok(home?)).then_some(rest)
        };
        relative().unwrap_or(&self.text)
    }
}

/// What every domain's home begins with.
const HOMES: &str = "/local/domain/";

/// Whether a client's name begins at its home.
#[must_use]
pub(crate) fn is_relative(name: &str) -> bool {
    !name.starts_with(['/', '@'])
}

/// Length without the part that leads to some domain's home.
fn own_length(path: &str) -> usize {
    let own = path.strip_prefix(HOMES).and_then(|rest| rest.split_once('/'));
    match own {
        Some((domain, own)) if domain.parse::<u16>().is_ok() => own.len(),
        _ => path.len(),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::vec::Vec;

    #[test]
    fn a_relative_name_begins_at_home() {
        let path = Path::parse(b"device/vif/0", 3, false).unwrap();
        assert_eq!(path.as_str(), "/local/domain/3/device/vif/0");
        assert_eq!(path.seen_from(Some(3)), "device/vif/0");
        assert_eq!(path.seen_from(None), "/local/domain/3/device/vif/0");
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for name in ["", "/a/", "//", "/a//b", "a b", "/ä", "@x", "a/", "/a\0"] {
            assert_eq!(Path::parse(name.as_bytes(), 0, false), Err(Error::Invalid), "{name:?}");
        }
        assert!(Path::parse(b"/", 0, false).is_ok());
        assert!(Path::parse(b"@releaseDomain", 0, true).is_ok());
        assert!(Path::parse(b"\xff", 0, true).is_err());
    }

    #[test]
    fn a_path_has_a_length_to_keep() {
        let long = "a".repeat(RELATIVE_PATH_MAX);
        assert!(Path::parse(long.as_bytes(), 1, false).is_ok());
        assert!(Path::parse(format!("/local/domain/77/{long}").as_bytes(), 1, false).is_ok());
        assert!(Path::parse(format!("/{long}").as_bytes(), 1, false).is_err());
        assert!(Path::parse(format!("{long}a").as_bytes(), 1, false).is_err());
    }

    #[test]
    fn parents_end_at_the_root() {
        let above = |name: &str| {
            let path = Path::parse(name.as_bytes(), 0, true).unwrap();
            let names: Vec<_> = path.names().collect();
            (path.parent().as_str().to_owned(), path.name().to_owned(), names.join(" "))
        };
        let expect = |parent: &str, name: &str, names: &str| (parent.to_owned(), name.to_owned(), names.to_owned());
        assert_eq!(above("/a/b"), expect("/a", "b", "a b"));
        assert_eq!(above("/a"), expect("/", "a", "a"));
        assert_eq!(above("/"), expect("/", "", ""));
        assert_eq!(above("/ab/c-d/e"), expect("/ab/c-d", "e", "ab c-d e"));
        assert_eq!(above("@x"), expect("/", "@x", " @x"));
        assert_eq!(above("/@x"), expect("/", "@x", "@x"), "it is another");
    }

    #[test]
    fn names_lead_to_a_path() {
        for name in ["/", "/a", "/ab/c-d/e", "@x"] {
            let path = Path::parse(name.as_bytes(), 0, true).unwrap();
            assert_eq!(path.names().fold(Path::root(), |path, name| path.below(name)), path);
        }
    }
}
