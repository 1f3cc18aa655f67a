// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much of the history of which ref stays.

use super::Keep;
use crate::refs::pattern::fits;

/// Rules for refs by their names. The first one that fits a ref counts.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<(String, Keep)>,
    /// For refs that no rule fits.
    pub otherwise: Keep,
}

impl Policy {
    /// The same for all refs.
    pub fn same(keep: Keep) -> Self {
        Self {
            rules: Vec::new(),
            otherwise: keep,
        }
    }

    /// Adds a rule for the refs that `pattern` fits, after those that are there. In a pattern `*`
    /// stands for anything, `?` for one character; a ref of a remote is called `REMOTE:NAME`.
    pub fn add(&mut self, pattern: impl Into<String>, keep: Keep) {
        self.rules.push((pattern.into(), keep));
    }

    /// Whether there is a rule for this ref.
    pub fn has_rule(&self, name: &str) -> bool {
        self.rules.iter().any(|(pattern, _)| fits(pattern, name))
    }

    /// What stays of the ref called `name`.
    pub fn keep(&self, name: &str) -> Keep {
        let rule = self.rules.iter().find(|(pattern, _)| fits(pattern, name));
        rule.map_or(self.otherwise, |(_, keep)| *keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_counts() {
        let mut policy = Policy::same(Keep::ALL);
        policy.add("stable", Keep::depth(5));
        policy.add("s*", Keep::depth(1));
        assert_eq!(policy.keep("stable"), Keep::depth(5));
        assert_eq!(policy.keep("staging"), Keep::depth(1));
        assert_eq!(policy.keep("main"), Keep::ALL);
        assert!(policy.has_rule("staging") && !policy.has_rule("main"));
    }
}
