//! What the user sees of work that takes its time: a spinner on a terminal, a line in a pipe.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use miette::{Result, miette};

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);
/// How much of a failed program's output is shown, in lines. What matters stands at the end.
const LAST_WORDS: usize = 15;

/// A piece of work that the user is told of.
#[derive(Debug)]
pub struct Step {
    title: String,
    // `None` until the step is announced, and in a pipe.
    spinner: Mutex<Option<ProgressBar>>,
    announced: std::sync::Once,
}

impl Step {
    /// Announces work that is certain to be done.
    #[must_use]
    pub fn begin(title: impl Into<String>) -> Self {
        let step = Self::in_silence(title);
        step.announce();
        step
    }

    /// Work that may turn out to be nothing: it is announced by [`Step::announce`], or never.
    #[must_use]
    pub fn in_silence(title: impl Into<String>) -> Self {
        Self { title: title.into(), spinner: Mutex::new(None), announced: std::sync::Once::new() }
    }

    /// Tells the user, the first time it is called.
    pub fn announce(&self) {
        self.announced.call_once(|| {
            if !std::io::stderr().is_terminal() {
                return eprintln!("mote: {}", self.title);
            }
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} ({elapsed})  {wide_msg:.dim}") {
                spinner.set_style(style);
            }
            spinner.set_prefix(self.title.clone());
            spinner.enable_steady_tick(TICK);
            self.with_spinner(|slot| *slot = Some(spinner));
        });
    }

    /// Shows what is happening at this moment.
    pub fn detail(&self, text: &str) {
        self.with_spinner(|spinner| {
            if let Some(spinner) = spinner {
                spinner.set_message(text.trim().to_owned());
            }
        });
    }

    /// Runs `command` to its end and returns what it printed to standard output. What it prints
    /// meanwhile is shown as detail.
    ///
    /// # Errors
    ///
    /// It does not start, or fails: its last words are in the message, and `help` is the remedy.
    pub fn run(&self, command: &mut Command, help: &str) -> Result<String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let finished = self.finish(command, |line| self.detail(line));
        let (status, output, errors) =
            finished.map_err(|error| miette!(help = help, "{name} does not start: {error}"))?;
        if status.success() {
            return Ok(output);
        }
        let words = if errors.trim().is_empty() { &output } else { &errors };
        let words: Vec<&str> = words.trim().lines().collect();
        let words = words.get(words.len().saturating_sub(LAST_WORDS)..).unwrap_or_default().join("\n");
        Err(miette!(help = help, "{}: {name} failed ({status})\n{words}", self.title))
    }

    /// Runs `command` to its end; returns its status and what it printed to standard output and to
    /// standard error, after having shown every line of both to `watch`.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub fn finish(
        &self,
        command: &mut Command,
        watch: impl Fn(&str) + Sync,
    ) -> std::io::Result<(std::process::ExitStatus, String, String)> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let watch = &watch;
        let (output, errors) = thread::scope(|scope| {
            let output = scope.spawn(move || output.map(|pipe| read_lines(pipe, watch)));
            let errors = errors.map(|pipe| read_lines(pipe, watch));
            (output.join().ok().flatten(), errors)
        });
        Ok((child.wait()?, output.unwrap_or_default(), errors.unwrap_or_default()))
    }

    fn with_spinner<T>(&self, action: impl FnOnce(&mut Option<ProgressBar>) -> T) -> Option<T> {
        self.spinner.lock().ok().map(|mut spinner| action(&mut spinner))
    }
}

impl Drop for Step {
    /// Leaves the title behind, where the spinner was.
    fn drop(&mut self) {
        self.with_spinner(|spinner| {
            if let Some(spinner) = spinner.take() {
                spinner.finish_and_clear();
                eprintln!("mote: {}", self.title);
            }
        });
    }
}

/// Everything that `pipe` gives, each line of which is shown to `watch`.
fn read_lines(pipe: impl Read, watch: &(impl Fn(&str) + Sync)) -> String {
    let mut text = String::new();
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        watch(&line);
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_s_output_is_returned() {
        let output = Step::in_silence("test").run(&mut shell("echo one; echo two >&2"), "").expect("it runs");
        assert_eq!(output, "one\n");
    }

    #[test]
    fn a_failure_carries_the_last_words_and_the_remedy() {
        let error = Step::in_silence("test").run(&mut shell("seq 100 >&2; exit 3"), "do this").expect_err("fails");
        let text = error.to_string();
        assert!(text.contains("exit status: 3") && text.ends_with("99\n100") && !text.contains("\n85\n"), "{text}");
        assert_eq!(error.help().map(|help| help.to_string()).as_deref(), Some("do this"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Step::in_silence("test").run(&mut Command::new("no-such-program"), "").expect_err("missing");
        assert!(error.to_string().contains("no-such-program does not start"));
    }
}
