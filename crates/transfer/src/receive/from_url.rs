// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receives from ostree-push 1.2.0, whose pusher serves its repository over HTTP at the end of a
//! tunnel. The commits are fetched and judged first, then the rest, with the [`pull`](crate::pull)
//! code, into a quarantine with the receiver's limits. Redirects and other hosts are rejected.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use oxtree_format::CommitId;
use oxtree_format::refs::RefName;
use oxtree_repo::{Progress, Repo};
use reqwest::Url;

use super::admit::{self, Verdict};
use super::policy::is_generated;
use super::progress::NoticeObserver;
use super::take_in::{is_of_no_use, settle};
use super::{LocalReceiver, record};
use crate::error::{Error, Result, invalid};
use crate::http::{Cookies, Network, TlsOptions, runtime};
use crate::protocol::message::{
    Limits, Outcome, RefOutcome, Status, WireCommit, WireRef, WireUpdate,
};
use crate::pull::fetch::{Fetcher, Mirrors};
use crate::pull::objects::{Source, What};
use crate::pull::policy::PullPolicy;
use crate::pull::subpath::Part;
use crate::pull::wanted::{self, Wanted};
use crate::store::local::LocalQuarantine;
use crate::store::{Destination, Quarantine};

/// What is fetched, and how.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// Where the pusher's repository is.
    pub url: String,
    /// The refs that are wanted; none for all.
    pub refs: Vec<RefName>,
    /// Refs may go back or sideways, if the owner leaves that to the pusher.
    pub force: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Also from other machines than this one, which the pusher could not reach itself.
    pub any_host: bool,
    /// How to use the network.
    pub network: Network,
}

/// What was found at the pusher's and what has become of it.
#[derive(Clone, Debug, Default)]
pub struct FetchReport {
    /// The refs there, of those that are wanted.
    pub remote: BTreeMap<RefName, CommitId>,
    /// The refs here, before.
    pub current: BTreeMap<RefName, CommitId>,
    /// What has become of each ref.
    pub outcome: Outcome,
}

/// Receives what is at a URL. `notice` is told what the owner's hook says.
pub fn receive_from_url(
    receiver: &LocalReceiver,
    request: &FetchRequest,
    progress: &dyn Progress,
    notice: &mut dyn FnMut(&str),
) -> Result<FetchReport> {
    let url = check_url(&request.url, request.any_host)?;
    let limits = receiver.limits()?;
    let network = network(request, limits);
    let fetcher = Fetcher::new(&network, &TlsOptions::default(), Cookies::default())?;
    let places = Mirrors::new(vec![url]).ok_or_else(|| invalid("a URL is missing"))?;
    let runtime = runtime()?;
    let summary = runtime.block_on(fetcher.get(&places, "summary", limits.metadata()))?;
    let remote = wanted_refs(&summary, &request.refs)?;
    let current = receiver.policy.visible(receiver.store.refs()?);
    let mut report = FetchReport {
        current: current.clone(),
        ..FetchReport::default()
    };
    let mut fetch = Fetch {
        receiver,
        fetcher,
        places,
        runtime,
        request,
        progress,
        observer: NoticeObserver(notice),
    };
    crate::limits::check("a push", remote.len() as u64, limits.refs, "max-refs")?;
    report.outcome = fetch.receive(&remote, &current)?;
    report.remote = remote;
    if !request.dry_run {
        record(receiver, &mut report.outcome);
    }
    Ok(report)
}

/// How the network is used. Whoever may only be at the other end of a tunnel cannot send us on.
fn network(request: &FetchRequest, limits: Limits) -> Network {
    let network = request.network.clone();
    let idle = Duration::from_secs(limits.idle);
    Network {
        redirects: request.any_host,
        low_speed_time: match idle.is_zero() {
            true => network.low_speed_time,
            false => network.low_speed_time.min(idle),
        },
        ..network
    }
}

/// A URL that may be fetched from: by HTTP on the loopback interface, where the pusher's tunnel ends,
/// or (`any_host`) anywhere. Not every machine that we can reach is one that the pusher may see.
pub fn check_url(text: &str, any_host: bool) -> Result<Url> {
    let url = Url::parse(text);
    if !any_host && !url.as_ref().is_ok_and(|url| is_loopback(text, url)) {
        return Err(invalid(format!(
            "URL {text} is not on this machine's loopback interface, where a pusher's tunnel ends: \
             `urls: any` in the receiver's configuration allows more"
        )));
    }
    let url = url.map_err(|error| invalid(format!("URL {text}: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(invalid(format!(
            "URL {text}: only http and https are fetched from"
        ))),
    }
}

/// Whether a URL is HTTP on the loopback interface however it is read: what is spelt in a way that
/// some reader could take for something else is not.
fn is_loopback(text: &str, url: &Url) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "@\\".contains(c);
    if !scheme.eq_ignore_ascii_case("http") || text.contains(odd) {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match url.port() {
        Some(port) => authority.strip_suffix(&format!(":{port}")),
        None => Some(authority.strip_suffix(":80").unwrap_or(authority)),
    };
    let host = host.unwrap_or_default();
    let same = url
        .host_str()
        .is_some_and(|read| host.eq_ignore_ascii_case(read));
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    same && match v6 {
        Some(address) => address.parse().is_ok_and(|it: Ipv6Addr| it.is_loopback()),
        None if host.eq_ignore_ascii_case("localhost") => true,
        None => host.parse().is_ok_and(|it: Ipv4Addr| it.is_loopback()),
    }
}

/// The refs of a summary that are wanted, but for those that are generated. `names`: none for all.
fn wanted_refs(summary: &[u8], names: &[RefName]) -> Result<BTreeMap<RefName, CommitId>> {
    let summary = oxtree_format::Summary::parse(summary)
        .map_err(|error| invalid(format!("Parsing the summary: {error}")))?;
    let mut found = BTreeMap::new();
    for entry in summary.refs.iter() {
        let name: RefName = entry.name.parse().map_err(oxtree_repo::Error::invalid)?;
        found.insert(name, entry.commit);
    }
    let names: BTreeSet<&RefName> = match names {
        [] => found.keys().collect(),
        names => names.iter().collect(),
    };
    let names = names.into_iter().filter(|name| !is_generated(name));
    names
        .map(|name| match found.get(name) {
            Some(commit) => Ok((name.clone(), *commit)),
            None => Err(invalid(format!(
                "Could not find ref {name} in summary file"
            ))),
        })
        .collect()
}

struct Fetch<'a> {
    receiver: &'a LocalReceiver,
    fetcher: Fetcher,
    places: Mirrors,
    runtime: tokio::runtime::Runtime,
    request: &'a FetchRequest,
    progress: &'a dyn Progress,
    observer: NoticeObserver<'a>,
}

impl Fetch<'_> {
    fn receive(
        &mut self,
        remote: &BTreeMap<RefName, CommitId>,
        current: &BTreeMap<RefName, CommitId>,
    ) -> Result<Outcome> {
        let forced = self.request.force || self.receiver.policy.forced(false);
        // A commit that is here may have been signed since.
        let all = forced || self.receiver.policy.takes_detached();
        let news = remote
            .iter()
            .filter(|(name, commit)| all || current.get(*name) != Some(*commit));
        let news: Vec<(&RefName, &CommitId)> = news.collect();
        if news.is_empty() {
            return Ok(Outcome::default());
        }
        let quarantine = self
            .receiver
            .store
            .local_quarantine(self.receiver.quota()?)?;
        let came = self.judge(&quarantine, &news, current);
        let (verdict, updates) = match came {
            Ok(judged) => judged,
            Err(error) => return give_up(quarantine, error),
        };
        if self.request.dry_run || admit::is_refused(&verdict) {
            let mut refs = verdict;
            if admit::is_refused(&refs) {
                admit::refuse_rest(&mut refs);
            }
            Box::new(quarantine).discard()?;
            return Ok(Outcome {
                refs,
                ..Outcome::default()
            });
        }
        // What stays as it is is not fetched, and not judged again, unless something comes beside it.
        let brought = quarantine.detached()?;
        let stays = |outcome: &RefOutcome| {
            outcome.status == Status::Unchanged && outcome.old == outcome.new
        };
        let brings = |outcome: &RefOutcome| {
            let new = outcome.new.as_ref();
            stays(outcome) && new.is_some_and(|new| brought.contains(&new.0))
        };
        let (skipped, going): (Vec<_>, Vec<_>) = verdict
            .into_iter()
            .zip(updates)
            .partition(|(outcome, _)| outcome.status == Status::Unchanged && !brings(outcome));
        let updates: Vec<WireUpdate> = going.into_iter().map(|(_, update)| update).collect();
        let wanted = updates.iter().filter_map(|update| update.new.as_ref());
        let wanted: Vec<Wanted> = wanted.map(|new| no_name(new.0)).collect();
        let came = self.fill(&quarantine, &wanted, false, HashSet::new());
        let came = came.map(|commits| {
            let stats = quarantine.parts().0.stats();
            (stats.metadata_written + stats.content_written, commits)
        });
        let mut outcome = settle(
            self.receiver,
            Box::new(quarantine),
            &updates,
            came,
            &mut self.observer,
        )?;
        outcome
            .refs
            .extend(skipped.into_iter().map(|(outcome, _)| outcome));
        // Nothing was asked for that stays what it is.
        outcome
            .refs
            .retain(|one| forced || !stays(one) || one.reason.is_some());
        outcome.refs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(outcome)
    }

    /// Fetches the commits alone, and says what would become of the refs.
    fn judge(
        &self,
        quarantine: &LocalQuarantine<'_>,
        news: &[(&RefName, &CommitId)],
        current: &BTreeMap<RefName, CommitId>,
    ) -> Result<(Verdict, Vec<WireUpdate>)> {
        let wanted: Vec<Wanted> = news.iter().map(|(_, commit)| no_name(**commit)).collect();
        let policy = &self.receiver.policy;
        let hidden = policy.hidden(news.iter().map(|(_, commit)| **commit))?;
        self.fill(quarantine, &wanted, true, hidden)?;
        let mut updates = Vec::with_capacity(news.len());
        let mut known = HashMap::with_capacity(news.len());
        for (name, commit) in news {
            let bytes = quarantine.parts().0.load_metadata(&commit.object())?;
            let parsed = oxtree_format::Commit::parse(&bytes)
                .map_err(|error| oxtree_repo::Error::corrupt(**commit, error))?;
            updates.push(WireUpdate {
                name: WireRef((*name).clone()),
                old: current.get(*name).map(|old| WireCommit(*old)),
                new: Some(WireCommit(**commit)),
                force: self.request.force,
                timestamp: parsed.timestamp,
                fast_forward: false,
                detached: None,
            });
            known.insert(**commit, bytes);
        }
        let verdict = admit::before(self.receiver, &updates, self.request.dry_run, &known)?;
        Ok((verdict, updates))
    }

    /// Fetches commits, with all that is in them or not, and none of their history. Those in `hidden` are
    /// fetched though they may be here: a pusher that does not serve one is told what it would be told if it
    /// were not.
    fn fill(
        &self,
        quarantine: &LocalQuarantine<'_>,
        wanted: &[Wanted],
        commits_only: bool,
        hidden: HashSet<CommitId>,
    ) -> Result<Vec<CommitId>> {
        let (transaction, budget) = quarantine.parts();
        let what = What {
            depth: Some(0),
            commits_only,
            part: Part::All,
            trusted: false,
            bareuseronly_files: false,
            tombstones: false,
        };
        let places = || self.places.clone();
        let fetcher = self.fetcher.clone();
        let asked = HashMap::new();
        let source = Source::new(fetcher, places(), places(), transaction, &[], what, asked)?;
        let policy = no_policy(self.receiver.repo());
        let source = source.within(budget).without(hidden);
        let (_, steps) = source.fill(&self.runtime, wanted, &policy, self.progress)?;
        Ok(steps.iter().map(|step| step.commit).collect())
    }
}

/// A commit, whatever ref it comes with.
fn no_name(commit: CommitId) -> Wanted {
    Wanted { name: None, commit }
}

/// Whose commits they are is judged when all is here.
fn no_policy(repo: &Repo) -> PullPolicy<'_> {
    PullPolicy {
        repo,
        into: &wanted::Namespace::Heads,
        verify_bindings: false,
        collection: None,
        not_older: None,
        verifier: None,
        show_time: |_| String::new(),
    }
}

/// The end of a push that cannot go on.
fn give_up(quarantine: LocalQuarantine<'_>, error: Error) -> Result<Outcome> {
    if is_of_no_use(&error, quarantine.is_resumed()) {
        // The reason says more than what may go wrong with the tidying up.
        let _ = Box::new(quarantine).discard();
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_tunnelled_here() {
        for good in [
            "http://127.0.0.1:1234",
            "http://127.0.0.1:80/",
            "http://127.9.9.9/x",
            "http://[::1]:80/x",
            "http://[::1]",
            "HTTP://LocalHost:5/repo",
        ] {
            assert!(check_url(good, false).is_ok(), "{good}");
        }
        for far in [
            "https://127.0.0.1/",
            "http://10.0.0.1/",
            "http://example.com/",
            "http://127.0.0.1@evil/",
            "http://127.0.0.1:80@evil/",
            "http://evil\\@127.0.0.1/",
            "http://evil@127.0.0.1/",
            "http://127.0.0.1.evil/",
            "http://localhost.evil/",
            "http://[::2]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://0.0.0.0/",
            "http://127.0.0.1 /",
            "http://127.0.0.1\n/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1:0080/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.1/",
            "http:/127.0.0.1/",
            "http:127.0.0.1",
            "http:///127.0.0.1/",
            "http://127.0.0.1\\evil/",
            "http://1\t27.0.0.1/",
        ] {
            assert!(check_url(far, false).is_err(), "{far}");
        }
        for never in [
            "file:///srv/repo",
            "ftp://127.0.0.1/",
            "/srv/repo",
            "",
            "http://",
            "http://[::1].evil/",
            "http://127.0.0.1:x/",
            "http://127.0.0.1:65536/",
        ] {
            for any in [false, true] {
                assert!(check_url(never, any).is_err(), "{never}");
            }
        }
        assert!(check_url("https://example.com/", true).is_ok());
    }
}
