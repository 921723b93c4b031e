//! The token by which a client shows that it may.

use alloc::string::String;

use mote_webserver::Request;
use subtle::ConstantTimeEq;

/// What a client must know. Whoever made the machine gave it to the control domain and to nobody else.
#[derive(Clone)]
pub struct Token(Option<String>);

impl Token {
    /// This token. One that is too short to be safe opens nothing.
    #[must_use]
    pub fn new(text: &str) -> Self {
        /// Characters of 16 random bytes in hexadecimal.
        const SHORTEST: usize = 32;
        Self((text.len() >= SHORTEST).then(|| text.into()))
    }

    /// Whether the request bears it. How long that takes does not depend on how much of it is right.
    pub(crate) fn is_in(&self, request: &Request<'_>) -> bool {
        let Some((scheme, shown)) = request.header("Authorization").and_then(|value| value.split_once(' ')) else {
            return false;
        };
        let Some(token) = &self.0 else { return false };
        scheme.eq_ignore_ascii_case("Bearer") && bool::from(token.as_bytes().ct_eq(shown.trim().as_bytes()))
    }
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Token(…)")
    }
}
