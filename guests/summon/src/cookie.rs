//! SYN cookies: the number with which a SYN is answered says all that need be known of it when the number comes back.
//!
//! Three bits are the longest segment that the caller takes, one says in which of two periods the cookie was made, and 28 are a hash
//! with a key that nobody else has. The hash is SipHash-2-4, made for this: a keyed function of short inputs from which the key cannot be
//! found (its variant with fewer rounds is for hash tables). Guessing succeeds once in 2^28 ACKs.

use siphasher::sip::SipHasher24;

/// Milliseconds, as a power of two, for which cookies are made with one count: 8 seconds. A cookie is good for that and the next period:
/// enough for three SYN-ACKs or ACKs that were lost (RFC 6298 begins with a second and doubles it).
const PERIOD: u32 = 13;
/// For how many milliseconds a cookie may be good.
pub const LIFE: u64 = 2 << PERIOD;
/// What a cookie can say of segments. What is shorter than the first is taken for it: only who wants to be a burden asks for less.
const LENGTHS: [u16; 8] = [88, 216, 536, 1024, 1220, 1360, 1440, 1460];
/// The bits of the hash.
const HASH: u32 = !0xf;

/// A call: who calls whom, and the caller's first sequence number.
#[derive(Clone, Copy)]
pub struct Call {
    pub client: ([u8; 4], u16),
    pub service: ([u8; 4], u16),
    pub isn: u32,
}

/// Makes and checks cookies.
pub struct Cookies(SipHasher24);

impl Cookies {
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// The cookie for a SYN that said `mss`, or nothing (RFC 9293, 3.7.1).
    pub fn make(&self, call: &Call, mss: Option<u16>, now: u64) -> u32 {
        let mss = mss.unwrap_or(536);
        let length = LENGTHS.iter().rposition(|length| *length <= mss).unwrap_or(0) as u32;
        self.cookie(call, length, now >> PERIOD)
    }

    /// The longest segment that the caller takes, if the cookie is right.
    pub fn check(&self, call: &Call, cookie: u32, now: u64) -> Option<u16> {
        let length = cookie & 7;
        let period = now >> PERIOD;
        let this = u32::from(period & 1 != 0) == cookie >> 3 & 1;
        let period = if this { period } else { period.checked_sub(1)? };
        let right = self.cookie(call, length, period) == cookie;
        LENGTHS.get(length as usize).copied().filter(|_| right)
    }

    fn cookie(&self, call: &Call, length: u32, period: u64) -> u32 {
        let mut input = [0; 24];
        let words = [
            u32::from_le_bytes(call.client.0),
            u32::from_le_bytes(call.service.0),
            u32::from(call.client.1) << 16 | u32::from(call.service.1),
            call.isn,
            period as u32,
            (period >> 32) as u32 | length << 29,
        ];
        input.as_chunks_mut::<4>().0.iter_mut().zip(words).for_each(|(to, word)| *to = word.to_le_bytes());
        self.0.hash(&input) as u32 & HASH | (period as u32 & 1) << 3 | length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CALL: Call = Call { client: ([10, 0, 0, 1], 40_000), service: ([10, 0, 0, 2], 80), isn: 7 };

    proptest! {
        #[test]
        fn a_cookie_is_good_for_a_while_and_for_its_call_only(key: [u8; 16], mss: u16, isn: u32, start in 0..1_u64 << 40, later in 0..3 * LIFE) {
            let cookies = Cookies::new(&key);
            let call = Call { isn, ..CALL };
            let cookie = cookies.make(&call, Some(mss), start);
            let said = cookies.check(&call, cookie, start + later);
            prop_assert!(later >= LIFE / 2 || said.is_some());
            prop_assert!(later < LIFE || said.is_none());
            prop_assert!(said.is_none_or(|said| said <= mss.max(88)));
            let other = Call { isn: isn.wrapping_add(1), ..call };
            // Two in 2^28 are the same.
            prop_assert_eq!(cookies.check(&other, cookie, start), None);
        }
    }

    #[test]
    fn who_guesses_a_million_times_finds_nothing() {
        let cookies = Cookies::new(&[3; 16]);
        let right = (0..1_000_000_u32).filter(|n| cookies.check(&CALL, n.wrapping_mul(0x9e37_79b9), 100_000).is_some());
        assert_eq!(right.count(), 0);
    }
}
