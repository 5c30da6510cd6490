//! Where the words go.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;

/// Somewhere to write to, line by line.
pub struct Output<'a> {
    writer: Box<dyn Write + 'a>,
    colour: Colour,
}

/// Whether words may be coloured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colour {
    /// A person looks at a terminal.
    On,
    /// A file, a pipe, or `NO_COLOR` is set.
    Off,
}

impl<'a> Output<'a> {
    /// The program's own, coloured if it is a terminal.
    #[must_use]
    pub fn stdout() -> Output<'static> {
        let stdout = io::stdout();
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = if stdout.is_terminal() && !plain { Colour::On } else { Colour::Off };
        Output { writer: Box::new(stdout), colour }
    }

    /// Somewhere else, without colours.
    pub fn to(writer: impl Write + 'a) -> Self {
        Self { writer: Box::new(writer), colour: Colour::Off }
    }

    pub(super) fn colour(&self) -> Colour {
        self.colour
    }

    /// Writes text that ends with a line break or has none to lose.
    pub(super) fn lines(&mut self, text: &str) -> io::Result<()> {
        self.writer.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.writer.write_all(b"\n")?;
        }
        self.writer.flush()
    }

    /// Makes room for something that takes the place of what stands there, if somebody looks at it.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.colour == Colour::On {
            self.writer.write_all(b"\x1b[H\x1b[2J")?;
        }
        Ok(())
    }

    /// Writes a value as one line of JSON.
    pub(super) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.lines(&serde_json::to_string(value)?)
    }
}

impl Colour {
    /// For what was dropped or denied.
    pub(super) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// For what was forwarded or allowed.
    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::On => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Off => text.to_owned(),
        }
    }
}
