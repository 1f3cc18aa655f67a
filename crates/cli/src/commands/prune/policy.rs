// SPDX-License-Identifier: MIT OR Apache-2.0
//! Policies of retention in a file.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::{SignedDuration, Zoned};
use oxtree_format::keyfile::KeyFile;
use oxtree_repo::prune::{Keep, Policy};

use crate::dates;

/// Adds the rules in `file` to `policy`.
pub(super) fn read(file: &Path, now: &Zoned, policy: &mut Policy) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    parse(&bytes, now, policy).with_context(|| file.display().to_string())
}

fn parse(bytes: &[u8], now: &Zoned, policy: &mut Policy) -> Result<()> {
    let file = KeyFile::parse(bytes)?;
    for group in file.groups() {
        let pattern = group
            .strip_prefix("ref \"")
            .and_then(|rest| rest.strip_suffix('"'))
            .ok_or_else(|| anyhow!("the group [{group}] is no [ref \"PATTERN\"]"))?;
        let keep = rule(&file, group, now).with_context(|| format!("[{group}]"))?;
        policy.add(pattern, keep);
    }
    Ok(())
}

fn rule(file: &KeyFile, group: &str, now: &Zoned) -> Result<Keep> {
    let mut keep = Keep::ALL;
    for key in file.keys(group) {
        let value = file.string(group, key)?.unwrap_or_default();
        match key {
            "depth" => {
                let depth = value
                    .parse()
                    .map_err(|_| anyhow!("Invalid depth {value}"))?;
                keep.depth = Keep::depth(depth).depth;
            }
            "keep-younger-than" => {
                let age = SignedDuration::try_from(dates::age(&value, now)?).ok();
                let time = age.and_then(|age| now.timestamp().checked_sub(age).ok());
                let time = time.ok_or_else(|| {
                    anyhow!("keep-younger-than={value} reaches to before all dates")
                })?;
                keep.younger_than = Some(time.as_second());
            }
            key => bail!("there is no key “{key}”; there are depth and keep-younger-than"),
        }
    }
    if keep.younger_than.is_some() && file.value(group, "depth").is_none() {
        keep.depth = Some(0);
    }
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<Policy> {
        let now = "2026-11-22T00:00:00[UTC]".parse::<Zoned>()?;
        let mut policy = Policy::same(Keep::ALL);
        parse(text.as_bytes(), &now, &mut policy)?;
        Ok(policy)
    }

    #[test]
    fn groups_are_rules() {
        let policy = policy(
            "[ref \"*/testing\"]\nkeep-younger-than=2 days\ndepth=1\n[ref \"new/*\"]\n\
             keep-younger-than=1 day ago\n[ref \"f/*\"]\ndepth=10\n[ref \"all\"]\n",
        )
        .unwrap();
        let day = 24 * 3600;
        let now = 1_795_305_600;
        let both = Keep {
            depth: Some(1),
            younger_than: Some(now - 2 * day),
        };
        assert_eq!(policy.keep("x/testing"), both);
        assert_eq!(policy.keep("new/x"), Keep::younger_than(now - day));
        assert_eq!(policy.keep("f/x"), Keep::depth(10));
        assert_eq!(policy.keep("all"), Keep::ALL);
        assert_eq!(policy.keep("other"), Keep::ALL);
    }

    #[test]
    fn faults_are_named() {
        for (text, fault) in [
            ("[core]\n", "[core]"),
            ("[ref \"x\"]\ndepht=1\n", "depht"),
            ("[ref \"x\"]\ndepth=many\n", "many"),
            ("[ref \"x\"]\nkeep-younger-than=soon\n", "soon"),
            ("depth=1\n", "line 1"),
        ] {
            let error = format!("{:#}", policy(text).unwrap_err());
            assert!(error.contains(fault), "{error}");
        }
    }
}
