//! Who may do what with a node.

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::error::Error;

/// Reading, writing, both or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// May read, and be told of changes.
    pub read: bool,
    /// May write, make children, remove.
    pub write: bool,
}

impl Access {
    /// Neither.
    pub const NONE: Self = Self { read: false, write: false };
    /// Reading.
    pub const READ: Self = Self { read: true, write: false };
    /// Writing.
    pub const WRITE: Self = Self { read: false, write: true };
    /// Both.
    pub const BOTH: Self = Self { read: true, write: true };

    /// Whether all of `needed` is in it.
    #[must_use]
    pub const fn allows(self, needed: Self) -> bool {
        (self.read || !needed.read) && (self.write || !needed.write)
    }
}

/// What one domain may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The domain.
    pub domain: u16,
    /// What it may.
    pub access: Access,
}

impl Permission {
    /// Reads `r3`, `w3`, `b3` or `n3`.
    fn parse(text: &[u8]) -> Result<Self, Error> {
        let (letter, number) = text.split_first().ok_or(Error::Invalid)?;
        let access = match letter {
            b'r' => Access::READ,
            b'w' => Access::WRITE,
            b'b' => Access::BOTH,
            b'n' => Access::NONE,
            _ => return Err(Error::Invalid),
        };
        Ok(Self { domain: domain_number(number)?, access })
    }

    fn letter(self) -> char {
        match self.access {
            Access::READ => 'r',
            Access::WRITE => 'w',
            Access::BOTH => 'b',
            Access::NONE => 'n',
        }
    }
}

/// Reads a domain's number, which is decimal.
///
/// # Errors
/// [`Error::Invalid`] if it is not, or too large.
pub(crate) fn domain_number(text: &[u8]) -> Result<u16, Error> {
    let text = core::str::from_utf8(text).map_err(|_| Error::Invalid)?;
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Error::Invalid);
    }
    text.parse().map_err(|_| Error::Invalid)
}

/// A node's permissions: the first is the owner's, who may everything; what stands beside the owner's number is what all
/// may who are not named after it.
// Private: there is always an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    owner: Permission,
    others: Rc<[Permission]>,
}

impl Permissions {
    /// The node belongs to `owner`, the rest of the world may `default`, and `others` what stands beside their number.
    #[must_use]
    pub fn new(owner: u16, default: Access, others: &[Permission]) -> Self {
        Self { owner: Permission { domain: owner, access: default }, others: others.into() }
    }

    /// Reads permissions as they come in a message, each of them with a NUL behind it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if one of them makes no sense or there are none.
    pub(crate) fn parse<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Result<Self, Error> {
        let all: Vec<Permission> = texts.map(Permission::parse).collect::<Result<_, _>>()?;
        let (owner, others) = all.split_first().ok_or(Error::Invalid)?;
        Ok(Self { owner: *owner, others: others.into() })
    }

    /// As they are sent: each with a NUL behind it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = String::new();
        for permission in self.all() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}{}\0", permission.letter(), permission.domain);
        }
        text.into_bytes()
    }

    /// Writes them down: how many they are, and of each the domain and what it may.
    pub(crate) fn save(&self, record: &mut Vec<u8>) {
        // A message that sets them is no longer than 4 KiB.
        record.extend((self.count() as u16).to_le_bytes());
        for Permission { domain, access: Access { read, write } } in self.all() {
            record.extend(domain.to_le_bytes());
            record.push(u8::from(*read) | u8::from(*write) << 1);
        }
    }

    /// Reads what [`Permissions::save`] has written, without the count.
    pub(crate) fn load(entries: &[[u8; Self::ENTRY]]) -> Option<Self> {
        let entry = |&[low, high, access]: &[u8; Self::ENTRY]| Permission {
            domain: u16::from_le_bytes([low, high]),
            access: Access { read: access & 1 != 0, write: access & 2 != 0 },
        };
        let (owner, others) = entries.split_first()?;
        Some(Self { owner: entry(owner), others: others.iter().map(entry).collect() })
    }

    /// Bytes of each.
    pub(crate) const ENTRY: usize = 3;

    /// The domain that the node belongs to and is charged to.
    #[must_use]
    pub const fn owner(&self) -> u16 {
        self.owner.domain
    }

    /// The owner's entry and all others.
    pub fn all(&self) -> impl Iterator<Item = &Permission> {
        core::iter::once(&self.owner).chain(self.others.iter())
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// What somebody may who passes for each domain of which `is` says so.
    pub(crate) fn access(&self, is: impl Fn(u16) -> bool) -> Access {
        if is(self.owner.domain) {
            return Access::BOTH;
        }
        self.others.iter().find(|entry| is(entry.domain)).map_or(self.owner.access, |entry| entry.access)
    }

    /// The domains that are named besides the owner.
    pub(crate) fn others(&self) -> impl Iterator<Item = u16> {
        self.others.iter().map(|entry| entry.domain)
    }

    /// The same for a node that belongs to `owner`.
    pub(crate) fn owned_by(&self, owner: u16) -> Self {
        Self { owner: Permission { domain: owner, ..self.owner }, others: self.others.clone() }
    }

    /// Whether they are known to be the same, without a closer look.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.owner == other.owner && Rc::ptr_eq(&self.others, &other.others)
    }

    /// Whether any entry names `domain`.
    pub(crate) fn mention(&self, domain: u16) -> bool {
        self.all().any(|entry| entry.domain == domain)
    }

    /// The same without what `refused` says of, the owner excepted.
    pub(crate) fn without(&self, refused: impl Fn(u16) -> bool) -> Self {
        if !self.others.iter().any(|entry| refused(entry.domain)) {
            return self.clone();
        }
        let others = self.others.iter().filter(|entry| !refused(entry.domain)).copied().collect();
        Self { owner: self.owner, others }
    }
}
