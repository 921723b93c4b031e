//! How a command ends: its status, and the one message for what went wrong.

use std::fmt;
use std::process::ExitCode;

use miette::{GraphicalReportHandler, GraphicalTheme, Report};

/// The status a command leaves behind. `mote help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Every guest ended of its own will.
    Clean,
    /// A guest crashed, the hypervisor panicked, or it left a guest out.
    Crashed,
    /// The command line or the configuration is wrong. Nothing was started.
    Misused,
    /// The tool could not do its part: a program is missing, a build or a download failed.
    Unable,
    /// The time given by `--timeout` ran out.
    TimedOut,
    /// A signal ended the tool, as a shell reports it: 128 and the signal's number.
    Signalled(u8),
}

impl Status {
    /// The number the process exits with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Crashed => 1,
            Self::Misused => 2,
            Self::Unable => 3,
            // What timeout(1) uses.
            Self::TimedOut => 124,
            Self::Signalled(signal) => 128 + (signal & 0x7f),
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

/// Why a command stopped before its end: the messages to show, and the status to leave.
#[derive(Debug)]
pub struct Failure {
    status: Status,
    reports: Vec<Report>,
}

/// What a step of a command returns.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// The user's input is wrong, in each of these ways.
    #[must_use]
    pub fn misused(reports: Vec<Report>) -> Self {
        Self { status: Status::Misused, reports }
    }

    /// The tool could not do its part.
    #[must_use]
    pub fn unable(report: Report) -> Self {
        Self { status: Status::Unable, reports: vec![report] }
    }

    /// The status to leave.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Every message as text, in `style`.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let handler = style.handler();
        let mut text = String::new();
        for report in &self.reports {
            if handler.render_report(&mut text, report.as_ref()).is_err() {
                text.push_str(&report.to_string());
            }
            text.push('\n');
        }
        text
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::unable(report)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

/// How messages look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Colours and line drawing, for a terminal.
    Colour,
    /// ASCII, one message on as many lines as it has: for a pipe, a file or `NO_COLOR`.
    Plain,
}

impl Style {
    /// Wide enough that a message in a pipe is not wrapped at an arbitrary place.
    const PLAIN_WIDTH: usize = 240;

    /// The style that fits standard error as it is now.
    #[must_use]
    pub fn of_stderr() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && std::io::IsTerminal::is_terminal(&std::io::stderr()) { Self::Colour } else { Self::Plain }
    }

    fn handler(self) -> GraphicalReportHandler {
        match self {
            Self::Colour => GraphicalReportHandler::new_themed(GraphicalTheme::unicode()),
            Self::Plain => GraphicalReportHandler::new_themed(GraphicalTheme::none())
                .with_width(Self::PLAIN_WIDTH)
                .with_links(false),
        }
    }
}
