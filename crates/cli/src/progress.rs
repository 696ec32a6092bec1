//! Talk: what happens, on stderr. A bar or spinner on a terminal, plain lines elsewhere, nothing with `--json`.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Tells a person how far things are. Answers never go through here.
#[derive(Debug, Clone)]
pub struct Talk {
    quiet: bool,
    terminal: bool,
}

impl Talk {
    /// Talks on stderr; `quiet` says nothing at all.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, terminal: std::io::stderr().is_terminal() }
    }

    /// One line.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", line.as_ref());
        }
    }

    /// Something that takes a while: `total` steps, or a spinner if there is only one.
    pub fn bar(&self, total: u64, what: &str) -> Bar {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if self.quiet || !self.terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = if total > 1 {
            "  {bar:30} {pos}/{len} tasks  {msg}  {elapsed}"
        } else {
            "  {spinner} {msg}  {elapsed}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        let bar = Bar { bar, talk: self.clone(), said: String::new() };
        bar.bar.set_message(what.to_owned());
        bar
    }
}

/// One thing that takes a while. Vanishes when dropped: what stays is what was said.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    talk: Talk,
    said: String,
}

impl Bar {
    /// What is going on now. Off a terminal each new text is a line of its own.
    pub fn now(&mut self, what: &str) {
        if what == self.said {
            return;
        }
        self.said = what.to_owned();
        self.bar.set_message(what.to_owned());
        if !self.talk.terminal {
            self.talk.say(format!("  {what}"));
        }
    }

    /// So many steps are done.
    pub fn done(&self, steps: u64) {
        self.bar.set_position(steps);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
