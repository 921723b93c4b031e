//! Names of nodes.

use alloc::format;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;

use mote_protocols::xs_wire::{ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX};

use crate::error::Error;

/// A node's full path, `/` or `/name/name`, or the name of one of the two special nodes, `@name`. In no order that means anything but that
/// looking one up is quick.
// The text is private: it is always well formed, so that cutting it at its last slash leaves a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    hash: u64,
    text: Arc<str>,
    above: u64,
    name: usize,
}

/// A path as others refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    hash: u64,
    text: &'a str,
}

/// What is at a place. By this maps of paths are asked without a path of one's own.
pub(crate) trait Placed {
    fn place(&self) -> Place<'_>;
}

impl Placed for Path {
    fn place(&self) -> Place<'_> {
        Place { hash: self.hash, text: &self.text }
    }
}

impl Placed for Place<'_> {
    fn place(&self) -> Place<'_> {
        *self
    }
}

impl PartialEq for dyn Placed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for dyn Placed + '_ {}

impl PartialOrd for dyn Placed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Placed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl<'a> Borrow<dyn Placed + 'a> for Path {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        self
    }
}

/// The hash of a text (FNV-1a), byte by byte: that of what stands above a path is found on the way to its own. Whoever makes many of the same
/// hash has them compared as texts.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const OF_NOTHING: Self = Self(0xcbf2_9ce4_8422_2325);
    const OF_ROOT: Self = Self::OF_NOTHING.and(b'/');

    const fn and(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x100_0000_01b3))
    }
}

impl Path {
    fn new(text: Arc<str>) -> Self {
        let nothing = Self { hash: Hash::OF_NOTHING.0, text: "".into(), above: Hash::OF_ROOT.0, name: 0 };
        nothing.extended(text, 0)
    }

    /// The path that `text` is, of which the first `known` bytes are this one.
    fn extended(&self, text: Arc<str>, known: usize) -> Self {
        let (mut hash, mut above, mut name) = (Hash(self.hash), self.above, self.name);
        for (index, &byte) in text.as_bytes().iter().enumerate().skip(known) {
            if byte == b'/' {
                (above, name) = (if index == 0 { Hash::OF_ROOT.0 } else { hash.0 }, index + 1);
            }
            hash = hash.and(byte);
        }
        Self { hash: hash.0, text, above, name }
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
        let name = core::str::from_utf8(name).map_err(|_| Error::Invalid)?;
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'@');
        if name.is_empty() || !name.bytes().all(valid) || (name.starts_with('@') && !special) {
            return Err(Error::Invalid);
        }
        let full: Arc<str> =
            if is_relative(name) { format!("{}/{name}", Self::home(home)).into() } else { name.into() };
        let has_nameless = full.as_bytes().windows(2).any(|pair| pair == b"//");
        if (full.ends_with('/') && &*full != "/") || has_nameless || own_length(&full) > RELATIVE_PATH_MAX {
            return Err(Error::Invalid);
        }
        if full.len() > ABSOLUTE_PATH_MAX {
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

    /// The node above; the root is above itself and above special nodes.
    #[must_use]
    pub(crate) fn above(&self) -> Place<'_> {
        // The slash in front of the name goes, unless it is all there is.
        let text = self.text.get(..self.name.saturating_sub(1)).filter(|above| !above.is_empty()).unwrap_or("/");
        Place { hash: self.above, text }
    }

    /// The same as a path.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self::new(self.above().text.into())
    }

    /// The last name in it: what the parent calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.get(self.name..).unwrap_or_default()
    }

    /// The node `rest` below this one: a name, or several with slashes between them.
    #[must_use]
    pub(crate) fn below(&self, rest: &str) -> Self {
        if self.is_root() {
            return Self::new(["/", rest].concat().into());
        }
        self.extended([&self.text, "/", rest].concat().into(), self.text.len())
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.text == "/"
    }

    /// All above it from the root on, and then the path itself; a special node stands alone.
    pub(crate) fn levels(&self) -> impl Iterator<Item = Place<'_>> {
        let text = &*self.text;
        let (mut hash, mut done) = (Hash::OF_NOTHING, 0);
        let mut root = (text.starts_with('/') && text != "/").then_some(Place { hash: Hash::OF_ROOT.0, text: "/" });
        core::iter::from_fn(move || {
            if let Some(root) = root.take() {
                (hash, done) = (Hash::OF_ROOT, 1);
                return Some(root);
            }
            let rest = text.as_bytes().get(done..).filter(|rest| !rest.is_empty())?;
            for (index, &byte) in rest.iter().enumerate() {
                if byte == b'/' && done + index > 1 && index > 0 {
                    let place = Place { hash: hash.0, text: &text[..done + index] };
                    (hash, done) = (hash.and(byte), done + index + 1);
                    return Some(place);
                }
                hash = hash.and(byte);
            }
            done = text.len();
            Some(Place { hash: hash.0, text })
        })
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
            let all: Vec<_> = path.levels().map(|place| place.text).collect();
            assert!(path.levels().all(|place| Path::new(place.text.into()).place() == place));
            assert_eq!(path.parent().place(), path.above());
            (path.parent().as_str().to_owned(), all.join(" "))
        };
        assert_eq!(above("/a/b"), ("/a".to_owned(), "/ /a /a/b".to_owned()));
        assert_eq!(above("/a"), ("/".to_owned(), "/ /a".to_owned()));
        assert_eq!(above("/"), ("/".to_owned(), "/".to_owned()));
        assert_eq!(above("/ab/c-d/e").1, "/ /ab /ab/c-d /ab/c-d/e");
        assert_eq!(above("@x"), ("/".to_owned(), "@x".to_owned()));
    }
}
