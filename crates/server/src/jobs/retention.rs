// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deletes old commits, by the same plan as `oxtree prune`.

use std::time::{Duration, SystemTime};

use oxtree_repo::Repo;
use oxtree_repo::prune::{Keep, Options, Policy};

use super::Tried;

/// How many commits to keep, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// By pattern of refs; the first match applies. Refs without a match keep everything.
    pub rules: Vec<RetentionRule>,
    /// Objects younger than this always stay.
    pub grace: Duration,
}

/// The rule for the refs of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// `*` stands for anything, `?` for one character.
    pub pattern: String,
    /// So many commits, the newest included.
    pub keep_last: Option<u32>,
    /// And those that are younger.
    pub keep_younger_than: Option<Duration>,
}

/// At most once within this many seconds.
pub(super) const INTERVAL: u64 = 3600;

/// At least once within this many seconds, also without a push: commits grow old by themselves.
const LONGEST: u64 = 24 * 3600;

impl Retention {
    /// When retention runs next, if nothing changes: more often where times are short.
    pub(super) fn next(&self, now: u64) -> Tried {
        let ages = self.rules.iter().filter_map(|rule| rule.keep_younger_than);
        let ages = ages.chain((!self.grace.is_zero()).then_some(self.grace));
        let pause = ages.min().map_or(LONGEST, |age| age.as_secs() / 24);
        Tried {
            next: now.saturating_add(pause.clamp(INTERVAL, LONGEST)),
            ..Tried::default()
        }
    }

    /// Lets go what is too old; true if deltas went with it.
    pub(super) fn prune(&self, repo: &Repo) -> oxtree_repo::Result<bool> {
        let plan = repo.plan_prune(&Options {
            refs_only: true,
            policy: self.policy(SystemTime::now()),
            grace: (!self.grace.is_zero()).then_some(self.grace),
            ..Options::default()
        })?;
        let deltas = !plan.deltas.is_empty();
        let pruned = plan.execute(&())?;
        tracing::info!(
            "{}: {} objects that were too old are gone",
            repo.path().display(),
            pruned.objects
        );
        Ok(deltas)
    }

    fn policy(&self, now: SystemTime) -> Policy {
        let mut policy = Policy::same(Keep::ALL);
        for rule in &self.rules {
            let mut keep = Keep::depth(rule.keep_last.map_or(0, |last| i64::from(last.max(1)) - 1));
            if let Some(age) = rule.keep_younger_than {
                let since = now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
                let since = since
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default();
                keep.younger_than = i64::try_from(since.as_secs()).ok();
            }
            policy.add(&rule.pattern, keep);
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_become_those_of_a_prune() {
        let rule = |pattern: &str, keep_last, keep_younger_than: Option<u64>| RetentionRule {
            pattern: pattern.to_owned(),
            keep_last,
            keep_younger_than: keep_younger_than.map(Duration::from_secs),
        };
        let retention = Retention {
            rules: vec![
                rule("a/*", Some(3), None),
                rule("b/*", None, Some(100)),
                rule("*", Some(1), Some(100)),
            ],
            grace: Duration::ZERO,
        };
        let policy = retention.policy(SystemTime::UNIX_EPOCH + Duration::from_secs(1000));
        assert_eq!(policy.keep("a/x"), Keep::depth(2));
        let young = Keep {
            depth: Some(0),
            younger_than: Some(900),
        };
        assert_eq!(policy.keep("b/x"), young);
        assert_eq!(policy.keep("c"), young);
        assert_eq!(retention.next(5).next, 5 + INTERVAL);
        let grace = Duration::from_secs(48 * 3600);
        let retention = Retention {
            rules: vec![rule("*", Some(3), None)],
            grace,
        };
        assert_eq!(retention.next(5).next, 5 + 2 * 3600);
    }
}
