//! What a request can fail with.

/// An error of the protocol, which sends its name (`xsd_errors` in `xs_wire.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// What was asked makes no sense.
    Invalid,
    /// The permissions do not allow it.
    Denied,
    /// It is there already.
    Exists,
    /// There is no such node, watch, transaction or domain.
    Missing,
    /// The domain has used up its memory.
    NoMemory,
    /// A quota is used up.
    NoSpace,
    /// Something broke.
    Broken,
    /// There is no such request.
    Unknown,
    /// Something else goes on.
    Busy,
    /// Others changed what a transaction had read: it is to be tried again.
    Again,
    /// The answer is too long for a message, or there are too many watches.
    TooBig,
    /// Nodes keep their owner.
    Forbidden,
}

impl Error {
    const NAMES: [(Self, &'static str); 12] = [
        (Self::Invalid, "EINVAL"),
        (Self::Denied, "EACCES"),
        (Self::Exists, "EEXIST"),
        (Self::Missing, "ENOENT"),
        (Self::NoMemory, "ENOMEM"),
        (Self::NoSpace, "ENOSPC"),
        (Self::Broken, "EIO"),
        (Self::Unknown, "ENOSYS"),
        (Self::Busy, "EBUSY"),
        (Self::Again, "EAGAIN"),
        (Self::TooBig, "E2BIG"),
        (Self::Forbidden, "EPERM"),
    ];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(error, _)| *error == self).map_or("EIO", |(_, name)| name)
    }

    /// The error that has this name; [`Error::Broken`] if none has.
    #[must_use]
    pub fn named(name: &[u8]) -> Self {
        Self::NAMES.iter().find(|(_, known)| known.as_bytes() == name).map_or(Self::Broken, |(error, _)| *error)
    }
}
