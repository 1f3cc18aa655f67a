// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress of long operations: a bar on a terminal, nothing elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use oxtree_repo::Progress;

use crate::escape::harmless_line;

/// A bar on standard error.
#[derive(Debug, Default)]
pub(crate) struct Terminal {
    bar: Mutex<Option<ProgressBar>>,
}

impl Terminal {
    /// [`None`] if standard error is no terminal.
    pub(crate) fn new() -> Option<Self> {
        std::io::stderr().is_terminal().then(Self::default)
    }

    /// Prints something while the bar is out of the way.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        match &*bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn replace(&self, bar: Option<ProgressBar>) {
        let mut current = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *current, bar) {
            old.finish_and_clear();
        }
    }
}

impl Progress for Terminal {
    fn start(&self, what: &str, total: Option<u64>) {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{msg} {wide_bar} {pos}/{len} {eta}",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} {pos}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(harmless_line(what).into_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.replace(Some(bar));
    }

    fn advance(&self, units: u64) {
        let bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = &*bar {
            bar.inc(units);
        }
    }

    fn finish(&self) {
        self.replace(None);
    }
}
