//! Numbers in thousandths.

use core::fmt;

/// Thousandths in one.
const ONE: i64 = 1000;
/// The greatest, and the least with its sign turned.
const MAX: i64 = 1_000_000_000 * ONE;

/// A number with three digits behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(i64);

impl Number {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many thousandths.
    #[must_use]
    pub const fn of(thousandths: i64) -> Self {
        Self(thousandths)
    }

    /// Its thousandths.
    #[must_use]
    pub const fn thousandths(self) -> i64 {
        self.0
    }

    /// Reads a decimal number: a sign, digits, and perhaps a point and at most three more. `None` for all else, and beyond a billion.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + part.len() == 0 || whole.len() > 10 || part.len() > 3 || !is_plain(whole) || !is_plain(part) {
            return None;
        }
        let read = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i64>().ok() };
        let scale = [1000, 100, 10, 1][part.len()];
        let value = read(whole)? * ONE + read(part)? * scale;
        (value <= MAX).then_some(Self(sign * value))
    }
}

impl fmt::Display for Number {
    /// As short as it can be.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.unsigned_abs() / 1000, self.0.unsigned_abs() % 1000);
        let sign = if self.0 < 0 { "-" } else { "" };
        match (part, part % 10, part % 100) {
            (0, ..) => write!(to, "{sign}{whole}"),
            (_, _, 0) => write!(to, "{sign}{whole}.{}", part / 100),
            (_, 0, _) => write!(to, "{sign}{whole}.{:02}", part / 10),
            _ => write!(to, "{sign}{whole}.{part:03}"),
        }
    }
}
