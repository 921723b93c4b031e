//! What keeps answers to those who may be nobody from being a flood of its own.

/// Such answers in a second (as Linux has it for ICMP, `icmp_msgs_per_sec`), and at once.
const PER_SECOND: u64 = 1_000;
const BURST: u64 = 50;

/// Two of them: who knows nothing of any connection cannot use up what is for those who have one.
pub struct Limiters {
    /// For answers to what belongs to no connection.
    pub strangers: Limiter,
    /// For what is said in a machine's place.
    pub known: Limiter,
}

impl Limiters {
    pub const fn new() -> Self {
        Self { strangers: Limiter::new(), known: Limiter::new() }
    }
}

/// A bucket of tokens, in thousandths: one more for each millisecond and answer of a second.
pub struct Limiter {
    thousandths: u64,
    filled: u64,
}

impl Limiter {
    const fn new() -> Self {
        Self { thousandths: BURST * 1_000, filled: 0 }
    }

    /// Whether there may be one more answer.
    pub fn allows(&mut self, now: u64) -> bool {
        let more = now.saturating_sub(self.filled).saturating_mul(PER_SECOND);
        self.filled = self.filled.max(now);
        self.thousandths = self.thousandths.saturating_add(more).min(BURST * 1_000);
        let left = self.thousandths.checked_sub(1_000);
        self.thousandths = left.unwrap_or(self.thousandths);
        left.is_some()
    }
}
