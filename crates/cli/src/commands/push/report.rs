// SPDX-License-Identifier: MIT OR Apache-2.0
//! What came of a push: for people, and as JSON.

use std::time::Duration;

use anyhow::Result;
use oxtree_transfer::Url;
use oxtree_transfer::protocol::message::{RefOutcome, Status, UnfinishedPush, WireCommit};
use oxtree_transfer::push::PushReport;

use crate::context::Context;
use crate::error::AlreadyReported;
use crate::escape::without_controls;

/// Says what came of a push; an error if it was refused.
pub(crate) fn tell(
    context: &Context<'_>,
    url: &Url,
    report: &PushReport,
    took: Duration,
) -> Result<()> {
    describe(context, url, report, took)?;
    finish(context, report)
}

/// A push that is running or was cut off, for people.
pub(crate) fn unfinished_line(push: &UnfinishedPush) -> String {
    let state = match push.running {
        true => "running,",
        false => "cut off,",
    };
    let (objects, bytes) = (push.objects, size(push.bytes));
    format!(
        "  {state} {objects} objects, {bytes}, last received {} ago",
        age(push.age)
    )
}

/// Seconds for people.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Which refs were refused, and why.
pub(crate) fn refusals(report: &PushReport) -> String {
    let refs = report.outcome.refs.iter();
    let refused = refs
        .filter(|r| r.status == Status::Rejected)
        .map(|r| format!("{}: {}", r.name, reason(r)));
    refused.collect::<Vec<_>>().join("; ")
}

/// Warnings, and the error for what was refused.
pub(super) fn finish(context: &Context<'_>, report: &PushReport) -> Result<()> {
    for warning in &report.outcome.warnings {
        let warning = warning.replace('\n', " ");
        context.out.note(&format!("warning: {warning}"));
    }
    if report.outcome.is_ok() {
        return Ok(());
    }
    context.out.note(&format!(
        "error: push refused, nothing has changed: {}",
        refusals(report)
    ));
    Err(AlreadyReported { code: 1 }.into())
}

fn describe(context: &Context<'_>, url: &Url, report: &PushReport, took: Duration) -> Result<()> {
    let would = if report.dry_run {
        " (dry run: nothing is changed)"
    } else {
        ""
    };
    context.out.line(&format!("To {url}{would}"))?;
    for outcome in &report.outcome.refs {
        context.out.line(&ref_line(outcome))?;
    }
    if report.outcome.refs.is_empty() {
        context
            .out
            .line("Nothing to push: there are no local refs")?;
    }
    if report.dry_run {
        return context.out.line(&format!(
            "Would send {} of {} objects, {}",
            report.missing,
            report.offered,
            size(report.missing_bytes)
        ));
    }
    if report
        .outcome
        .refs
        .iter()
        .all(|r| r.status == Status::Unchanged)
    {
        return Ok(());
    }
    context.out.line(&format!(
        "Sent {} of {} objects, {} in {:.1} s",
        report.missing,
        report.offered,
        size(report.bytes_sent),
        took.as_secs_f64()
    ))
}

fn ref_line(outcome: &RefOutcome) -> String {
    let name = &outcome.name;
    let short = |commit: &Option<WireCommit>| {
        commit
            .as_ref()
            .map_or(String::new(), |commit| commit.to_string()[..10].to_owned())
    };
    let (old, new) = (short(&outcome.old), short(&outcome.new));
    match outcome.status {
        Status::Created => format!(" * [new]                  {name} -> {new}"),
        Status::Updated => format!("   {old}..{new} {name}"),
        Status::Deleted => format!(" - [deleted]              {name} (was {old})"),
        Status::Unchanged => match &outcome.reason {
            // Of commits that are skipped as stale, the receiver has said so.
            Some(reason) if outcome.old == outcome.new => {
                format!(
                    " = [up to date]           {name}: {}",
                    crate::escape::without_controls(reason)
                )
            }
            _ => format!(" = [up to date]           {name}"),
        },
        Status::NotDone => format!(" ! [not done]             {name}"),
        Status::Rejected => format!(" ! [refused]              {name}: {}", reason(outcome)),
    }
}

/// Why a ref was refused, in the receiver's words, in one line.
fn reason(outcome: &RefOutcome) -> String {
    let reason = outcome.reason.as_deref().unwrap_or("no reason given");
    without_controls(reason).replace('\n', " ")
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

pub(super) fn json(url: &Url, report: &PushReport, took: Duration) -> String {
    serde_json::json!({
        "destination": url.to_string(),
        "dry_run": report.dry_run,
        "ok": report.outcome.is_ok(),
        "refs": report.outcome.refs,
        "warnings": report.outcome.warnings,
        "objects_offered": report.offered,
        "objects_missing": report.missing,
        "object_bytes": report.missing_bytes,
        "bytes_sent": report.bytes_sent,
        "bytes_received": report.bytes_received,
        "turns": report.turns,
        "seconds": (took.as_secs_f64() * 1000.0).round() / 1000.0,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, text) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (1_500_000, "1.5 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
