// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines on standard error as Python's `logging` writes them: `LEVEL:logger:message`.

use crate::output::Output;
use crate::receiving::conf::LogLevel;

/// Writes what is important enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log<'a> {
    pub(super) out: &'a Output,
    pub(super) level: LogLevel,
    /// Who writes: the name of the original's module.
    pub(super) logger: &'static str,
}

impl Log<'_> {
    /// Warns, a line each.
    pub(super) fn warn(&self, reasons: &str) {
        let lines = reasons.lines();
        lines.for_each(|line| self.write(LogLevel::Warning, line));
    }

    pub(super) fn write(&self, level: LogLevel, text: &str) {
        if level >= self.level {
            self.out.note(&format!("{level}:{}:{text}", self.logger));
        }
    }
}
