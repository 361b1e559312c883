//! The only module that prints. What a command found goes to standard output, what went wrong with the command itself
//! to standard error.

use std::fmt::Display;
use std::io::{self, BufRead, BufWriter, ErrorKind, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use gridrouter_config::problem::Problem;
use rustix::termios::tcgetwinsize;
use serde::Serialize;

use crate::screen::Screen;
use crate::table::{is_invisible, printable};

const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The cells of a bar.
const BAR: usize = 30;

/// When to print in colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless the environment variable NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Colour {
    fn on(self, terminal: bool) -> bool {
        match self {
            Colour::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                terminal && !refused && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
            Colour::Always => true,
            Colour::Never => false,
        }
    }
}

/// Where a command prints. A reader that goes away, as `head` does, is no error: the rest is dropped. Any other failure
/// to write is remembered, and the command's last word.
#[allow(clippy::struct_excessive_bools, reason = "independent facts of three streams")]
pub struct Output {
    out: Sink,
    err: Sink,
    /// Whether somebody is there who reads standard error and can answer.
    person: bool,
    /// Whether standard error is a terminal, on which a line can be replaced.
    live: bool,
    /// Whether lines on standard output can be taken back.
    redraws: bool,
    /// Whether a line of progress stands on the terminal.
    progress: bool,
    /// What the bar that stands there shows: its words, and how much of it is full.
    bar: Option<(String, usize)>,
    /// What it is shown on; of a terminal, that is asked anew each time, for somebody may change its size.
    screen: Option<Screen>,
    /// What lines were drawn on that are to be taken back.
    drawn: Option<Screen>,
}

/// What a person says to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Do not.
    No,
    /// Nobody is there to be asked.
    Nobody,
}

struct Sink {
    to: Box<dyn Write>,
    colour: bool,
    failure: Option<io::Error>,
}

impl Sink {
    fn put(&mut self, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.failure.is_none() {
            self.failure = print(&mut self.to).err();
        }
    }
}

impl Output {
    /// Standard output and standard error.
    pub fn standard(colour: Colour) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let (out_colour, err_colour) = (colour.on(out.is_terminal()), colour.on(err.is_terminal()));
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = err.is_terminal() && !dumb;
        let redraws = out.is_terminal() && !dumb;
        let person = err.is_terminal() && io::stdin().is_terminal();
        Self::to(BufWriter::with_capacity(1 << 16, out), out_colour, BufWriter::new(err), err_colour)
            .with_person(person)
            .with_live(live)
            .with_redraws(redraws)
            .following()
    }

    /// Anything that takes bytes, and whether it shows colours.
    pub fn to(out: impl Write + 'static, out_colour: bool, err: impl Write + 'static, err_colour: bool) -> Self {
        let sink = |to: Box<dyn Write>, colour| Sink { to, colour, failure: None };
        Self {
            out: sink(Box::new(out), out_colour),
            err: sink(Box::new(err), err_colour),
            person: false,
            live: false,
            redraws: false,
            progress: false,
            bar: None,
            screen: Some(Screen::UNKNOWN),
            drawn: None,
        }
    }

    /// Whether somebody reads standard error and can answer questions.
    #[must_use]
    pub fn with_person(mut self, person: bool) -> Self {
        self.person = person;
        self
    }

    /// Whether lines on standard output can be taken back: it is a terminal that knows how.
    #[must_use]
    pub fn with_redraws(mut self, redraws: bool) -> Self {
        self.redraws = redraws;
        self
    }

    /// Whether standard error is a terminal: only there progress is shown.
    #[must_use]
    pub fn with_live(mut self, live: bool) -> Self {
        self.live = live;
        self
    }

    /// What standard output is shown on.
    #[must_use]
    pub fn with_screen(mut self, screen: Screen) -> Self {
        self.screen = Some(screen);
        self
    }

    fn following(mut self) -> Self {
        self.screen = None;
        self
    }

    /// What standard output is shown on now.
    pub fn screen(&self) -> Screen {
        self.screen.unwrap_or_else(|| Screen::of(size()))
    }

    /// Whether somebody is there who can be asked.
    pub fn has_person(&self) -> bool {
        self.person
    }

    /// Whether progress is shown.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether what goes to standard output is shown in colour.
    pub fn colour(&self) -> bool {
        self.out.colour
    }

    /// Says what is being done, on a line that the next one replaces; only on a terminal.
    pub fn progress(&mut self, text: impl Display) {
        if self.live {
            self.progress = true;
            self.bar = None;
            self.out.put(|to| to.flush());
            self.err.put(|to| {
                write!(to, "\r\u{1b}[2K{text}")?;
                to.flush()
            });
        }
    }

    /// Says how far something has come, as a bar that moves; only on a terminal. It may be called for every single step:
    /// the bar is drawn when it looks different.
    pub fn bar(&mut self, what: &str, done: usize, total: usize) {
        if !self.live || total == 0 {
            return;
        }
        let percent = (done.min(total) as u128 * 100 / total as u128) as usize;
        let same = |(words, shown): &(String, usize)| words == what && *shown == percent;
        if self.bar.as_ref().is_some_and(same) {
            return;
        }
        let full = percent * BAR / 100;
        let (left, right) = if self.screen().unicode { ('█', '░') } else { ('#', '.') };
        let cells = |cell: char, count: usize| String::from(cell).repeat(count);
        self.progress(format_args!("{what} {}{} {percent:>3}%", cells(left, full), cells(right, BAR - full)));
        self.bar = Some((what.to_owned(), percent));
    }

    /// Whether lines on standard output can be taken back.
    pub fn can_redraw(&self) -> bool {
        self.redraws
    }

    /// Prints lines in the place of those printed last, of which there are so many. Returns how many there are now. They are
    /// made to fit a screen: what is wider is cut, so that a line is one, and what is higher is left out, so that the head
    /// does not go away. Where the screen has another size than the last time, nobody knows where the last lines are: it is
    /// cleared.
    pub fn redraw(&mut self, before: usize, text: &str, screen: Screen) -> usize {
        self.clear();
        let size = |screen: Screen| (screen.width, screen.height);
        let resized = self.drawn.replace(screen).is_some_and(|drawn| size(drawn) != size(screen));
        // The cursor stands below the last line.
        let (all, room) = (text.lines().count(), screen.height.saturating_sub(1).max(1));
        let (lines, more) = if all > room { (room, all - room + 1) } else { (all, 0) };
        self.out.put(|to| {
            if resized {
                write!(to, "\u{1b}[H\u{1b}[2J")?;
            } else if before > 0 {
                write!(to, "\u{1b}[{before}A")?;
            }
            for line in text.lines().take(if more > 0 { lines - 1 } else { lines }) {
                writeln!(to, "\u{1b}[2K{}", screen.cut(line))?;
            }
            if more > 0 {
                let more = format!("{} {more} more lines", screen.ellipsis());
                writeln!(to, "\u{1b}[2K{}", screen.cut(&more))?;
            }
            write!(to, "\u{1b}[J")?;
            to.flush()
        });
        lines
    }

    /// Takes the line of progress away.
    fn clear(&mut self) {
        self.bar = None;
        if std::mem::take(&mut self.progress) {
            self.err.put(|to| {
                write!(to, "\r\u{1b}[2K")?;
                to.flush()
            });
        }
    }

    /// Says something about the command on standard error, at once.
    pub fn note(&mut self, text: impl Display) {
        self.clear();
        // Where both streams are one terminal, what was said first stands first.
        self.out.put(|to| to.flush());
        self.err.put(|to| {
            writeln!(to, "{text}")?;
            to.flush()
        });
    }

    /// Asks a person to go on, and reads the answer.
    pub fn ask(&mut self, question: impl Display, input: &mut dyn BufRead) -> Answer {
        self.question(format_args!("{question} [y/N]"), input, |answer| {
            ["y", "yes"].contains(&answer.to_lowercase().as_str())
        })
    }

    /// Asks a person to go on by typing a word.
    pub fn ask_for(&mut self, question: impl Display, word: &str, input: &mut dyn BufRead) -> Answer {
        self.question(question, input, |answer| answer == word)
    }

    fn question(
        &mut self,
        question: impl Display,
        input: &mut dyn BufRead,
        agrees: impl FnOnce(&str) -> bool,
    ) -> Answer {
        if !self.person {
            return Answer::Nobody;
        }
        self.clear();
        // What the question is about has to be on the screen.
        self.out.put(|to| to.flush());
        self.err.put(|to| {
            write!(to, "{question} ")?;
            to.flush()
        });
        let mut answer = String::new();
        match input.read_line(&mut answer) {
            Ok(_) if agrees(answer.trim()) => Answer::Yes,
            Ok(_) | Err(_) => Answer::No,
        }
    }

    /// Prints text that brings its own line breaks.
    pub fn text(&mut self, text: impl Display) {
        self.clear();
        self.out.put(|to| write!(to, "{text}"));
    }

    /// Prints one line.
    pub fn line(&mut self, text: impl Display) {
        self.clear();
        self.out.put(|to| writeln!(to, "{text}"));
    }

    /// Prints a value as JSON for people and tools.
    pub fn json(&mut self, value: &impl Serialize) {
        self.clear();
        self.out.put(|to| {
            serde_json::to_writer_pretty(&mut *to, value)?;
            writeln!(to)
        });
    }

    /// Prints a value as JSON on one line.
    pub fn json_line(&mut self, value: &impl Serialize) {
        self.out.put(|to| {
            serde_json::to_writer(&mut *to, value)?;
            to.write_all(b"\n")
        });
    }

    /// Says on standard error what went wrong.
    pub fn error(&mut self, text: impl Display) {
        self.clear();
        self.out.put(|to| to.flush());
        let style = if self.err.colour { ERROR } else { Style::new() };
        self.err.put(|to| writeln!(to, "{style}error{style:#}: {text}"));
    }

    /// Says on standard error what is wrong with a text that the command was given, for a command whose answer is not what
    /// is wrong with it.
    pub fn problem(&mut self, problem: &Problem, source: Option<&str>) {
        self.clear();
        self.out.put(|to| to.flush());
        let text = problem.render(source, self.err.colour);
        self.err.put(|to| write!(to, "{text}"));
    }

    /// Prints what the argument parser says: help to standard output, errors to standard error. What it quotes of the command
    /// line is cleaned like all text of others; where there is anything to be cleaned, there is no colour.
    pub fn usage(&mut self, error: &clap::Error) {
        let quoted = error.context().map(|(_, value)| value.to_string());
        let why = std::error::Error::source(error).map(ToString::to_string);
        let unclean = |text: String| text.chars().any(|c| (c.is_control() && c != '\n') || is_invisible(c));
        let clean = !quoted.chain(why).any(unclean);
        let sink = if error.use_stderr() { &mut self.err } else { &mut self.out };
        let text = error.render();
        let colour = sink.colour && clean;
        sink.put(|to| {
            if colour {
                return write!(to, "{}", text.ansi());
            }
            // Line by line: its own line breaks stay.
            text.to_string().lines().try_for_each(|line| writeln!(to, "{}", printable(line)))
        });
    }

    /// Writes what is still buffered, for a command that goes on for long.
    pub fn flush(&mut self) {
        for sink in [&mut self.out, &mut self.err] {
            sink.put(|to| to.flush());
        }
    }

    /// Whether nobody reads standard output any more, so that a long answer can end here.
    pub fn is_closed(&self) -> bool {
        self.out.failure.is_some()
    }

    /// Writes what is still buffered. The error is one that the person should know about.
    pub fn finish(mut self) -> io::Result<()> {
        self.clear();
        self.out.put(|to| to.flush());
        let outcome = match self.out.failure.take() {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                self.error(format_args!("cannot write the output: {error}"));
                Err(error)
            }
            Some(_) | None => Ok(()),
        };
        // Where standard error cannot be written either, nobody is left to be told.
        self.err.put(|to| to.flush());
        outcome
    }
}

/// The columns and lines of the terminal that standard output is, if it is one.
fn size() -> Option<(u16, u16)> {
    let out = io::stdout();
    let size = if out.is_terminal() { tcgetwinsize(out).ok() } else { None };
    size.map(|size| (size.ws_col, size.ws_row))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Refuses to be written to.
    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Clone, Default)]
    struct Kept(Rc<RefCell<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn after_writing_to(kind: ErrorKind) -> (bool, io::Result<()>, String) {
        let err = Kept::default();
        let mut output = Output::to(Broken(kind), false, err.clone(), false);
        output.line("lost");
        let closed = output.is_closed();
        let outcome = output.finish();
        (closed, outcome, String::from_utf8(err.0.take()).unwrap())
    }

    #[test]
    fn what_is_drawn_again_takes_the_place_of_what_was() {
        let out = Kept::default();
        let mut output = Output::to(out.clone(), false, Kept::default(), false);
        assert!(!output.can_redraw());
        let screen = |width, height| Screen { width, height, unicode: true };
        assert_eq!(output.redraw(0, "a\nb\n", screen(80, 24)), 2);
        assert_eq!(output.redraw(2, "c\n", screen(80, 24)), 1);
        let wanted = "\u{1b}[2Ka\n\u{1b}[2Kb\n\u{1b}[J\u{1b}[2A\u{1b}[2Kc\n\u{1b}[J";
        assert_eq!(String::from_utf8(out.0.take()).unwrap(), wanted);
        // Of another size, nobody knows where the lines of before are.
        assert_eq!(output.redraw(1, "abcd\n", screen(3, 24)), 1);
        assert_eq!(String::from_utf8(out.0.take()).unwrap(), "\u{1b}[H\u{1b}[2J\u{1b}[2Kab…\n\u{1b}[J");
    }

    #[test]
    fn what_is_drawn_never_scrolls_the_head_away() {
        let out = Kept::default();
        let mut output = Output::to(out.clone(), false, Kept::default(), false);
        let text: String = (0..60).flat_map(|n| [n.to_string(), "\n".to_owned()]).collect();
        assert_eq!(output.redraw(0, &text, Screen { width: 80, height: 24, unicode: true }), 23);
        let drawn = String::from_utf8(out.0.take()).unwrap();
        assert!(drawn.contains("K21\n\u{1b}[2K… 38 more lines\n") && !drawn.contains("K22\n"), "{drawn:?}");
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let (closed, outcome, said) = after_writing_to(ErrorKind::BrokenPipe);
        assert!(closed && outcome.is_ok() && said.is_empty());
    }

    #[test]
    fn a_full_disk_is_one() {
        let (closed, outcome, said) = after_writing_to(ErrorKind::StorageFull);
        assert!(closed && outcome.is_err());
        assert!(said.starts_with("error: cannot write the output: "), "{said}");
    }

    #[test]
    fn colour_is_for_terminals() {
        assert!(Colour::Always.on(false));
        assert!(!Colour::Never.on(true));
        assert!(!Colour::Auto.on(false));
    }
}
