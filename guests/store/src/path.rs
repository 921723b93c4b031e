//! Names of nodes.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use mote_protocols::xs_wire::{ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX};

use crate::error::Error;

/// A node's full path, `/` or `/name/name`, or the name of one of the two special nodes, `@name`.
// The string is private: it is always well formed, so that cutting it at its last slash leaves a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Arc<str>);

impl Path {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// What a client means by `name`; if it does not begin at the root, it begins at domain `home`'s node. A name with
    /// `@` in front is one only if `special` is set.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is no path or too long.
    pub fn parse(name: &[u8], home: u16, special: bool) -> Result<Self, Error> {
        let name = core::str::from_utf8(name).map_err(|_| Error::Invalid)?;
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-/_@".contains(&byte);
        if name.is_empty() || !name.bytes().all(valid) || (name.starts_with('@') && !special) {
            return Err(Error::Invalid);
        }
        let full: Arc<str> =
            if is_relative(name) { format!("{}/{name}", Self::home(home)).into() } else { name.into() };
        if (full.ends_with('/') && &*full != "/") || full.contains("//") || own_length(&full) > RELATIVE_PATH_MAX {
            return Err(Error::Invalid);
        }
        if full.len() > ABSOLUTE_PATH_MAX {
            return Err(Error::Invalid);
        }
        Ok(Self(full))
    }

    /// Where the nodes of `domain` are.
    #[must_use]
    pub fn home(domain: u16) -> Self {
        Self(format!("/local/domain/{domain}").into())
    }

    /// The special node `name`, which begins with `@`.
    #[must_use]
    pub(crate) fn special(name: &'static str) -> Self {
        Self(name.into())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The node above; the root is above itself and above special nodes.
    #[must_use]
    pub fn parent(&self) -> Self {
        match self.0.rsplit_once('/') {
            Some((parent, _)) if !parent.is_empty() => Self(parent.into()),
            _ => Self::root(),
        }
    }

    /// The last name in it: what the parent calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The node's child `name`, which must be a name without slashes.
    #[must_use]
    pub(crate) fn child(&self, name: &str) -> Self {
        let above = if self.is_root() { "" } else { &self.0 };
        Self(format!("{above}/{name}").into())
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The path itself and all above it, up to the root; a special node stands alone.
    pub(crate) fn and_above(&self) -> impl Iterator<Item = &str> {
        let above = |path: &&'_ str| -> Option<usize> {
            let slash = path.rfind('/')?;
            (*path != "/").then_some(slash.max(1))
        };
        core::iter::successors(Some(&*self.0), move |path| self.0.get(..above(path)?))
    }

    /// As a client sees it who named it relative to its home, or in full.
    #[must_use]
    pub(crate) fn seen_from(&self, home: Option<u16>) -> &str {
        let Some(domain) = home else { return self.as_str() };
        let home: String = format!("/local/domain/{domain}/");
        self.0.strip_prefix(&*home).unwrap_or(&self.0)
    }
}

/// Whether a client's name begins at its home.
#[must_use]
pub(crate) fn is_relative(name: &str) -> bool {
    !name.starts_with(['/', '@'])
}

/// Length without the part that leads to some domain's home.
fn own_length(path: &str) -> usize {
    let own = path.strip_prefix("/local/domain/").and_then(|rest| rest.split_once('/'));
    match own {
        Some((domain, own)) if domain.parse::<u16>().is_ok() => own.len(),
        _ => path.len(),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::borrow::Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.0
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
            let all: Vec<_> = path.and_above().map(ToOwned::to_owned).collect();
            (path.parent().as_str().to_owned(), all.join(" "))
        };
        assert_eq!(above("/a/b"), ("/a".to_owned(), "/a/b /a /".to_owned()));
        assert_eq!(above("/a"), ("/".to_owned(), "/a /".to_owned()));
        assert_eq!(above("/"), ("/".to_owned(), "/".to_owned()));
        assert_eq!(above("@x"), ("/".to_owned(), "@x".to_owned()));
    }
}
