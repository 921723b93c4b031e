//! What the user's keys mean to the tool itself.

/// Ctrl-A, which begins every command to the console, as on Xen.
const CTRL_A: u8 = 0x01;
/// After this many Ctrl-A the hypervisor moves its focus, and the sequence is complete.
const FOCUS: u8 = 3;

/// Watches for Ctrl-A x. Everything goes to the machine, a Ctrl-A at once: the hypervisor counts
/// them itself.
#[derive(Debug, Default)]
pub struct Keyboard {
    ctrl_a: u8,
}

impl Keyboard {
    /// How many of the bytes typed are for the machine: fewer than there are if the user leaves.
    pub fn press(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                &CTRL_A => self.ctrl_a = (self.ctrl_a + 1) % FOCUS,
                b'x' | b'X' if self.ctrl_a > 0 => return at,
                _ => self.ctrl_a = 0,
            }
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_x_leaves_even_when_typed_slowly() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.press(b"ls\x01"), 3);
        assert_eq!(keyboard.press(b"x"), 0);
    }

    #[test]
    fn three_ctrl_a_are_complete_and_an_x_after_them_is_an_x() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.press(b"\x01\x01\x01x"), 4);
        assert_eq!(keyboard.press(b"\x01ax"), 3);
    }
}
