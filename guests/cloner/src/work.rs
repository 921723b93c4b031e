//! What a clone is told to do: the first word of its argument. The second is a number that goes with it.

/// Ends at once.
pub const NOTHING: u64 = 0;
/// Looks whether its memory is its template's, writes the number to all of it, and ends.
pub const WRITE: u64 = 1;
/// Looks for the number in all of its memory, and ends as crashed if it is there.
pub const SEARCH: u64 = 2;
/// Never ends.
pub const SPIN: u64 = 3;
/// Sleeps.
pub const SLEEP: u64 = 4;
/// Asks to become a template, which is refused.
pub const SNAPSHOT: u64 = 5;
/// Uses event channels and grants as if nothing had been before.
pub const EVENTS: u64 = 6;
/// Says who it is on its console.
pub const SPEAK: u64 = 7;
/// Takes more memory than it may, by hypercalls, gives some back and ends.
pub const BALLOON: u64 = 8;
/// Keeps the number in its memory and looks again and again, after others' turns, whether it is all there, and ends.
pub const KEEP: u64 = 9;
