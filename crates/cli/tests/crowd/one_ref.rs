// SPDX-License-Identifier: MIT OR Apache-2.0
//! All push the same ref.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oxtree_testkit::{Output, Repo, Tool};

use crate::fixture::{CROWD, Fixture, Running, check};

/// Keeps everybody from changing refs, until it is dropped. In a process of its own: locks of this
/// kind end when any file of the same process is closed.
struct RefsLock(Child);

impl RefsLock {
    fn take(repo: &Repo) -> Self {
        let script = "import fcntl, sys; f = open(sys.argv[1], 'a+'); \
                      fcntl.lockf(f, fcntl.LOCK_EX); \
                      print('held', flush=True); sys.stdin.read()";
        let mut holder = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .arg(repo.path().join(".refs-lock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start python");
        let mut held = [0; 5];
        let stdout = holder.stdout.as_mut().expect("a pipe");
        stdout.read_exact(&mut held).expect("the lock");
        Self(holder)
    }
}

impl Drop for RefsLock {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("the end of python");
    }
}

/// Whether a commit has come in, be it public or not. Its receiver has looked at the refs then.
fn has_arrived(repo: &Repo, commit: &str) -> bool {
    let (first, rest) = commit.split_at(2);
    let inside = format!("{first}/{rest}.commit");
    let tmp = std::fs::read_dir(repo.path().join("tmp")).expect("read tmp/");
    let quarantines = tmp.map(|entry| entry.expect("an entry").path());
    let mut places = quarantines.chain([repo.path().join("objects")]);
    places.any(|place| place.join(&inside).exists())
}

#[test]
fn one_wins_and_the_others_are_told_where_it_is_now() {
    let fixture = Fixture::new();
    let dest = fixture.repo("dest");
    fixture.commit(&dest, "main", 0, 0);
    let sources: Vec<Repo> = (0..CROWD)
        .map(|number| fixture.repo(&format!("source-{number}")))
        .collect();
    for round in 1..=3 {
        let commits: Vec<String> = (0..)
            .zip(&sources)
            .map(|(number, source)| {
                let path = dest.path().to_str().expect("a path in UTF-8");
                source.ok("pull-local", [path, "main"]);
                fixture.commit(source, "main", 100 * round + number, 1000 * round + number)
            })
            .collect();
        let lock = RefsLock::take(&dest);
        let running: Vec<Running> = sources
            .iter()
            .enumerate()
            .map(|(number, source)| fixture.start(number, source, &dest, "main"))
            .collect();
        let begun = Instant::now();
        while !commits.iter().all(|commit| has_arrived(&dest, commit)) {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "not all have come in"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(lock);
        let ends: Vec<Output> = running.into_iter().map(Running::end).collect();
        let now = dest.rev_parse("main");
        let winner = commits.iter().position(|commit| *commit == now);
        let winner = winner.expect("the commit of one of them");
        for (number, end) in ends.iter().enumerate() {
            let won = number == winner;
            assert_eq!(end.code, Some(i32::from(!won)), "{number}: {end:?}");
            let told = format!("it has changed meanwhile and is now at {now}; push again");
            assert_eq!(end.stderr().contains(&told), !won, "{number}: {end:?}");
        }
        check(&dest, &["main".to_owned()]);
    }
    // Who was told can push again what is newer still.
    let last = &sources[CROWD - 1];
    let real = Tool::ostree().repo(dest.path());
    last.ok(
        "pull-local",
        [dest.path().to_str().expect("a path"), "main"],
    );
    let commit = fixture.commit(last, "main", 999, 9999);
    fixture.start(0, last, &dest, "main").end().expect_ok();
    assert_eq!(real.rev_parse("main"), commit);
}
